"""``push``: upload files as a version, with what options and files say of it and what is found around it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steelyard.cli import interrupts, output, progress, session, values

if TYPE_CHECKING:
    from steelyard import Capture, Dataset, PushResult, Source

COMMIT_CHARACTERS = 12

Model = Annotated[str, typer.Argument(help="namespace/model, or a model of your namespace.")]
Files = Annotated[Path, typer.Argument(help="File or directory.")]
File = Annotated[
    Path | None, typer.Option("-f", "--file", help="YAML that says all that options can; they outrank it.")
]
MetricsFile = Annotated[
    Path | None, typer.Option("--metrics", help="Metrics in a JSON or YAML file; -m outranks it.")
]
ParametersFile = Annotated[
    Path | None, typer.Option("--params", help="Parameters in a JSON or YAML file; -p outranks it.")
]
Metric = Annotated[
    list[str] | None, typer.Option("-m", "--metric", help="precision@holdout[region=EU]=0.93; repeat it.")
]
Parameter = Annotated[list[str] | None, typer.Option("-p", "--param", help="depth=4; repeat it.")]
DatasetText = Annotated[
    list[str] | None, typer.Option("--dataset", help="role=PATH or role=URI; a path is hashed; repeat it.")
]
ParentText = Annotated[
    list[str] | None, typer.Option("--parent", help="REF:relation, as fraud:3:fine-tuned-from.")
]
SemanticVersion = Annotated[str, typer.Option("--semver", help="Semantic version, as 1.4.0.")]
Label = Annotated[list[str] | None, typer.Option("-l", "--label", help="key=value; repeat it.")]
Alias = Annotated[list[str] | None, typer.Option(help="Point this alias to the version; repeat it.")]
Key = Annotated[str, typer.Option(help="The same key is the same version, for ever.")]
Description = Annotated[str, typer.Option("-d", "--description", help="Text for people.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]
CaptureWanted = Annotated[
    bool, typer.Option("--capture/--no-capture", help="Record commit, packages, run and schema.")
]


def register(app: typer.Typer) -> None:
    """Add the command of this file to *app*."""
    app.command("push")(push)


def push(
    context: typer.Context,
    model: Model,
    path: Files,
    file: File = None,
    metrics: MetricsFile = None,
    params: ParametersFile = None,
    metric: Metric = None,
    parameter: Parameter = None,
    dataset: DatasetText = None,
    parent: ParentText = None,
    semver: SemanticVersion = "",
    label: Label = None,
    alias: Alias = None,
    idempotency_key: Key = "",
    description: Description = "",
    reason: Reason = "",
    capture: CaptureWanted = True,
    json: output.Json = False,
) -> None:
    """Upload a file or directory as a version.

    What the server has is not sent again. A model that does not exist is created. Files named in
    .steelyardignore are left out.

    Beside what you say, a version records where it comes from: the git commit around the files, the
    packages of the Python environment (as steelyard.lock), the run of an orchestrator, and what ONNX,
    safetensors and GGUF files say of themselves. What you say outranks it.

    The same files from the same commit, environment and run are the same version, however often they are
    pushed; if one of these differs, it is another version. With --no-capture only what you say counts.
    """
    from steelyard.cli import version_file

    options: dict[str, Any] = {
        "metrics": values.metrics(metric or []),
        "parameters": values.parameters(parameter or []),
        "labels": values.pairs(label or [], option="--label"),
        "alias": alias or [],
        "semantic_version": semver,
        "idempotency_key": idempotency_key,
        "description": description,
        "reason": reason,
    }
    pairs, relations = values.datasets(dataset or []), values.parents(parent or [])
    quiet = session.of(context).quiet
    kept = interrupts.noted(interrupts.KEPT)
    with kept, session.of(context).client() as client, progress.bar(quiet=quiet) as show:
        stated = version_file.read(file, client=client) if file else {}
        for name, found in _from_files(metrics, params).items():
            stated[name] = {**stated.get(name, {}), **found}
        options["datasets"] = [_dataset(role, place) for role, place in pairs]
        options["parents"] = [version_file.parent(client, *each) for each in relations]
        stated = _outranked(stated, options)
        pushed = client.push(
            model,
            path,
            **stated,
            capture=capture,
            environment=_environment() if capture else None,
            progress=show,
        )
    _say_pushed(pushed, aliases=stated["alias"])
    if json:
        output.message_json(pushed.version.message)
    else:
        output.result(f"{pushed.version.model}:{pushed.version.number}")


def _from_files(metrics: Path | None, parameters: Path | None) -> dict[str, dict[str, Any]]:
    from steelyard.cli import version_file

    return {
        "metrics": version_file.metrics(metrics) if metrics else {},
        "parameters": version_file.parameters(parameters) if parameters else {},
    }


def _outranked(stated: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Put options over what files say: name by name, entry by entry; a text replaces a text."""
    merged = dict(stated)
    for name, value in options.items():
        match value:
            case dict():
                merged[name] = {**stated.get(name, {}), **value}
            case list():
                given = {_identity(each) for each in value}
                kept = [each for each in stated.get(name, []) if _identity(each) not in given]
                merged[name] = [*kept, *value]
            case _:
                merged[name] = value or stated.get(name, "")
    return merged


def _identity(entry: Any) -> object:
    """Return what makes a dataset, parent or alias the same as another."""
    return (entry.name, entry.role) if hasattr(entry, "role") else entry


def _dataset(role: str, place: str) -> Dataset:
    import steelyard

    if values.is_path(place):
        return steelyard.Dataset.from_path(place, role=role)
    return steelyard.Dataset(name=role, role=role, uri=place)


def _environment() -> Path | None:
    from steelyard.capture import environment

    return environment.active()


def _say_pushed(pushed: PushResult, *, aliases: Iterable[str]) -> None:
    version = pushed.version
    name = f"{version.model}:{version.number}"
    if pushed.model_created:
        output.note(f"created the model {version.model}, which did not exist.")
    for excluded in pushed.excluded:
        output.note(f"left out {excluded}")
    for line in _captured(pushed.captured) if pushed.captured else ():
        output.note(line)
    if pushed.created:
        sent = output.size(pushed.uploaded_bytes)
        output.note(f"{name} is stored: {output.count(version.file_count, 'file')}, {sent} sent.")
    else:
        output.note(f"{name} has this content already; nothing new was made.")
    for alias in aliases:
        output.note(f"{version.model}@{alias} points to it.")


def _captured(taken: Capture) -> Iterable[str]:
    """Say what was recorded beside what the caller said, and what could not be."""
    yield from _source(taken.source) if taken.source else ()
    if taken.lock:
        packages = output.count(taken.lock.packages_count, "package")
        yield f"recorded {packages} of {taken.lock.python} as {taken.lock.file.path}"
    if taken.framework:
        yield f"recorded the framework {taken.framework.name}"
    if taken.schema:
        sides = (taken.schema.inputs, "input"), (taken.schema.outputs, "output")
        yield "recorded the schema: " + ", ".join(output.count(len(each), noun) for each, noun in sides)
    for name, value in taken.parameters.items():
        yield f"recorded {name}={value}"
    for note in taken.notes:
        yield f"not recorded: {note}"


def _source(source: Source) -> Iterable[str]:
    code = {
        "the commit": source.commit[:COMMIT_CHARACTERS],
        "the repository": source.repository,
        "the working tree:": {None: "", True: "with uncommitted changes", False: "clean"}[source.dirty],
    }
    if words := [f"{what} {text}" for what, text in code.items() if text]:
        yield f"recorded {', '.join(words)}"
    for what, text in (("run", source.run), ("pipeline", source.pipeline)):
        if text:
            yield f"recorded the {what} {text}"
