"""``approve``, ``reject``, ``comment``, ``inbox``, ``override`` and ``revoke``: what persons decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import decisions, output, session
from steelyard.cli.promotions import Promotion, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard import Client
    from steelyard.promotions import Promotion as PromotionValue

# What others wait for; everything else somebody may do if they want to.
WANTED = ("approve", "report-check")
Why = Annotated[str, typer.Option("--reason", help="Why; it stays visible.")]


def register(app: typer.Typer) -> None:
    """Add the commands, which are in no group."""
    for command in (approve, reject, comment, inbox, override, revoke):
        app.command(command.__name__)(command)


def approve(
    context: typer.Context, promotion: Promotion, reason: Reason = "", json: output.Json = False
) -> None:
    """Approve a promotion; the last one wanted applies it.

    You cannot approve what you proposed, made or measured.
    """
    found = _reviewed(context, promotion, verdict="approve", reason=reason)
    if json:
        output.message_json(found.message)
    decisions.require_not_stopped(found)
    if not json:
        output.note(decisions.sentence(found))


def reject(
    context: typer.Context, promotion: Promotion, reason: Reason = "", json: output.Json = False
) -> None:
    """Reject a promotion, which ends it."""
    found = _reviewed(context, promotion, verdict="reject", reason=reason)
    output.changed(f"{found}, {decisions.subject(found)}, is refused.", found.message, json=json)


def comment(
    context: typer.Context,
    promotion: Promotion,
    text: Annotated[str, typer.Argument(help="Your words.")],
    json: output.Json = False,
) -> None:
    """Say something about an open promotion."""
    found = _reviewed(context, promotion, verdict="comment", reason=text)
    output.changed(f"Your words stand in {found}.", found.message, json=json)


def inbox(
    context: typer.Context,
    namespace: Annotated[str, typer.Argument(help="Only of this one. Default: all that you see.")] = "",
    json: output.Json = False,
) -> None:
    """List what waits for your approval, or for a report."""
    with session.of(context).client() as client:
        found = list(_waiting(client, namespace))
    if json:
        output.messages_json(each.message for each in found)
        return
    headers = ("promotion", "subject", "you may", "by", "reason")
    rows = [
        (each, decisions.subject(each), _wanted(each), output.actor(each.author), each.reason)
        for each in found
    ]
    output.table(headers, rows)
    if not found:
        output.note("Nothing waits for you.")


def override(context: typer.Context, promotion: Promotion, reason: Why, json: output.Json = False) -> None:
    """Apply a promotion against its policies, in an emergency.

    It may be open, refused or superseded. That it was done shows for ever, on the version too.
    """
    with session.of(context).client() as client:
        scope, number = client.references.promotion(promotion)
        found = client.promotions.override(scope, number, reason=reason)
    output.changed(decisions.sentence(found), found.message, json=json)


def revoke(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(help="fraud:3, fraud:1.4.0, fraud@champion or fraud@sha256:….")],
    reason: Why,
    json: output.Json = False,
) -> None:
    """Stop the use of a version that turned out bad, at once.

    Its bytes are not read any more, wherever it stands, until a promotion that a second person approves
    puts it into use again. What points to it still does: put another version there. The same content in
    other models is not touched.
    """
    with session.of(context).client() as client:
        found = client.promotions.revoke(ref, reason=reason)
    there = [f"the stage {found.stage}", *(f"the alias {each}" for each in found.aliases)]
    text = f"{found} is revoked. It is still at {', '.join(there)}; put another version there."
    output.changed(text, found.message, json=json)


def _reviewed(context: typer.Context, promotion: str, *, verdict: str, reason: str) -> PromotionValue:
    with session.of(context).client() as client:
        scope, number = client.references.promotion(promotion)
        return client.promotions.review(scope, number, verdict, reason=reason)


def _waiting(client: Client, namespace: str) -> Iterator[PromotionValue]:
    """Yield what waits for the caller in one namespace, or in all that they see."""
    names = [namespace] if namespace else [each.name for each in client.namespaces.list()]
    for name in names:
        yield from client.promotions.list(f"{name}/-", waits_for_me=True)


def _wanted(promotion: PromotionValue) -> list[str]:
    return [each for each in promotion.actions if each in WANTED]
