"""What a promotion says to people: where it leads, how it stands, what it waits for, what stopped it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from steelyard.promotions import Check, Promotion

ENDED = {
    "cancelled": "is cancelled.",
    "expired": "has expired: its time was over. Propose it again if it is still wanted.",
    "superseded": "is superseded: the policies of its target have changed. Propose it again.",
}
MENDED = "Nothing has moved. Promote it again when that is mended, or promote another version"


def show(promotion: Promotion, *, json: bool, rehearsed: bool = False) -> None:
    """Print which promotion it is and say how it stands.

    Args:
        rehearsed: whether it was only asked what would happen.

    Raises:
        FailedPrecondition: it ended, and its target has not moved.
    """
    if json:
        output.message_json(promotion.message)
    elif not rehearsed:
        output.result(str(promotion))
    require_not_stopped(promotion, rehearsed=rehearsed)
    if not json:
        output.note(sentence(promotion, rehearsed=rehearsed))


def require_not_stopped(promotion: Promotion, *, rehearsed: bool = False) -> None:
    """Demand that a promotion is open, or has moved its target.

    Raises:
        FailedPrecondition: it ended otherwise; the message says why, and what to do.
    """
    from steelyard.errors import FailedPrecondition

    if promotion.state not in {"open", "applied", "overridden"}:
        raise FailedPrecondition(sentence(promotion, rehearsed=rehearsed))


def sentence(promotion: Promotion, *, rehearsed: bool = False) -> str:
    """Say how a promotion stands, and what comes next."""
    if promotion.state == "refused":
        return _refusal(promotion, rehearsed=rehearsed)
    if promotion.state == "applied":
        return _arrival(promotion, rehearsed=rehearsed)
    if promotion.state == "overridden":
        return f"{_arrival(promotion)} A policy was overridden for that."
    if promotion.state != "open":
        return f"{promotion} {ENDED.get(promotion.state, f'is {promotion.state}.')}"
    hint = "" if rehearsed else f" (steelyard approve {promotion})"
    wanted = " and ".join(wanting(promotion, hint=hint)) or "what it was proposed for"
    if rehearsed:
        return f"Nothing has changed: {subject(promotion)} would wait for {wanted}."
    return f"{promotion}, {subject(promotion)}, waits for {wanted}."


def subject(promotion: Promotion) -> str:
    """Say what is to go where, as `risk/fraud:7 to production` or `policy careful`."""
    if not promotion.version:
        removes = not promotion.message.HasField("policy")
        return f"the end of the {promotion.target}" if removes else f"the {promotion.target}"
    kind, _, name = promotion.target.partition(" ")
    return f"{promotion.scope}:{promotion.version} to {target(kind, name)}"


def target(kind: str, name: str) -> str:
    """Write a target as `--to` takes it."""
    return {"stage": name, "alias": f"@{name}"}.get(kind, f"{kind}:{name}")


def wanting(promotion: Promotion, *, hint: str = "") -> Iterator[str]:
    """Name what an open promotion waits for; a *hint* says how to approve it."""
    for each in promotion.checks:
        if each.state == "waiting":
            yield f"a report of the check {each.name}"
    for asked in promotion.message.approvals:
        missing = asked.wanted - asked.given
        if missing > 0 and not asked.policy:
            yield f"a second person{hint}"
        elif missing > 0:
            approvals = output.count(missing, "approval")
            yield f"{approvals} that the policy {asked.policy} demands{hint}"


def finding(check: Check) -> str:
    """Say what a check found, with the numbers; one from outside also by whom, and where more is."""
    found = [check.message or check.reason, check.uri]
    if check.reporter is not None and check.report_time is not None:
        found.append(f"reported by {output.actor(check.reporter)} at {moment(check.report_time)}")
    return ", ".join(filter(None, found))


def moment(time: datetime) -> str:
    """Write a time as evidence has it."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def approvals(promotion: Promotion) -> str:
    """Say how many approvals an open promotion has."""
    asked = promotion.message.approvals
    wanted, given = sum(each.wanted for each in asked), sum(min(each.given, each.wanted) for each in asked)
    return f"{given} of {wanted}" if wanted else ""


def _arrival(promotion: Promotion, *, rehearsed: bool = False) -> str:
    if rehearsed:
        return f"Nothing stands in the way of {subject(promotion)}; nothing has changed."
    if not promotion.version:
        holds = promotion.message.HasField("policy")
        return f"The {promotion.target} {'holds now' if holds else 'is removed'}."
    return f"{promotion.scope}:{promotion.version} is at the {promotion.target} now."


def _refusal(promotion: Promotion, *, rehearsed: bool) -> str:
    """Say which check failed, with the numbers, or who said no; and what to do."""
    begin = f"{subject(promotion)} would be refused" if rehearsed else f"{promotion} is refused"
    failed = [
        f"  {each.name} (policy {each.policy}): {finding(each)}"
        for each in promotion.checks
        if each.state == "failed"
    ]
    rejected = [f"  {_said(each)}" for each in promotion.message.reviews if each.verdict == _reject()]
    lines = [f"{begin}:" if failed or rejected else f"{begin}.", *failed, *rejected]
    if rehearsed:
        return "\n".join(lines)
    override = f"; in an emergency the role break-glass can: steelyard override {promotion} --reason …"
    return "\n".join([*lines, f"{MENDED}{override if promotion.version else ''}."])


def _said(review: Any) -> str:
    from steelyard import types

    words = f": {review.comment}" if review.comment else "."
    return f"{output.actor(types.actor(review.reviewer))} rejected it{words}"


def _reject() -> int:
    from steelyard.v1 import promotion_pb2

    return promotion_pb2.VERDICT_REJECT
