"""``policy``: set, list, show and remove them, and ask what they would say of a version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import decisions, output, policy_file, promote, promotions, session

if TYPE_CHECKING:
    from steelyard import Client
    from steelyard.v1 import policy_pb2

app = typer.Typer(help="What a version needs to go to a stage or an alias.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="namespace/policy, or a policy of your namespace.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say whether it could be done.")]
Etag = Annotated[str, typer.Option(help="Only if it still has this etag.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]
HEADERS = ("policy", "protects", "models", "checks", "from outside", "approvals", "changed")


@app.command("set")
def put(
    context: typer.Context,
    file: Annotated[Path, typer.Option("--file", "-f", help="YAML or JSON, as docs/governance.md says.")],
    etag: Etag = "",
    dry_run: DryRun = False,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Propose a policy, or another content of one.

    With logins a second person must approve that: it is a promotion like others. The file has the whole
    policy; `policy show` prints it.
    """
    from steelyard.errors import SteelyardError

    policy = policy_file.read(file, namespace=session.of(context).resolved()["namespace"])
    with session.of(context).client() as client:
        try:
            made = client.policies.set(policy, etag=etag, validate_only=dry_run, reason=reason)
        except SteelyardError as error:
            if not error.field:
                raise
            raise policy_file.explained(error, path=file, policy=policy) from None
    decisions.show(made, json=json, rehearsed=dry_run)


@app.command("ls")
def ls(
    context: typer.Context,
    namespace: Annotated[str, typer.Argument(help="Namespace; empty means yours.")] = "",
    json: output.Json = False,
) -> None:
    """List the policies of a namespace."""
    with session.of(context).client() as client:
        found = client.policies.list(namespace or client.references.namespace)
    if json:
        output.messages_json(found)
        return
    output.table(HEADERS, map(_row, found))


@app.command("show")
def show(context: typer.Context, name: Name, json: output.Json = False) -> None:
    """Show one policy, as the file that `policy set -f` takes."""
    with session.of(context).client() as client:
        found = client.policies.get(*_named(client, name))
    if json:
        output.message_json(found)
        return
    output.result(policy_file.written(found))


@app.command("rm")
def rm(
    context: typer.Context,
    name: Name,
    etag: Etag = "",
    dry_run: DryRun = False,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Propose the end of a policy; with logins a second person must approve it."""
    with session.of(context).client() as client:
        made = client.policies.delete(*_named(client, name), etag=etag, validate_only=dry_run, reason=reason)
    decisions.show(made, json=json, rehearsed=dry_run)


@app.command("test")
def rehearse(context: typer.Context, ref: promote.Ref, to: promote.To, json: output.Json = False) -> None:
    """Show what every policy of a target says of a version: each check, with its numbers; nothing changes.

    Exit code 3 says that the version would be refused.
    """
    where = promote.target(to)
    with session.of(context).client() as client:
        found = client.promotions.create(ref, **where, validate_only=True)
    if json:
        output.message_json(found.message)
    else:
        promotions.show_checks(found)
        if not found.message.policies:
            output.note(f"No policy protects the {found.target} of {found.scope}.")
    decisions.require_not_stopped(found, rehearsed=True)
    if not json:
        output.note(decisions.sentence(found, rehearsed=True))


def _named(client: Client, name: str) -> tuple[str, str]:
    namespace, slash, short = name.partition("/")
    return (namespace, short) if slash else (client.references.namespace, name)


def _row(policy: policy_pb2.Policy) -> tuple[object, ...]:
    from steelyard import types

    kind = policy.target.WhichOneof("kind") or ""
    return (
        f"{policy.namespace}/{policy.name}",
        decisions.target(kind, getattr(policy.target, kind) if kind else ""),
        list(policy.models) or "*",
        [each.name for each in policy.checks],
        list(policy.outside_checks),
        policy.approvals.count or "",
        output.age(types.time(policy.update_time)),
    )
