"""``environments``: list, show, create, edit and remove them."""

from __future__ import annotations

from typing import Annotated

import typer

from steelyard.cli import output, session, values

app = typer.Typer(help="Places where models run, each with roles of its own.", no_args_is_help=True)

ANY_STAGE = "any stage"

Name = Annotated[str, typer.Argument(help="Name of the environment, as production-eu.")]
Description = Annotated[str | None, typer.Option("--description", "-d", help="Text for people.")]
Labels = Annotated[list[str] | None, typer.Option("--label", "-l", help="Label as key=value; repeat it.")]
Accepts = Annotated[
    list[str] | None,
    typer.Option(
        "--accept", help="A stage of which a version must stand in one; repeat it. Default: any stage."
    ),
]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


@app.command("ls")
def ls(context: typer.Context, json: output.Json = False) -> None:
    """List all environments that you may read."""
    with session.of(context).client() as client:
        found = list(client.environments.list())
    if json:
        output.messages_json(each.message for each in found)
        return
    rows = [
        (each.name, _accepted(each.accepts), each.description, each.labels, output.age(each.create_time))
        for each in found
    ]
    output.table(("environment", "accepts", "description", "labels", "created"), rows)


@app.command("show")
def show(context: typer.Context, name: Name, json: output.Json = False) -> None:
    """Show one environment."""
    with session.of(context).client() as client:
        found = client.environments.get(name)
    if json:
        output.message_json(found.message)
        return
    output.details(
        {
            "environment": found.name,
            "accepts": _accepted(found.accepts),
            "description": found.description,
            "labels": found.labels,
            "created": output.age(found.create_time),
            "by": output.actor(found.creator),
            "uid": found.uid,
        }
    )


@app.command("create")
def create(
    context: typer.Context,
    name: Name,
    description: Description = None,
    label: Labels = None,
    accept: Accepts = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Create an environment; `grants add … --on environment:NAME` says who may do what there."""
    labels = values.pairs(label or [], option="--label")
    with session.of(context).client() as client:
        created = client.environments.create(
            name, description=description or "", labels=labels, accepts=accept or (), reason=reason
        )
    output.changed(f"Environment {name} is there.", created.message, json=json)


@app.command("edit")
def edit(
    context: typer.Context,
    name: Name,
    description: Description = None,
    label: Labels = None,
    accept: Accepts = None,
    accept_any: Annotated[bool, typer.Option("--accept-any", help="Accept any stage again.")] = False,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Change the description or what is accepted, or set labels; `--label key=` removes one.

    The stages of --accept take the place of those that were accepted before.
    """
    if accept and accept_any:
        raise typer.BadParameter("use it or --accept, not both.", param_hint="--accept-any")
    values.require_change(
        description=description, label=label, accept=accept, **{"accept-any": accept_any or None}
    )
    with session.of(context).client() as client:
        found = client.environments.get(name)
        changed = client.environments.update(
            name,
            description=description,
            labels=values.merged(found.labels, label),
            accepts=() if accept_any else accept,
            etag=found.etag,
            reason=reason,
        )
    output.changed(f"Environment {name} is changed.", changed.message, json=json)


@app.command("rm")
def rm(context: typer.Context, name: Name, reason: Reason = "", json: output.Json = False) -> None:
    """Delete an environment with all roles on it; the name is free again."""
    with session.of(context).client() as client:
        sequence = client.environments.delete(name, reason=reason)
    output.removed(f"Environment {name} is gone.", sequence, json=json)


def _accepted(stages: tuple[str, ...]) -> str:
    return ", ".join(stages) or ANY_STAGE
