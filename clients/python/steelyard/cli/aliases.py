"""``alias``: point names to versions, see their moves, roll them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import marks, output, session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard import Alias as AliasValue
    from steelyard import Client

# As many versions as one call answers.
BATCH = 100

app = typer.Typer(help="Movable names for versions.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="namespace/model, or a model of your namespace.")]
Alias = Annotated[str, typer.Argument(help="Name of the alias.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]
Etag = Annotated[str, typer.Option(help="Only if it still has this etag.")]


@app.command("set")
def put(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(help="The version, for example fraud:3.")],
    alias: Alias,
    etag: Etag = "",
    new: Annotated[bool, typer.Option("--new", help="Only if the alias does not exist.")] = False,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Point an alias to a version."""
    with session.of(context).client() as client:
        found = client.aliases.set(ref, alias, etag=etag, must_not_exist=new, reason=reason)
    output.changed(f"{found.model}@{found.name} points to version {found.number}.", found.message, json=json)


@app.command("rm")
def rm(
    context: typer.Context,
    model: Model,
    alias: Alias,
    etag: Etag = "",
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Delete an alias; its moves stay in the history."""
    with session.of(context).client() as client:
        sequence = client.aliases.delete(model, alias, etag=etag, reason=reason)
    output.removed(f"The alias {alias} is gone.", sequence, json=json)


@app.command("ls")
def ls(context: typer.Context, model: Model, json: output.Json = False) -> None:
    """List the aliases of a model."""
    with session.of(context).client() as client:
        found = list(client.aliases.list(model))
        marked = {} if json else _marked(client, found)
    if json:
        output.messages_json(each.message for each in found)
        return
    rows = [
        (
            each.name,
            f"{each.number}{marked.get(each.number, '')}",
            output.short(each.digest),
            output.age(each.update_time),
        )
        for each in found
    ]
    output.table(("alias", "version", "digest", "moved"), rows)


@app.command("log")
def log(
    context: typer.Context,
    model: Model,
    alias: Annotated[str, typer.Argument(help="One alias; empty means all.")] = "",
    limit: output.Limit = None,
    json: output.Json = False,
) -> None:
    """Show the moves of an alias, the newest first: who, when, from, to, why."""
    with session.of(context).client() as client:
        found = output.first(client.aliases.moves(model, alias), limit=limit, json=json)
    if json:
        output.messages_json(each.message for each in found)
        return
    rows = [
        (
            f"{each.move_time:%Y-%m-%d %H:%M:%S}",
            each.alias,
            each.action,
            each.from_number or "-",
            each.to_number or "-",
            output.actor(each.actor),
            each.reason,
        )
        for each in found
    ]
    output.table(("time (UTC)", "alias", "action", "from", "to", "by", "reason"), rows)


@app.command("rollback")
def rollback(
    context: typer.Context,
    model: Model,
    alias: Alias,
    etag: Etag = "",
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Point an alias back to where it pointed before; again goes one further back."""
    with session.of(context).client() as client:
        found = client.aliases.rollback(model, alias, etag=etag, reason=reason)
    text = f"{found.model}@{found.name} points to version {found.number} again."
    output.changed(text, found.message, json=json)


def _marked(client: Client, aliases: Sequence[AliasValue]) -> dict[int, str]:
    """Return the marks of the versions that aliases point to, in brackets, by their numbers."""
    refs = sorted({f"{each.model}:{each.number}" for each in aliases})
    if not refs:
        return {}
    versions = client.versions.batch_get(refs[:BATCH], namespace=aliases[0].model.partition("/")[0])
    return {each.number: marks.bracketed(each) for each in versions}
