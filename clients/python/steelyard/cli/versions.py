"""``versions``: list, show, edit, copy, delete and purge them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import marks, output, session, values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from steelyard import Client
    from steelyard.types import Origin, Version
    from steelyard.versions import Purged

app = typer.Typer(help="Immutable content with a number.", no_args_is_help=True)

# In the place of a model: all of its namespace.
ALL_MODELS = "-"
# What a line of the table has, beside training metrics.
SHOWN = {"", "model", "number", "semantic_version", "stage", "size_bytes", "create_time", "creator"}
Listed = Annotated[str, typer.Argument(help="A model, or NAMESPACE/- for all models of a namespace.")]
Ref = Annotated[str, typer.Argument(help="fraud:3, fraud:1.4.0, fraud@champion, fraud@sha256:… or fraud.")]
Refs = Annotated[
    list[str], typer.Argument(metavar="REF...", help="fraud:3, fraud:1.4.0, fraud@latest or fraud@sha256:….")
]
Deleted = Annotated[
    list[str],
    typer.Argument(metavar="REF...", help="Deleted ones: fraud:3, fraud:1.4.0 or fraud@sha256:…."),
]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say whether it could be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("ls")
def ls(
    context: typer.Context,
    model: Listed,
    filter: Annotated[  # noqa: A002 - the name of the option
        str,
        typer.Option("--filter", "-f", help="Which: 'metrics.auc@holdout > 0.9 AND stage = production'."),
    ] = "",
    order_by: Annotated[
        str, typer.Option("--order-by", "-o", help="Fields: 'metrics.auc@holdout desc, number'.")
    ] = "",
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Begin with version 1.")] = False,
    limit: output.Limit = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="List deleted ones too.")] = False,
    json: output.Json = False,
) -> None:
    """List versions, all or those that pass a filter, the newest first unless ordered otherwise."""
    if order_by and oldest_first:
        raise typer.BadParameter("--order-by orders already.", param_hint="--oldest-first")
    everywhere = model.rpartition("/")[2] == ALL_MODELS
    number = "number" if oldest_first else "number desc"
    order = order_by or (f"model, {number}" if everywhere else number)
    with session.of(context).client() as client:
        listed = client.versions.list(model, filter=filter, order_by=order, show_deleted=deleted)
        found = output.first(listed, limit=limit, json=json)
        if filter and not found and not json:
            absent = client.versions.absent_fields(model, filter=filter, show_deleted=deleted)
            output.note_absent(absent, what="version" if everywhere else f"version of {model}")
    if json:
        output.listed_json(found, ordered=bool(order_by))
        return
    _note_unmeasured(found, order_by=order_by)
    headers = ["version", "aliases", "stage", "metrics", "size", "created", "by"]
    rows = [[str(each) if everywhere else _number(each), *_row(each)] for each in found]
    if deleted:
        headers.append("deleted")
        rows = [[*row, output.age(each.delete_time)] for row, each in zip(rows, found, strict=True)]
    term = output.order_term(order_by)
    if not _is_shown(term, deleted=deleted):
        headers.append(term)
        rows = [[*row, each.order_value] for row, each in zip(rows, found, strict=True)]
    output.table(headers, rows)


@app.command("show")
def show(context: typer.Context, ref: Ref, json: output.Json = False) -> None:
    """Show one version with all that it carries."""
    with session.of(context).client() as client:
        found = client.get(ref)
        origin = {} if found.origin is None or json else _origin(found.origin, client=client)
        marked = {} if json else marks.reasons(found, client=client)
    if json:
        output.message_json(found.message)
        return
    output.details(_facts(found) | marked | origin)


@app.command("edit")
def edit(
    context: typer.Context,
    ref: Ref,
    description: Annotated[str | None, typer.Option("--description", "-d", help="Text for people.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="key=value; key= removes.")] = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Change the description or labels of a version; its content never changes."""
    values.require_change(description=description, label=label)
    from steelyard.refs import References

    References().version(ref, exact=True)
    with session.of(context).client() as client:
        found = client.get(ref)
        labels = values.merged(found.labels, label)
        changed = client.versions.update(
            f"{found.model}:{found.number}",
            description=description,
            labels=labels,
            etag=found.etag,
            reason=reason,
        )
    output.changed(f"{found.model}:{found.number} is changed.", changed.message, json=json)


@app.command("rm")
def rm(
    context: typer.Context,
    refs: Refs,
    dry_run: DryRun = False,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Delete versions that no alias points to; restore brings them back.

    All are looked at first: when one is refused, none is deleted.
    """
    with session.of(context).client() as client:
        for found in _in_turn(client.versions.delete, refs, dry_run=dry_run, reason=reason):
            text = f"{found} can be deleted." if dry_run else f"{found} is deleted; restore brings it back."
            output.changed(text, found.message, json=json, line=True)


@app.command("restore")
def restore(
    context: typer.Context,
    refs: Deleted,
    dry_run: DryRun = False,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Bring deleted versions back as they were.

    All are looked at first: when one is refused, none is restored.
    """
    with session.of(context).client() as client:
        for found in _in_turn(client.versions.undelete, refs, dry_run=dry_run, reason=reason):
            text = f"{found} can be restored." if dry_run else f"{found} is there again."
            output.changed(text, found.message, json=json, line=True)


@app.command("purge")
def purge(
    context: typer.Context,
    refs: Deleted,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """End deleted versions for good; their numbers are never used again.

    All are looked at first: when one is refused, none is purged. It asks once for all.
    """
    with session.of(context).client() as client:
        found = _purgeable(client, refs)
        if not dry_run:
            named = ", ".join(f"{ref} ({output.short(each.digest)})" for ref, each in found.items())
            them = "it" if len(found) == 1 else "them"
            values.confirm(f"Nothing can bring {named} back. Purge {them}?", yes=yes)
        for ref, each in found.items():
            done = each if dry_run else client.versions.purge(ref, reason=reason)
            text = f"{ref} can be purged." if dry_run else f"{ref} is gone for good."
            facts = {"number": done.number, "digest": done.digest, "sequence": done.sequence}
            output.purged(text, facts, json=json, line=True)


@app.command("copy")
def copy(
    context: typer.Context,
    ref: Ref,
    model: Annotated[str, typer.Argument(help="The model that gets the copy, also of another namespace.")],
    semantic_version: Annotated[str, typer.Option("--semver", help="Semantic version of the copy.")] = "",
    dry_run: DryRun = False,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Make a version of another model with the same content; no bytes move."""
    with session.of(context).client() as client:
        done = client.versions.copy(
            ref, model, semantic_version=semantic_version, validate_only=dry_run, reason=reason
        )
    if json:
        output.message_json(done.version.message)
        return
    if not done.created:
        output.note(f"{done.version} has this content already.")
    elif dry_run:
        output.note(f"It can be copied to {done.version.model}.")
        return
    output.result(str(done.version))


def _is_shown(term: str, *, deleted: bool) -> bool:
    """Return whether the table shows what it is ordered by."""
    return term in SHOWN or term.startswith("metrics.") or (deleted and term == "delete_time")


def _in_turn(
    change: Callable[..., Version], refs: Sequence[str], *, dry_run: bool, reason: str
) -> Iterator[Version]:
    """Change versions one after the other, each once, when it is known that all can be changed."""
    rehearsed = {str(each): each for each in [change(ref, validate_only=True, reason=reason) for ref in refs]}
    for ref, each in rehearsed.items():
        yield each if dry_run else change(ref, reason=reason)


def _purgeable(client: Client, refs: Sequence[str]) -> dict[str, Purged]:
    """Return what a purge would end, each once, by its reference."""
    found = {}
    for ref in refs:
        purged = client.versions.purge(ref, validate_only=True)
        found[f"{client.references.version(ref).model}:{purged.number}"] = purged
    return found


def _note_unmeasured(found: Sequence[Version], *, order_by: str) -> None:
    """Say that a metric orders nothing: what has none comes last, so when the first has none, none has."""
    field = output.order_term(order_by)
    prefix, _, metric = field.partition(".")
    if not found or prefix != "metrics" or '"' in metric or "'" in metric:
        return
    measured = found[0].metrics
    if metric not in (measured if "@" in metric else {name.partition("@")[0] for name in measured}):
        output.note(f"None of these has {field}, so it orders nothing.")


def _number(version: Version) -> object:
    return f"{version.number} ({version.semantic_version})" if version.semantic_version else version.number


def _row(version: Version) -> tuple[object, ...]:
    metrics = {name: f"{value:.6g}" for name, value in version.metrics.items()}
    return (
        version.aliases,
        marks.stage(version),
        metrics,
        output.size(version.size_bytes),
        output.age(version.create_time),
        output.actor(version.creator),
    )


def _facts(version: Version) -> dict[str, object]:
    source, framework, schema = version.source, version.framework, version.schema
    facts: dict[str, object] = {
        "version": str(version),
        "semantic version": version.semantic_version,
        "digest": version.digest,
        "aliases": version.aliases,
        "stage": version.stage,
        "files": f"{version.file_count}, {output.size(version.size_bytes)}",
        "references": [f"{file.path} at {file.uri}" for file in version.files if file.uri],
        "metrics": version.metrics,
        "parameters": version.parameters,
        "datasets": [
            " ".join(filter(None, (each.role or "data", each.name, each.version, each.digest[:19])))
            for each in version.datasets
        ],
        "parents": [f"{each.relation} {each.uri or each.digest}" for each in version.parents],
        "framework": f"{framework.name} {framework.version}".strip() if framework else "",
    }
    if source is not None:
        dirty = {None: "", True: " with changes", False: ""}[source.dirty]
        facts |= {"source": source.repository, "commit": source.commit + dirty, "run": source.run}
        facts |= {"pipeline": source.pipeline, "user": source.user}
    for side, fields in (("inputs", schema.inputs), ("outputs", schema.outputs)) if schema else ():
        facts[side] = [f"{each.name}: {each.type}{list(each.shape) or ''}" for each in fields]
    return facts | {
        "description": version.description,
        "labels": version.labels,
        "idempotency key": version.idempotency_key,
        "created": f"{output.age(version.create_time)} by {output.actor(version.creator)}",
        "uid": version.uid,
    }


def _origin(origin: Origin, *, client: Client) -> dict[str, object]:
    """Say where a version was before; what another registry is said to know was not verified here."""
    if origin.uri == f"urn:uuid:{client.server_info().registry_uid}":
        return {"copied from": origin.version}
    created = f", created {output.age(origin.create_time)}" if origin.create_time else ""
    creator = f" by {origin.creator} (stated)" if origin.creator else ""
    return {
        "imported from": f"{origin.version} in {origin.system} {origin.uri}{created}{creator}",
    }
