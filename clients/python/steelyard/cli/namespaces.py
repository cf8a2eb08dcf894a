"""``namespaces``: list, show, create, edit and remove them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import output, session, values

if TYPE_CHECKING:
    from steelyard import Namespace

app = typer.Typer(help="Spaces of teams, walled off from each other.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the namespace.")]
Description = Annotated[str | None, typer.Option("--description", "-d", help="Text for people.")]
Labels = Annotated[list[str] | None, typer.Option("--label", "-l", help="Label as key=value; repeat it.")]
QuotaSize = Annotated[
    str | None,
    typer.Option(help="Most bytes that it may hold, as 10GB or 512MiB; 0 allows any number."),
]
QuotaVersions = Annotated[
    int | None,
    typer.Option(min=0, help="Most versions in it, deleted ones included; 0 allows any number."),
]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


@app.command("ls")
def ls(context: typer.Context, json: output.Json = False) -> None:
    """List all namespaces."""
    with session.of(context).client() as client:
        found = list(client.namespaces.list())
    if json:
        output.messages_json(each.message for each in found)
        return
    rows = [
        (each.name, *_used(each), each.description, each.labels, output.age(each.create_time))
        for each in found
    ]
    output.table(("namespace", "versions", "size", "description", "labels", "created"), rows)


@app.command("show")
def show(context: typer.Context, name: Name, json: output.Json = False) -> None:
    """Show one namespace."""
    with session.of(context).client() as client:
        found = client.namespaces.get(name)
    if json:
        output.message_json(found.message)
        return
    versions, size = _used(found)
    output.details(
        {
            "namespace": found.name,
            "versions": versions,
            "size": size,
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
    quota_size: QuotaSize = None,
    quota_versions: QuotaVersions = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Create a namespace."""
    labels = values.pairs(label or [], option="--label")
    size_bytes = values.size_bytes(quota_size, option="--quota-size") if quota_size else 0
    with session.of(context).client() as client:
        created = client.namespaces.create(
            name,
            description=description or "",
            labels=labels,
            quota_size_bytes=size_bytes,
            quota_versions_count=quota_versions or 0,
            reason=reason,
        )
    output.changed(f"Namespace {name} is there.", created.message, json=json)


@app.command("edit")
def edit(
    context: typer.Context,
    name: Name,
    description: Description = None,
    label: Labels = None,
    quota_size: QuotaSize = None,
    quota_versions: QuotaVersions = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Change the description or the quota, or set labels; `--label key=` removes one.

    A quota below what is in use is taken: nothing is lost, and more is refused.
    """
    stated = {"quota-size": quota_size, "quota-versions": quota_versions}
    values.require_change(description=description, label=label, **stated)
    size_bytes = None if quota_size is None else values.size_bytes(quota_size, option="--quota-size")
    with session.of(context).client() as client:
        found = client.namespaces.get(name)
        labels = values.merged(found.labels, label)
        changed = client.namespaces.update(
            name,
            description=description,
            labels=labels,
            quota_size_bytes=size_bytes,
            quota_versions_count=quota_versions,
            etag=found.etag,
            reason=reason,
        )
    output.changed(f"Namespace {name} is changed.", changed.message, json=json)


@app.command("rm")
def rm(context: typer.Context, name: Name, reason: Reason = "", json: output.Json = False) -> None:
    """Delete a namespace that has no models."""
    with session.of(context).client() as client:
        sequence = client.namespaces.delete(name, reason=reason)
    output.removed(f"Namespace {name} is gone.", sequence, json=json)


def _used(namespace: Namespace) -> tuple[str, str]:
    """Write how many versions and bytes a namespace has, and how many it may have if that is limited."""
    quota, usage = namespace.quota, namespace.usage
    versions, size = f"{usage.versions_count:,}", output.size(usage.size_bytes)
    return (
        f"{versions} of {quota.versions_count:,}" if quota.versions_count else versions,
        f"{size} of {output.size(quota.size_bytes)}" if quota.size_bytes else size,
    )
