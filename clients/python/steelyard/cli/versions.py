"""``versions``: list, show and edit them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import output, session, values

if TYPE_CHECKING:
    from steelyard.types import Version

app = typer.Typer(help="Immutable content with a number.", no_args_is_help=True)

# In the place of a model: all of its namespace.
ALL_MODELS = "-"
Listed = Annotated[str, typer.Argument(help="A model, or NAMESPACE/- for all models of a namespace.")]
Ref = Annotated[str, typer.Argument(help="fraud:3, fraud:1.4.0, fraud@champion, fraud@sha256:… or fraud.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


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
    limit: Annotated[int, typer.Option(min=1, help="List at most so many.")] = 50,
    json: output.Json = False,
) -> None:
    """List versions, all or those that pass a filter, the newest first unless ordered otherwise."""
    if order_by and oldest_first:
        raise typer.BadParameter("--order-by orders already.", param_hint="--oldest-first")
    everywhere = model.rpartition("/")[2] == ALL_MODELS
    number = "number" if oldest_first else "number desc"
    order = order_by or (f"model, {number}" if everywhere else number)
    with session.of(context).client() as client:
        found = list(islice(client.versions.list(model, filter=filter, order_by=order), limit))
    if json:
        output.messages_json(each.message for each in found)
        return
    rows = ((str(each) if everywhere else _number(each), *_row(each)) for each in found)
    output.table(("version", "aliases", "stage", "metrics", "size", "created", "by"), rows)


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


def _number(version: Version) -> object:
    return f"{version.number} ({version.semantic_version})" if version.semantic_version else version.number


def _row(version: Version) -> tuple[object, ...]:
    metrics = {name: f"{value:.6g}" for name, value in version.metrics.items()}
    return (
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
