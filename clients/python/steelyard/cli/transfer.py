"""``push``, ``pull``, ``files``, ``cat`` and ``verify``: moving bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import output, progress, session, values

if TYPE_CHECKING:
    from steelyard import Client, Dataset, Parent, PushResult

Ref = Annotated[str, typer.Argument(help="fraud:3, fraud:1.4.0, fraud@champion, fraud@sha256:… or fraud.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to *app*."""
    for command in (push, pull, files, cat, verify):
        app.command(command.__name__)(command)


def push(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="namespace/model, or a model of your namespace.")],
    path: Annotated[Path, typer.Argument(help="File or directory.")],
    metric: Annotated[
        list[str] | None, typer.Option("-m", "--metric", help="precision@holdout[region=EU]=0.93; repeat it.")
    ] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", "--param", help="depth=4; repeat it.")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="role=PATH or role=URI; a path is hashed; repeat it.")
    ] = None,
    parent: Annotated[
        list[str] | None, typer.Option(help="REF:relation, as fraud:3:fine-tuned-from.")
    ] = None,
    semver: Annotated[str, typer.Option(help="Semantic version, as 1.4.0.")] = "",
    label: Annotated[list[str] | None, typer.Option("-l", "--label", help="key=value; repeat it.")] = None,
    alias: Annotated[str, typer.Option(help="Point this alias to the version.")] = "",
    idempotency_key: Annotated[str, typer.Option(help="The same key is the same version, for ever.")] = "",
    description: Annotated[str, typer.Option("-d", "--description", help="Text for people.")] = "",
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    json: output.Json = False,
) -> None:
    """Upload a file or directory as a version.

    What the server has is not sent again. A model that does not exist is created. Files named in
    .steelyardignore are left out.
    """
    quiet = session.of(context).quiet
    with session.of(context).client() as client, progress.bar(quiet=quiet) as show:
        pushed = client.push(
            model,
            path,
            metrics=values.metrics(metric or []),
            parameters=values.parameters(parameter or []),
            datasets=[_dataset(role, place) for role, place in values.datasets(dataset or [])],
            parents=[_parent(client, ref, relation) for ref, relation in values.parents(parent or [])],
            semantic_version=semver,
            labels=values.pairs(label or [], option="--label"),
            alias=alias,
            idempotency_key=idempotency_key,
            description=description,
            reason=reason,
            progress=show,
        )
    _say_pushed(pushed, alias=alias)
    if json:
        output.message_json(pushed.version.message)
    else:
        output.result(f"{pushed.version.model}:{pushed.version.number}")


def pull(
    context: typer.Context,
    ref: Ref,
    dest: Annotated[Path, typer.Argument(help="New directory to put the files in.")],
    include: Annotated[
        list[str] | None, typer.Option(help="Only files that match this pattern; repeat it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    json: output.Json = False,
) -> None:
    """Download a version into a directory.

    Every byte is verified, and the directory appears whole or not at all.
    """
    quiet = session.of(context).quiet
    with session.of(context).client() as client, progress.bar(quiet=quiet) as show:
        pulled = client.pull(ref, dest, include=include or (), overwrite=overwrite, progress=show)
    for name in pulled.skipped_references:
        output.note(f"skipped {name}: it stays at its own address.")
    version = pulled.version
    files_there = output.count(len(pulled.files), "file")
    output.note(f"{version.model}:{version.number} is in {dest}: {files_there}, all verified.")
    if json:
        output.message_json(version.message)
    else:
        output.result(str(dest))


def files(context: typer.Context, ref: Ref, json: output.Json = False) -> None:
    """List the files of a version."""
    with session.of(context).client() as client:
        found = list(client.versions.files(ref))
    if json:
        output.messages_json(each.message for each in found)
        return
    rows = [
        (each.path, output.size(each.size_bytes), each.role, each.uri or output.short(each.digest))
        for each in found
    ]
    output.table(("path", "size", "role", "digest"), rows)


def cat(
    context: typer.Context, ref: Ref, path: Annotated[str, typer.Argument(help="File to print.")]
) -> None:
    """Write one file to standard output."""
    with session.of(context).client() as client, client.open(ref, path) as stream:
        for chunk in stream:
            sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def verify(
    context: typer.Context,
    ref: Ref,
    directory: Annotated[
        Path | None, typer.Argument(help="Directory to compare; none reads the server.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Compare all bytes with their digests.

    Those of a directory, or without one those that the server has.
    """
    quiet = session.of(context).quiet
    with session.of(context).client() as client, progress.bar(quiet=quiet) as show:
        verified = client.verify(ref, directory, progress=show)
    version = verified.version
    files_read = output.count(len(verified.files), "file")
    text = f"{version.model}:{version.number} is intact: {files_read} as the digests say."
    output.changed(text, version.message, json=json)


def _dataset(role: str, place: str) -> Dataset:
    import steelyard

    if values.is_path(place):
        return steelyard.Dataset.from_path(place, role=role)
    return steelyard.Dataset(name=role, role=role, uri=place)


def _parent(client: Client, ref: str, relation: str) -> Parent:
    import steelyard

    version = client.get(ref)
    return steelyard.Parent(relation=relation, digest=version.digest, uri=f"{version.model}:{version.number}")


def _say_pushed(pushed: PushResult, *, alias: str) -> None:
    version = pushed.version
    name = f"{version.model}:{version.number}"
    if pushed.model_created:
        output.note(f"created the model {version.model}, which did not exist.")
    for excluded in pushed.excluded:
        output.note(f"left out {excluded}")
    if pushed.created:
        sent = output.size(pushed.uploaded_bytes)
        output.note(f"{name} is stored: {output.count(version.file_count, 'file')}, {sent} sent.")
    else:
        output.note(f"{name} has this content already; nothing new was made.")
    if alias:
        output.note(f"{version.model}@{alias} points to it.")
