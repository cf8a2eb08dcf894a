"""``export`` and ``import``: versions go from one registry to another in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import interrupts, output, progress, session

if TYPE_CHECKING:
    from steelyard import Bundle, ExportResult, ImportResult
    from steelyard.bundle.importing import ImportedModel


def register(app: typer.Typer) -> None:
    """Add the commands of this file to *app*."""
    app.command("export")(export)
    app.command("import")(import_)


def export(
    context: typer.Context,
    refs: Annotated[
        list[str],
        typer.Argument(
            metavar="REF...", help="fraud:3 or fraud@champion; a model alone means all its versions."
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="New file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    json: output.Json = False,
) -> None:
    """Write versions into one file, with all that belongs to them.

    Their bytes, metadata, aliases, evaluations and events. Deleted versions are left out. The file
    appears whole or not at all; import brings it into another registry.
    """
    quiet = session.of(context).quiet
    with session.of(context).client() as client, progress.bar(quiet=quiet) as show:
        done = client.export_bundle(refs, file, overwrite=overwrite, progress=show)
    _note_left_out(done)
    if json:
        output.facts_json(_export_facts(done))
        return
    output.note(
        f"{file} has {output.count(done.version_count, 'version')}, "
        f"{output.count(done.evaluation_count, 'evaluation')} and {output.count(done.event_count, 'event')}, "
        f"{output.size(done.size_bytes)}."
    )
    output.result(str(file))


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="File that export wrote.")],
    into: Annotated[
        str,
        typer.Option(help="Another model, as risk/other, or risk/ for all models into another namespace."),
    ] = "",
    new_numbers: Annotated[
        bool, typer.Option("--new-numbers", help="Number the versions anew instead of keeping their numbers.")
    ] = False,
    list_only: Annotated[
        bool, typer.Option("--list", help="Only list what is in the file; no server is asked.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    json: output.Json = False,
) -> None:
    """Bring the versions of a file into the registry.

    Their numbers, evaluations and aliases come with them. Every byte of the file is checked before anything
    is written. What is here already stays as it is. An import that broke off is made again and goes on
    where it was.
    """
    quiet = session.of(context).quiet
    kept = interrupts.noted("" if list_only else interrupts.KEPT)
    with kept, session.of(context).client() as client, progress.bar(quiet=quiet) as show:
        if list_only:
            bundle = client.read_bundle(file, progress=show)
        else:
            done = client.import_bundle(file, into=into, renumber=new_numbers, reason=reason, progress=show)
    if list_only:
        _list(bundle, json=json)
    else:
        _tell(done, json=json)


def _note_left_out(done: ExportResult) -> None:
    if done.deleted_count:
        output.note(f"left out: {output.count(done.deleted_count, 'deleted version')}.")
    if done.revoked_count:
        output.note(f"left out: {output.count(done.revoked_count, 'revoked version')}.")
    if done.external_count:
        files = output.count(done.external_count, "external file")
        output.note(f"of {files} only the address is in it: the bytes stay where they are.")


def _export_facts(done: ExportResult) -> dict[str, object]:
    counts = ("version", "evaluation", "event", "blob", "deleted", "external")
    facts: dict[str, object] = {"path": str(done.path)}
    facts |= {f"{name}Count": getattr(done, f"{name}_count") for name in counts}
    return facts | {"sizeBytes": str(done.size_bytes)}


def _tell(done: ImportResult, *, json: bool) -> None:
    """Say what an import did."""
    for model in done.models:
        output.note(f"{model.name}: {_sentence(model)}.")
        for left in model.left:
            output.note(f"left as it is: {left}.")
    if not done.changed:
        output.note("All of it was here already; nothing changed.")
    if json:
        output.facts_json(
            {
                "registryUid": done.registry_uid,
                "changed": done.changed,
                "uploadedBytes": str(done.uploaded_bytes),
                "models": list(map(_model_facts, done.models)),
            }
        )
        return
    rows = [
        (model.source, model.name, f"{model.created_count} of {len(model.numbers)}", model.aliases)
        for model in done.models
    ]
    output.table(("from", "to", "new versions", "new aliases"), rows)


def _sentence(model: ImportedModel) -> str:
    there = len(model.numbers) - model.created_count
    parts = [f"{output.count(model.created_count, 'version')} imported"]
    if there:
        parts.append(f"{there:,} there already")
    if model.evaluation_count:
        parts.append(f"{output.count(model.evaluation_count, 'evaluation')} imported")
    return ", ".join(parts)


def _model_facts(model: ImportedModel) -> dict[str, object]:
    return {
        "source": model.source,
        "name": model.name,
        "modelCreated": model.model_created,
        "createdCount": model.created_count,
        "evaluationCount": model.evaluation_count,
        "numbers": {str(there): str(here) for there, here in model.numbers.items()},
        "aliases": list(model.aliases),
        "left": list(model.left),
    }


def _list(bundle: Bundle, *, json: bool) -> None:
    """Show what is in a bundle."""
    if json:
        output.facts_json(_bundle_facts(bundle))
        return
    output.note(
        f"exported at {bundle.create_time} from the registry {bundle.registry_uid}: {_amount(bundle)}."
    )
    headers = ("version", "semantic version", "aliases", "files", "size", "digest")
    rows = [
        (
            f"{model.name}:{version.number}",
            version.semantic_version,
            [name for name, number in model.aliases.items() if number == version.number],
            version.file_count,
            output.size(version.size_bytes),
            output.short(version.digest),
        )
        for model in bundle.models
        for version in model.versions
    ]
    output.table(headers, rows)


def _amount(bundle: Bundle) -> str:
    evaluations = sum(model.evaluation_count for model in bundle.models)
    return (
        f"{output.count(len(bundle.models), 'model')}, {output.count(evaluations, 'evaluation')}, "
        f"{output.count(bundle.event_count, 'event')}, {output.count(bundle.blob_count, 'blob')} of "
        f"{output.size(bundle.blob_bytes)}"
    )


def _bundle_facts(bundle: Bundle) -> dict[str, object]:
    models = [
        {
            "name": model.name,
            "aliases": {name: str(number) for name, number in model.aliases.items()},
            "evaluationCount": model.evaluation_count,
            "versions": [
                {
                    "number": str(version.number),
                    "digest": version.digest,
                    "semanticVersion": version.semantic_version,
                    "fileCount": version.file_count,
                    "sizeBytes": str(version.size_bytes),
                }
                for version in model.versions
            ],
        }
        for model in bundle.models
    ]
    return {
        "registryUid": bundle.registry_uid,
        "createTime": bundle.create_time,
        "references": list(bundle.references),
        "models": models,
        "eventCount": bundle.event_count,
        "blobCount": bundle.blob_count,
        "blobBytes": str(bundle.blob_bytes),
    }
