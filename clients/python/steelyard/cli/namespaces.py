"""``namespaces``: list, show, create, edit and remove them."""

from __future__ import annotations

from typing import Annotated

import typer

from steelyard.cli import output, session, values

app = typer.Typer(help="Spaces of teams, walled off from each other.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the namespace.")]
Description = Annotated[str | None, typer.Option("--description", "-d", help="Text for people.")]
Labels = Annotated[list[str] | None, typer.Option("--label", "-l", help="Label as key=value; repeat it.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


@app.command("ls")
def ls(context: typer.Context, json: output.Json = False) -> None:
    """List all namespaces."""
    with session.of(context).client() as client:
        found = list(client.namespaces.list())
    if json:
        output.messages_json(each.message for each in found)
        return
    rows = [(each.name, each.description, each.labels, output.age(each.create_time)) for each in found]
    output.table(("namespace", "description", "labels", "created"), rows)


@app.command("show")
def show(context: typer.Context, name: Name, json: output.Json = False) -> None:
    """Show one namespace."""
    with session.of(context).client() as client:
        found = client.namespaces.get(name)
    if json:
        output.message_json(found.message)
        return
    output.details(
        {
            "namespace": found.name,
            "description": found.description,
            "labels": found.labels,
            "created": found.create_time,
            "uid": found.uid,
        }
    )


@app.command("create")
def create(
    context: typer.Context,
    name: Name,
    description: Description = None,
    label: Labels = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Create a namespace."""
    labels = values.pairs(label or [], option="--label")
    with session.of(context).client() as client:
        created = client.namespaces.create(name, description=description or "", labels=labels, reason=reason)
    output.changed(f"Namespace {name} is there.", created.message, json=json)


@app.command("edit")
def edit(
    context: typer.Context,
    name: Name,
    description: Description = None,
    label: Labels = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Change the description or set labels; `--label key=` removes one."""
    values.require_change(description=description, label=label)
    with session.of(context).client() as client:
        found = client.namespaces.get(name)
        labels = values.merged(found.labels, label)
        changed = client.namespaces.update(
            name, description=description, labels=labels, etag=found.etag, reason=reason
        )
    output.changed(f"Namespace {name} is changed.", changed.message, json=json)


@app.command("rm")
def rm(context: typer.Context, name: Name, reason: Reason = "", json: output.Json = False) -> None:
    """Delete a namespace that has no models."""
    with session.of(context).client() as client:
        sequence = client.namespaces.delete(name, reason=reason)
    output.removed(f"Namespace {name} is gone.", sequence, json=json)
