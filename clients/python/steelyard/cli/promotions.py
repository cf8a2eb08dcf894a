"""``promotions``: list, show, report to, and end them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import decisions, output, session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.promotions import Promotion as PromotionValue

app = typer.Typer(help="Requests to move a version or to change a policy.", no_args_is_help=True)

Promotion = Annotated[
    str, typer.Argument(metavar="PROMOTION", help="risk/fraud#7; risk#2 for one about a policy.")
]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]
CHECK_HEADERS = ("check", "policy", "state", "reason", "finding")
REVIEW_HEADERS = ("person", "said", "when", "words")


@app.command("ls")
def ls(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A model, or NAMESPACE/- for all of a namespace. Default: your namespace.")
    ] = "-",
    open_only: Annotated[bool, typer.Option("--open", help="Only those that wait for something.")] = False,
    limit: output.Limit = None,
    json: output.Json = False,
) -> None:
    """List promotions, the newest first."""
    with session.of(context).client() as client:
        listed = client.promotions.list(client.references.model(model), open_only=open_only)
        found = output.first(listed, limit=limit, json=json)
    if json:
        output.messages_json(each.message for each in found)
        return
    headers = ("promotion", "subject", "state", "checks", "approvals", "by", "created", "reason")
    output.table(headers, map(_row, found))


@app.command("show")
def show(context: typer.Context, promotion: Promotion, json: output.Json = False) -> None:
    """Show one promotion: what was looked at, found and said, and what you may do with it."""
    with session.of(context).client() as client:
        found = client.promotions.get(*client.references.promotion(promotion))
    if json:
        output.message_json(found.message)
        return
    output.details(_facts(found))
    show_checks(found)
    _section("review", REVIEW_HEADERS, _reviews(found))


@app.command("report")
def report(
    context: typer.Context,
    promotion: Promotion,
    check: Annotated[str, typer.Argument(help="Name of the check from outside.")],
    passed: Annotated[bool, typer.Option("--passed/--failed", help="What it found.")],
    uri: Annotated[str, typer.Option(help="Where more is to be seen.")] = "",
    message: Annotated[str, typer.Option("--message", "-m", help="What it found, for people.")] = "",
    json: output.Json = False,
) -> None:
    """Report what a check from outside found, for jobs.

    One that failed ends the promotion; the last one that was wanted applies it.
    """
    with session.of(context).client() as client:
        found = client.promotions.report(
            *client.references.promotion(promotion), check, passed=passed, uri=uri, message=message
        )
    if passed:
        decisions.require_not_stopped(found)
    output.changed(decisions.sentence(found), found.message, json=json)


@app.command("withdraw")
def withdraw(
    context: typer.Context, promotion: Promotion, reason: Reason = "", json: output.Json = False
) -> None:
    """Take your approval of an open promotion back."""
    with session.of(context).client() as client:
        scope, number = client.references.promotion(promotion)
        found = client.promotions.review(scope, number, "withdraw", reason=reason)
    output.changed(decisions.sentence(found), found.message, json=json)


@app.command("cancel")
def cancel(
    context: typer.Context, promotion: Promotion, reason: Reason = "", json: output.Json = False
) -> None:
    """End an open promotion."""
    with session.of(context).client() as client:
        found = client.promotions.cancel(*client.references.promotion(promotion), reason=reason)
    output.changed(decisions.sentence(found), found.message, json=json)


def show_checks(promotion: PromotionValue) -> None:
    """Print each check with what it found."""
    rows = [
        (each.name, each.policy, each.state, each.reason, decisions.finding(each))
        for each in promotion.checks
    ]
    _section("check", CHECK_HEADERS, rows)


def _section(kind: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table below others; in a pipe its *kind* begins each line."""
    if not rows:
        return
    if sys.stdout.isatty():
        print()
        output.table(headers, rows)
    else:
        output.table((kind, *headers), [(kind, *row) for row in rows])


def _row(promotion: PromotionValue) -> tuple[object, ...]:
    from steelyard import types

    failed = sum(each.state == "failed" for each in promotion.checks)
    passed = sum(each.state == "passed" for each in promotion.checks)
    checks = f"{passed} of {len(promotion.checks)} passed{f', {failed} failed' if failed else ''}"
    return (
        promotion,
        decisions.subject(promotion),
        promotion.state,
        checks if promotion.checks else "",
        decisions.approvals(promotion),
        output.actor(promotion.author),
        output.age(types.time(promotion.message.create_time)),
        promotion.reason,
    )


def _facts(promotion: PromotionValue) -> dict[str, object]:
    from steelyard import types

    message = promotion.message
    policies = [f"{each.name} (revision {each.revision})" for each in message.policies]
    return {
        "promotion": promotion,
        "subject": decisions.subject(promotion),
        "state": promotion.state,
        "waits for": list(decisions.wanting(promotion)) if promotion.state == "open" else "",
        "digest": message.digest,
        "incumbent": f"{promotion.scope}:{promotion.incumbent}" if promotion.incumbent else "",
        "former to archived": "yes" if message.archive_incumbent else "",
        "policies": policies,
        "evaluations": list(promotion.evaluations),
        "incumbent evaluations": list(promotion.incumbent_evaluations),
        "approvals": decisions.approvals(promotion),
        "by": output.actor(promotion.author),
        "reason": promotion.reason,
        "created": decisions.moment(types.time(message.create_time)),
        "changed": decisions.moment(types.time(message.update_time)),
        "open until": decisions.moment(types.time(message.expire_time)) if promotion.state == "open" else "",
        "you may": list(promotion.actions),
    }


def _reviews(promotion: PromotionValue) -> list[tuple[object, ...]]:
    from steelyard import enums, types
    from steelyard.v1 import promotion_pb2

    rows: list[tuple[object, ...]] = []
    for each in promotion.message.reviews:
        verdict = enums.word(promotion_pb2.Verdict, each.verdict)
        withdrawn = " (withdrawn)" if verdict == "approve" and not each.counts else ""
        who = output.actor(types.actor(each.reviewer))
        rows.append((who, verdict + withdrawn, decisions.moment(types.time(each.create_time)), each.comment))
    return rows
