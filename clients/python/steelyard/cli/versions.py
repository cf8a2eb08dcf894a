"""``versions``: list, show and edit them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import output, session, values

if TYPE_CHECKING:
    from steelyard.types import Version

app = typer.Typer(help="Immutable content with a number.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="namespace/model, or a model of your namespace.")]
Ref = Annotated[str, typer.Argument(help="fraud:3, fraud:1.4.0, fraud@champion, fraud@sha256:… or fraud.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


@app.command("ls")
def ls(
    context: typer.Context,
    model: Model,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Begin with version 1.")] = False,
    limit: output.Limit = None,
    json: output.Json = False,
) -> None:
    """List the versions of a model, the newest first."""
    order = "number" if oldest_first else "number desc"
    with session.of(context).client() as client:
        found = output.first(client.versions.list(model, order_by=order), limit=limit, json=json)
    if json:
        output.messages_json(each.message for each in found)
        return
    output.table(("version", "aliases", "stage", "metrics", "size", "created", "by"), map(_row, found))


@app.command("show")
def show(context: typer.Context, ref: Ref, json: output.Json = False) -> None:
    """Show one version with all that it carries."""
    with session.of(context).client() as client:
        found = client.get(ref)
    if json:
        output.message_json(found.message)
        return
    output.details(_facts(found))


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


def _row(version: Version) -> tuple[object, ...]:
    number = f"{version.number} ({version.semantic_version})" if version.semantic_version else version.number
    metrics = {name: f"{value:.6g}" for name, value in version.metrics.items()}
    return (
        number,
        version.aliases,
        version.stage,
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
        "datasets": [f"{each.role or 'data'} {each.name} {each.digest[:19]}" for each in version.datasets],
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
