"""``namespaces``: list, show, create, edit and remove them."""

from __future__ import annotations

from dataclasses import replace
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
KeepLast = Annotated[
    int | None,
    typer.Option(min=0, help="How many of the newest versions of each model stay; 0 for no number."),
]
KeepFor = Annotated[str | None, typer.Option(help="How long each version stays, as 90d; 0 for no time.")]
PurgeAfter = Annotated[
    str | None, typer.Option(help="When what is deleted is purged, as 30d after; 0 for never.")
]
Stages = Annotated[
    list[str] | None,
    typer.Option("--stage", help="A stage of its versions, the first is development; repeat it in order."),
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
    retention = found.retention
    output.details(
        {
            "namespace": found.name,
            "versions": versions,
            "size": size,
            "stages": found.stages,
            "keep last": retention.keep_versions_count or "",
            "keep for": output.span(retention.keep_seconds),
            "purge after": output.span(retention.purge_after_seconds),
            "description": found.description,
            "labels": found.labels,
            "created": output.age(found.create_time),
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
    keep_last: KeepLast = None,
    keep_for: KeepFor = None,
    purge_after: PurgeAfter = None,
    stage: Stages = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Create a namespace; see edit for what quota and retention mean."""
    from steelyard import Quota, Retention

    labels = values.pairs(label or [], option="--label")
    quota, retention = _quota(quota_size, quota_versions), _retention(keep_last, keep_for, purge_after)
    with session.of(context).client() as client:
        created = client.namespaces.create(
            name,
            description=description or "",
            labels=labels,
            quota=Quota(**quota),
            retention=Retention(**retention),
            stages=stage or (),
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
    keep_last: KeepLast = None,
    keep_for: KeepFor = None,
    purge_after: PurgeAfter = None,
    stage: Stages = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Change the description, quota or retention, or set labels; `--label key=` removes one.

    A quota below what is in use is taken: nothing is lost, and more is refused.

    A version goes when neither --keep-last nor --keep-for keeps it; with both 0 none goes. The newest of
    a model stays, and so does what an alias points to. Nothing goes before garbage is collected:
    `steelyard gc --dry-run` says how much would.
    """
    quota, retention = _quota(quota_size, quota_versions), _retention(keep_last, keep_for, purge_after)
    stated = {
        "quota-size": quota_size,
        "quota-versions": quota_versions,
        "keep-last": keep_last,
        "keep-for": keep_for,
        "purge-after": purge_after,
        "stage": stage,
    }
    values.require_change(description=description, label=label, **stated)
    with session.of(context).client() as client:
        found = client.namespaces.get(name)
        labels = values.merged(found.labels, label)
        changed = client.namespaces.update(
            name,
            description=description,
            labels=labels,
            quota=replace(found.quota, **quota) if quota else None,
            retention=replace(found.retention, **retention) if retention else None,
            stages=stage,
            etag=found.etag,
            reason=reason,
        )
    output.changed(f"Namespace {name} is changed.{_hint(retention)}", changed.message, json=json)


@app.command("rm")
def rm(context: typer.Context, name: Name, reason: Reason = "", json: output.Json = False) -> None:
    """Delete a namespace that has no models."""
    with session.of(context).client() as client:
        sequence = client.namespaces.delete(name, reason=reason)
    output.removed(f"Namespace {name} is gone.", sequence, json=json)


def _quota(size: str | None, versions: int | None) -> dict[str, int]:
    """Return the numbers of a quota that were given."""
    size_bytes = None if size is None else values.size_bytes(size, option="--quota-size")
    return _given(size_bytes=size_bytes, versions_count=versions)


def _retention(last: int | None, keep_for: str | None, purge_after: str | None) -> dict[str, int]:
    """Return the numbers of a retention that were given."""
    keep = None if keep_for is None else values.seconds(keep_for, option="--keep-for")
    purge = None if purge_after is None else values.seconds(purge_after, option="--purge-after")
    return _given(keep_versions_count=last, keep_seconds=keep, purge_after_seconds=purge)


def _given(**numbers: int | None) -> dict[str, int]:
    return {name: number for name, number in numbers.items() if number is not None}


def _used(namespace: Namespace) -> tuple[str, str]:
    """Write how many versions and bytes a namespace has, and how many it may have if that is limited."""
    quota, usage = namespace.quota, namespace.usage
    versions, size = f"{usage.versions_count:,}", output.size(usage.size_bytes)
    return (
        f"{versions} of {quota.versions_count:,}" if quota.versions_count else versions,
        f"{size} of {values.exact_size(quota.size_bytes)}" if quota.size_bytes else size,
    )


def _hint(retention: dict[str, int]) -> str:
    """Say how to see what a new retention lets go."""
    return " `steelyard gc --dry-run` says what would go now." if any(retention.values()) else ""
