"""``models``: list, show, create, edit, rename, delete and purge them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import output, session, values

if TYPE_CHECKING:
    from steelyard.types import Model as ModelValue

app = typer.Typer(help="Lines of versions.", no_args_is_help=True)

# What a line of the table has.
SHOWN = {"", "name", "latest_number", "description", "update_time"}
Model = Annotated[str, typer.Argument(help="namespace/model, or a model of your namespace.")]
Description = Annotated[str | None, typer.Option("--description", "-d", help="Text for people.")]
Labels = Annotated[list[str] | None, typer.Option("--label", "-l", help="Label as key=value; repeat it.")]
Owners = Annotated[list[str] | None, typer.Option("--owner", help="Who answers for it; repeat it.")]
Directions = Annotated[
    list[str] | None, typer.Option("--direction", help="metric=higher or metric=lower is better; repeat it.")
]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say whether it could be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("ls")
def ls(
    context: typer.Context,
    namespace: Annotated[str, typer.Argument(help="Namespace; empty means yours.")] = "",
    filter: Annotated[  # noqa: A002 - the name of the option
        str, typer.Option("--filter", "-f", help="Which: 'fraud AND labels.team = risk'.")
    ] = "",
    order_by: Annotated[str, typer.Option("--order-by", "-o", help="Fields: 'create_time desc, name'.")] = "",
    limit: output.Limit = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="List deleted ones too.")] = False,
    json: output.Json = False,
) -> None:
    """List the models of a namespace, all or those that pass a filter."""
    with session.of(context).client() as client:
        listed = client.models.list(namespace or None, filter=filter, order_by=order_by, show_deleted=deleted)
        found = output.first(listed, limit=limit, json=json)
        if filter and not found and not json:
            absent = client.models.absent_fields(namespace or None, filter=filter, show_deleted=deleted)
            output.note_absent(absent, what="model")
    if json:
        output.listed_json(found, ordered=bool(order_by))
        return
    headers = ["model", "latest", "description", "changed"]
    rows = [[*_row(each)] for each in found]
    if deleted:
        headers.append("deleted")
        rows = [[*row, output.age(each.delete_time)] for row, each in zip(rows, found, strict=True)]
    term = output.order_term(order_by)
    if not (term in SHOWN or (deleted and term == "delete_time")):
        headers.append(term)
        rows = [[*row, each.order_value] for row, each in zip(rows, found, strict=True)]
    output.table(headers, rows)


@app.command("show")
def show(context: typer.Context, model: Model, json: output.Json = False) -> None:
    """Show one model with its aliases."""
    with session.of(context).client() as client:
        found = client.models.get(model)
        aliases = list(client.aliases.list(model))
    if json:
        output.message_json(found.message)
        return
    output.details(
        {
            "model": found.name,
            "latest": found.latest_number,
            "aliases": {each.name: each.number for each in aliases},
            "description": found.description,
            "labels": found.labels,
            "owners": found.owners,
            "directions": found.metric_directions,
            "former names": found.former_names,
            "created": f"{output.age(found.create_time)} by {output.actor(found.creator)}",
            "uid": found.uid,
        }
    )


@app.command("create")
def create(
    context: typer.Context,
    model: Model,
    description: Description = None,
    label: Labels = None,
    owner: Owners = None,
    direction: Directions = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Create a model without versions; push does it by itself."""
    with session.of(context).client() as client:
        created = client.models.create(
            model,
            description=description or "",
            labels=values.pairs(label or [], option="--label"),
            owners=owner or [],
            metric_directions=values.directions(direction or []),
            reason=reason,
        )
    output.changed(f"Model {created.name} is there.", created.message, json=json)


@app.command("edit")
def edit(
    context: typer.Context,
    model: Model,
    description: Description = None,
    label: Labels = None,
    owner: Owners = None,
    direction: Directions = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Change description, labels, owners or metric directions; `--label key=` removes a label."""
    values.require_change(description=description, label=label, owner=owner, direction=direction)
    with session.of(context).client() as client:
        found = client.models.get(model)
        directions = {**found.metric_directions, **values.directions(direction)} if direction else None
        changed = client.models.update(
            model,
            description=description,
            labels=values.merged(found.labels, label),
            owners=owner,
            metric_directions=directions,
            etag=found.etag,
            reason=reason,
        )
    output.changed(f"Model {found.name} is changed.", changed.message, json=json)


@app.command("rename")
def rename(
    context: typer.Context,
    model: Model,
    new_name: Annotated[str, typer.Argument(help="The new name, in the same namespace.")],
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Give a model another name; the old one goes on to find it."""
    with session.of(context).client() as client:
        renamed = client.models.rename(model, new_name, reason=reason)
    output.changed(
        f"The model is {renamed.name} now; its old name goes on to find it.", renamed.message, json=json
    )


@app.command("rm")
def rm(
    context: typer.Context,
    model: Model,
    dry_run: DryRun = False,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Delete a model that has no aliases, with all its versions; restore brings it back."""
    with session.of(context).client() as client:
        found = client.models.delete(model, validate_only=dry_run, reason=reason)
    text = f"{found.name} can be deleted." if dry_run else f"{found.name} is deleted; restore brings it back."
    output.changed(text, found.message, json=json)


@app.command("restore")
def restore(
    context: typer.Context,
    model: Model,
    dry_run: DryRun = False,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Bring a deleted model back as it was, with its versions."""
    with session.of(context).client() as client:
        found = client.models.undelete(model, validate_only=dry_run, reason=reason)
    text = f"{found.name} can be restored." if dry_run else f"{found.name} is there again."
    output.changed(text, found.message, json=json)


@app.command("purge")
def purge(
    context: typer.Context,
    model: Model,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """End a deleted model for good with all its versions; its names are never used again."""
    with session.of(context).client() as client:
        found = client.models.purge(model, validate_only=True)
        if not dry_run:
            question = f"Nothing can bring {found.name} and its versions back. Purge them?"
            values.confirm(question, yes=yes)
            found = client.models.purge(model, reason=reason)
    text = f"{found.name} can be purged." if dry_run else f"{found.name} is gone for good."
    facts = {"name": found.name, "lastNumber": found.last_number, "sequence": found.sequence}
    output.purged(text, facts, json=json)


def _row(model: ModelValue) -> tuple[object, ...]:
    return (model.name, model.latest_number or "", model.description, output.age(model.update_time))
