"""``steelyard whoami``, ``tokens``, ``grants`` and ``groups``: who may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import output, session, values

if TYPE_CHECKING:
    from datetime import datetime

    from steelyard.access import Grant, Group, Token

tokens = typer.Typer(help="Tokens that people and programs log in with.", no_args_is_help=True)
grants = typer.Typer(help="Roles: who may do what, and where.", no_args_is_help=True)
groups = typer.Typer(help="Groups of people and programs, to grant roles to.", no_args_is_help=True)

REGISTRY = "the whole registry"

Subject = Annotated[str, typer.Argument(help="user:ada, service:ci or group:fraud-team.")]
Role = Annotated[
    str,
    typer.Argument(
        help="viewer, reader, writer, evaluator, approver, deployer, auditor, admin or break-glass."
    ),
]
Scope = Annotated[
    str,
    typer.Option("--on", help="risk, risk/fraud or environment:production. Default: the whole registry."),
]
GroupName = Annotated[str, typer.Argument(help="Name of the group, as fraud-team.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


def register(app: typer.Typer) -> None:
    """Add the command that is in no group."""
    app.command("whoami")(whoami)


def whoami(context: typer.Context, json: output.Json = False) -> None:
    """Show who the server takes you for, and what you may do.

    You log in with steelyard login, or with the token in the variable STEELYARD_TOKEN.
    """
    with session.of(context).client() as client:
        found = client.access.identity()
    if json:
        output.message_json(found.message)
        return
    actor = found.actor
    output.details(
        {
            "name": actor.id,
            "kind": actor.kind,
            "verified": "yes" if actor.authenticated else "no, this is a name that you state",
            "token": actor.message.token_uid,
            "issuer": actor.message.issuer,
            "audience": found.message.audience,
            "until": found.expire_time,
            "groups": ", ".join(found.groups),
            "roles": ", ".join(f"{each.role} on {each.scope or REGISTRY}" for each in found.grants),
        }
    )


@tokens.command("create")
def create_token(
    context: typer.Context,
    principal: Annotated[
        str, typer.Argument(help="Who logs in with it, user:ada or service:ci. Default: yourself.")
    ] = "",
    description: Annotated[str, typer.Option("--description", "-d", help="Text for people.")] = "",
    lifetime: Annotated[
        str | None, typer.Option(help="How long it is good, as 12h or 30d. Default: 90 days.")
    ] = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Make a token and print it; it is shown this once, and kept nowhere."""
    seconds = None if lifetime is None else values.seconds(lifetime, option="--lifetime")
    with session.of(context).client() as client:
        made = client.access.create_token(
            principal, description=description, lifetime_seconds=seconds, reason=reason
        )
    if json:
        output.facts_json({"token": made.secret, "uid": made.token.uid, "principal": made.token.principal})
        return
    output.note(f"Token {made.token.uid} of {made.token.principal}, until {_day(made.token.expire_time)}:")
    print(made.secret)


@tokens.command("ls")
def list_tokens(
    context: typer.Context,
    principal: Annotated[str, typer.Argument(help="Whose. Default: all that you may see.")] = "",
    json: output.Json = False,
) -> None:
    """List tokens, without their secrets."""
    with session.of(context).client() as client:
        found = list(client.access.tokens(principal))
    if json:
        output.messages_json(each.message for each in found)
        return
    headers = ("token", "principal", "description", "created", "used", "until", "revoked")
    output.table(headers, map(_token_row, found))


@tokens.command("revoke")
def revoke_token(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(help="Identifier of the token; `tokens ls` has it.")],
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """End a token for good, at once."""
    with session.of(context).client() as client:
        found = client.access.revoke_token(uid, reason=reason)
    if json:
        output.message_json(found.message)
        return
    output.note(f"Token {found.uid} of {found.principal} is revoked.")


@grants.command("add")
def add_grant(
    context: typer.Context,
    subject: Subject,
    role: Role,
    scope: Scope = "",
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Give a role to somebody, or to a group."""
    with session.of(context).client() as client:
        made = client.access.grant(subject, role, scope, reason=reason)
    if json:
        output.message_json(made.message)
        return
    output.note(f"{made.subject} is {made.role} on {made.scope or REGISTRY}.")


@grants.command("rm")
def remove_grant(
    context: typer.Context,
    subject: Subject,
    role: Role,
    scope: Scope = "",
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Take a role away, at once."""
    with session.of(context).client() as client:
        client.access.revoke(subject, role, scope, reason=reason)
    if json:
        output.facts_json({"subject": subject, "role": role, "scope": scope})
        return
    output.note(f"{subject} is no longer {role} on {scope or REGISTRY}.")


@grants.command("ls")
def list_grants(
    context: typer.Context,
    scope: Annotated[str, typer.Argument(help="On this and what is in it. Default: everywhere.")] = "",
    subject: Annotated[str, typer.Option(help="Only of this subject itself.")] = "",
    json: output.Json = False,
) -> None:
    """List who may do what."""
    with session.of(context).client() as client:
        found = list(client.access.grants(scope, subject=subject))
    if json:
        output.messages_json(each.message for each in found)
        return
    output.table(("subject", "role", "on", "since"), map(_grant_row, found))


@groups.command("create")
def create_group(
    context: typer.Context,
    name: GroupName,
    members: Annotated[list[str] | None, typer.Argument(help="Principals, as user:ada.")] = None,
    description: Annotated[str, typer.Option("--description", "-d", help="Text for people.")] = "",
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Create a group."""
    with session.of(context).client() as client:
        made = client.access.create_group(name, members or (), description=description, reason=reason)
    _show_group(made, json=json)


@groups.command("set")
def set_members(
    context: typer.Context,
    name: GroupName,
    members: Annotated[list[str] | None, typer.Argument(help="All principals, as user:ada.")] = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Set who is in a group; who is not named is not in it any more."""
    with session.of(context).client() as client:
        changed = client.access.update_group(name, members=members or (), reason=reason)
    _show_group(changed, json=json)


@groups.command("rm")
def remove_group(
    context: typer.Context, name: GroupName, reason: Reason = "", json: output.Json = False
) -> None:
    """Delete a group with all roles that it has."""
    with session.of(context).client() as client:
        client.access.delete_group(name, reason=reason)
    if json:
        output.facts_json({"name": name})
        return
    output.note(f"The group {name} is deleted.")


@groups.command("ls")
def list_groups(context: typer.Context, json: output.Json = False) -> None:
    """List all groups with their members."""
    with session.of(context).client() as client:
        found = list(client.access.groups())
    if json:
        output.messages_json(each.message for each in found)
        return
    rows = [(each.name, ", ".join(each.members), each.description) for each in found]
    output.table(("group", "members", "description"), rows)


def _show_group(group: Group, *, json: bool) -> None:
    if json:
        output.message_json(group.message)
        return
    output.note(f"The group {group.name} has {', '.join(group.members) or 'no members'}.")


def _token_row(token: Token) -> tuple[str, ...]:
    used = output.age(token.last_use_time) if token.last_use_time else ""
    revoked = output.age(token.revoke_time) if token.revoke_time else ""
    created, until = output.age(token.create_time), _day(token.expire_time)
    return (token.uid, token.principal, token.description, created, used, until, revoked)


def _grant_row(grant: Grant) -> tuple[str, ...]:
    return (grant.subject, grant.role, grant.scope or REGISTRY, output.age(grant.create_time))


def _day(time: datetime) -> str:
    return time.strftime("%Y-%m-%d")
