"""Reviews: what people and jobs say of an open promotion, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from steelyard_server.core import (
    access,
    approvals,
    closing,
    governance,
    marks,
    names,
    pointers,
    promoting,
    promotions,
    references,
    roles,
    versions,
)
from steelyard_server.core.promotion_states import CANCELLED, OPEN, REFUSED, SUPERSEDED
from steelyard_server.core.promotions import (
    APPROVE,
    COMMENT,
    FAILED,
    OVERRIDE,
    PASSED,
    REJECT,
    WAITING,
    WITHDRAW,
    Review,
)
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.errors import (
    CheckNotFound,
    CheckReported,
    EnumInvalid,
    FieldRequired,
    LimitExceeded,
    PromotionClosed,
    RegistryError,
    ReviewNotGiven,
)
from steelyard_server.history import events
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from steelyard_server.core.approvals import Demand, People
    from steelyard_server.core.evidence import Judged
    from steelyard_server.core.filters.search import Position
    from steelyard_server.core.governance import Policy
    from steelyard_server.core.promotions import CheckResult, Promotion
    from steelyard_server.core.references import Reference
    from steelyard_server.core.versions import Version
    from steelyard_server.db.database import Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.caller import Caller
    from steelyard_server.history.events import Change, Stamp

REPORT_CHECK = "report-check"
CANCEL = "cancel"
# What others wait for.
WAITED_FOR = frozenset({APPROVE, REPORT_CHECK})

_T = tables.event_texts.c
_REASONS = select(_T.sequence, _T.content).where(any_of(_T.sequence, "sequences"), _T.name == "reason")
_OVERRIDABLE = frozenset({OPEN, REFUSED, SUPERSEDED})
_ENDS = {
    "applied": "it was applied",
    "refused": "it was refused",
    "cancelled": "it was cancelled",
    "expired": "its time is over",
    "superseded": "the policies of its target changed since its checks ran",
    "overridden": "it was overridden",
}
# What ended it without a word of its own.
_ENDS_OF_VERSION = {REFUSED: "its version was revoked", CANCELLED: "its version was deleted"}


@dataclass(frozen=True, slots=True)
class Report:
    """What a job says of a check."""

    check: str
    passed: bool
    uri: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A promotion as somebody sees it.

    Args:
        state: how it stands now.
        approvals: of each demand, how many count.
        comments: the reasons of its reviews, in their order; *reason* is that of its author.
    """

    promotion: Promotion
    state: str
    approvals: Sequence[tuple[Demand, int]]
    actions: Sequence[str]
    reason: str
    comments: Sequence[str]

    @property
    def waits_for_caller(self) -> bool:
        """Return whether an approval or a report of whoever sees it is wanted."""
        return not WAITED_FOR.isdisjoint(self.actions)

    @property
    def why(self) -> str:
        """Say why it is not open any more, for people; empty while it is."""
        if self.state == OPEN:
            return ""
        return f"{self.promotion.text} is not open: {_because(self.promotion, self.state)}."


def propose(tx: Transaction, act: Act, **wanted: Any) -> View:
    """Propose to move a version; see `promoting.propose`."""
    return view(tx, promoting.propose(tx, act, **wanted), caller=act.caller)


def propose_policy(tx: Transaction, act: Act, **wanted: Any) -> View:
    """Propose what a policy is to be; see `promoting.propose_policy`."""
    return view(tx, promoting.propose_policy(tx, act, **wanted), caller=act.caller)


def get(tx: Transaction, *, scope: str, number: int, caller: Caller) -> View:
    """Return one promotion as *caller* sees it."""
    return view(tx, promotions.find(tx, scope=scope, number=number), caller=caller)


def page(
    tx: Transaction, *, caller: Caller, waits_for_caller: bool = False, **wanted: Any
) -> tuple[list[View], Position | None]:
    """Return promotions as *caller* sees them, and the position behind them; None when nothing follows.

    Args:
        waits_for_caller: only open ones of which an approval or a report of theirs is wanted; what their
            roles, groups and duties allow is known only once a promotion is read, so pages may have fewer.
        wanted: see `promotions.page`.
    """
    open_at = events.now() if waits_for_caller else 0
    found, position = promotions.page(tx, caller=caller, open_at=open_at, **wanted)
    told = _told(tx, found)
    people = approvals.People(tx)
    seen = [_view(tx, each, caller=caller, told=told, people=people) for each in found]
    return [each for each in seen if each.waits_for_caller or not waits_for_caller], position


def view(tx: Transaction, promotion: Promotion, *, caller: Caller) -> View:
    """Return a promotion as *caller* sees it."""
    told = _told(tx, [promotion])
    return _view(tx, promotion, caller=caller, told=told, people=approvals.People(tx))


def _view(
    tx: Transaction, promotion: Promotion, *, caller: Caller, told: Mapping[int, str], people: People
) -> View:
    now = events.now()
    state, asked = promotion.state_at(now), []
    if state == OPEN:
        policies = promoting.policies_of(tx, promotion)
        state = promoting.state_of(promotion, governance.revisions(policies), now=now)
        asked = promoting.demands(tx, promotion, policies) if state == OPEN else []
    barred = approvals.excluded(tx, promotion) if asked else {}
    count = partial(approvals.given, promotion, people=people, barred=barred, now=now)
    may = partial(_actions, tx, promotion, state=state, asked=asked, people=people, barred=barred)
    reason, *comments = (told.get(sequence, "") for sequence in _spoken(promotion))
    return View(
        promotion,
        state=state,
        approvals=[(each, count(each)) for each in asked],
        actions=list(may(caller=caller)),
        reason=reason,
        comments=comments,
    )


def _spoken(promotion: Promotion) -> list[int]:
    """Return the sequences of the events that have the words of its author and of its reviews."""
    return [promotion.create_sequence, *(int(each.sequence) for each in promotion.reviews)]


def _told(tx: Transaction, listed: Sequence[Promotion]) -> dict[int, str]:
    """Return what was said of promotions, by sequence, but for what was erased."""
    sequences = [sequence for each in listed for sequence in _spoken(each)]
    return {row.sequence: row.content for row in tx.all(_REASONS, sequences=sequences)}


def _because(promotion: Promotion, state: str) -> str:
    """Say what ended a promotion, as a clause."""
    if promotion.ended in _ENDS_OF_VERSION:
        return _ENDS_OF_VERSION[promotion.ended]
    if state != REFUSED:
        return _ENDS[state]
    failed = [f"{each.policy}/{each.name}" for each in promotion.checks if each.state == FAILED]
    if failed:
        return f"checks failed: {', '.join(failed)}"
    return f"{promotion.reviews[-1].reviewer['id']} rejected it" if promotion.reviews else _ENDS[state]


def review(
    tx: Transaction, act: Act, *, scope: str, number: int, verdict: str, judged: Judged | None = None
) -> View:
    """Add what a person says; the approval that was still wanted applies the promotion.

    Raises:
        PromotionNotFound, PromotionClosed: there is none that is open.
        ReviewerNotPerson, ReviewerNotIndependent, ReviewerNotAsked, ReviewGiven, ReviewNotGiven: see the RPC.
        Stale: the checks have to run again first.
    """
    if verdict == OVERRIDE:
        raise EnumInvalid("`verdict` is no override; call OverridePromotion for that.", field="verdict")
    at, found, policies = _open(tx, scope=scope, number=number)
    counts_for, vouched = _require_may_say(tx, act, found, verdict=verdict, policies=policies, now=at.time)
    _require_room(act.caller, found, verdict=verdict)
    when = events.time_text(at.time)
    said = Review(act.caller.as_json(), verdict, when, str(at.sequence), counts_for, groups=vouched)
    before = found.reviews
    if verdict == WITHDRAW:
        before = tuple(
            replace(each, withdrawn=True) if approvals.standing(act.caller, each) else each for each in before
        )
    after = replace(found, reviews=(*before, said))
    if verdict == REJECT:
        after = replace(after, state=REFUSED)
    action = f"promotion.{verdict}"
    return _save(tx, act, at, action=action, before=found, after=after, policies=policies, judged=judged)


def report(
    tx: Transaction,
    act: Act,
    *,
    scope: str,
    number: int,
    given: Report,
    judged: Judged | None = None,
) -> View:
    """Note what a check from outside found; one that failed ends the promotion.

    Raises:
        PromotionNotFound, PromotionClosed: there is none that is open.
        CheckNotFound: it waits for no such check.
        CheckReported: the check was reported before.
        Stale: the checks have to run again first.
    """
    names.text(given.uri, field="uri", maximum_bytes=LIMITS.text_bytes)
    names.prose(given.message, field="message", maximum_bytes=LIMITS.text_bytes)
    at, found, policies = _open(tx, scope=scope, number=number)
    _require_waiting(found, given.check)

    def reported(each: CheckResult) -> CheckResult:
        if not each.outside or each.name != given.check:
            return each
        return replace(
            each,
            state=PASSED if given.passed else FAILED,
            message=given.message,
            uri=given.uri,
            reporter=act.caller.as_json(),
            report_time=events.time_text(at.time),
        )

    after = replace(found, checks=tuple(map(reported, found.checks)))
    action = "promotion.report"
    return _save(tx, act, at, action=action, before=found, after=after, policies=policies, judged=judged)


def cancel(tx: Transaction, act: Act, *, scope: str, number: int) -> View:
    """End an open promotion.

    Raises:
        PromotionNotFound, PromotionClosed: there is none that is open.
    """
    at, found, policies = _open(tx, scope=scope, number=number)
    after = replace(found, state=CANCELLED)
    return _save(tx, act, at, action="promotion.cancel", before=found, after=after, policies=policies)


def override(tx: Transaction, act: Act, *, scope: str, number: int) -> View:
    """Apply a promotion whatever policies say, and mark promotion and version with that.

    Raises:
        PromotionNotFound, PromotionClosed: there is none that could be applied.
        FieldRequired: there is no reason.
        ReviewerNotPerson: a service calls.
        ReviewerNotIndependent: the token goes back to who proposed it.
        VersionNotFound, VersionDeleted, VersionRevoked: its version is gone, or must not be used.
    """
    _require_reason(act)
    found = promotions.find(tx, scope=scope, number=number, lock=True)
    approvals.require_may_override(act.caller, found)
    state = found.state_at(events.now())
    if not _overridable(found, state):
        why = _because(found, state) if found.scope.model else "it changes a policy"
        message = f"{found.text} cannot be overridden: {why}."
        raise PromotionClosed(message, scope=found.scope.text, number=number, state=state)
    at = events.stamp(tx)
    said = Review(act.caller.as_json(), OVERRIDE, events.time_text(at.time), str(at.sequence))
    after = replace(found, reviews=(*found.reviews, said), update_time=at.time, sequence=at.sequence)
    after, moved = promoting.override(tx, act, at, after)
    changes = [promotions.save(tx, after, before=found), *moved]
    events.append(tx, act, at, action="promotion.override", changes=changes)
    return view(tx, after, caller=act.caller)


def revoke(tx: Transaction, act: Act, *, reference: Reference) -> Version:
    """Stop the use of a version until a promotion puts it into use again.

    Raises:
        ModelNotFound, VersionNotFound, AliasNotFound: no such version.
        FieldRequired: there is no reason.
        VersionRevoked: it was revoked already.
    """
    _require_reason(act)
    model, version = references.resolve(tx, reference, lock=True)
    marks.require_usable(version, model=model)
    at = events.stamp(tx)
    mark = {
        "actor": act.caller.as_json(),
        "time": events.time_text(at.time),
        "sequence": str(at.sequence),
    }
    marked = marks.of(version) | {marks.REVOCATION: mark}
    change = pointers.save(tx, at, model=model, version=version, marked=marked)
    closing.refuse(tx, model=model, number=version.number)
    events.append(tx, act, at, action="version.revoke", changes=[change])
    return versions.get(tx, reference=references.Reference(model.text, "number", version.number))


def _require_reason(act: Act) -> None:
    if not act.reason:
        raise FieldRequired("`reason` is empty; say why, for this stays visible.", field="reason")


def _save(
    tx: Transaction,
    act: Act,
    at: Stamp,
    *,
    action: str,
    before: Promotion,
    after: Promotion,
    policies: Sequence[Policy],
    judged: Judged | None = None,
) -> View:
    after = replace(after, update_time=at.time, sequence=at.sequence)
    moved: list[Change] = []
    if after.state == OPEN:
        after, moved = promoting.settle(tx, act, at, after, policies=policies, judged=judged)
    changes = [promotions.save(tx, after, before=before), *moved]
    events.append(tx, act, at, action=action, changes=changes)
    return view(tx, after, caller=act.caller)


def _open(tx: Transaction, *, scope: str, number: int) -> tuple[Stamp, Promotion, list[Policy]]:
    """Return a promotion that is open, locked, with the policies that decide of it, and a stamp.

    They are read behind the stamp, so that no other policy can come that this would not see.
    """
    found = promotions.find(tx, scope=scope, number=number, lock=True)
    at = events.stamp(tx)
    policies = promoting.policies_of(tx, found)
    state = promoting.state_of(found, governance.revisions(policies), now=events.now())
    if state != OPEN:
        why = _because(found, state)
        message = f"{found.text} is not open: {why}. Propose it again if it still is wanted."
        raise PromotionClosed(message, scope=found.scope.text, number=number, state=state)
    return at, found, policies


def _require_room(caller: Caller, found: Promotion, *, verdict: str) -> None:
    """Bound comments, and the approvals of each person, so that neither keeps anybody from deciding."""
    if verdict not in {COMMENT, APPROVE}:
        return
    same = (each for each in found.reviews if each.verdict == verdict)
    counted = sum(verdict == COMMENT or each.reviewer["id"] == caller.id for each in same)
    if counted >= LIMITS.reviews_count:
        what = "comments" if verdict == COMMENT else f"approvals of {caller.id}"
        message = f"{found.text} has {counted} {what}; say it elsewhere, or cancel it and propose it again."
        raise LimitExceeded(message, field="verdict", limit=LIMITS.reviews_count, actual=counted + 1)


def _require_may_say(
    tx: Transaction, act: Act, found: Promotion, *, verdict: str, policies: Sequence[Policy], now: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Demand that somebody may say this; return the policies and groups that an approval is kept with."""
    if verdict == APPROVE:
        asked, barred, people = (
            promoting.demands(tx, found, policies),
            approvals.excluded(tx, found),
            approvals.People(tx),
        )
        counts_for = approvals.require_may_approve(
            tx, act.caller, found, asked=asked, people=people, barred=barred, now=now
        )
        return counts_for, approvals.vouched(tx, act.caller, asked=asked)
    if verdict == COMMENT and not act.reason:
        raise FieldRequired("`reason` has the words of a comment, and is empty.", field="reason")
    if verdict == REJECT:
        approvals.require_person(act.caller)
    if verdict == WITHDRAW and not any(approvals.standing(act.caller, each) for each in found.reviews):
        message = f"{act.caller.id} has no approval of {found.text} to withdraw."
        raise ReviewNotGiven(message, scope=found.scope.text, number=found.number)
    return (), ()


def _require_waiting(found: Promotion, check: str) -> None:
    known = {each.name: each.state for each in found.checks if each.outside}
    if check not in known:
        shown = ", ".join(sorted(known)) or "none"
        message = f"{found.text} waits for no check {names.quoted(check)} from outside; it has {shown}."
        raise CheckNotFound(message, check=names.quoted(check), checks=" ".join(sorted(known)))
    if known[check] != WAITING:
        message = f"The check {check} of {found.text} was reported before."
        raise CheckReported(message, check=check)


def _actions(
    tx: Transaction,
    promotion: Promotion,
    *,
    state: str,
    asked: Sequence[Demand],
    people: People,
    barred: Mapping[str, str],
    caller: Caller,
) -> Iterator[str]:
    """Name what *caller* may do with a promotion."""
    scope = promotion.scope.text
    if _overridable(promotion, state) and access.allows(caller, roles.OVERRIDE, scope):
        yield from _if_passes(OVERRIDE, approvals.require_may_override, caller, promotion)
    if state != OPEN:
        return
    if access.allows(caller, roles.REVIEW, scope):
        yield from _verdicts(tx, promotion, asked=asked, people=people, barred=barred, caller=caller)
    waiting = any(each.state == WAITING for each in promotion.checks)
    if waiting and access.allows(caller, roles.EVALUATE, scope):
        yield REPORT_CHECK
    if access.allows(caller, roles.PROPOSE, scope):
        yield CANCEL


def _overridable(promotion: Promotion, state: str) -> bool:
    """Return whether a promotion moves a version, and waits or was stopped by policies."""
    is_revoked = promotion.ended == REFUSED
    return promotion.scope.model is not None and state in _OVERRIDABLE and not is_revoked


def _verdicts(
    tx: Transaction,
    promotion: Promotion,
    *,
    asked: Sequence[Demand],
    people: People,
    barred: Mapping[str, str],
    caller: Caller,
) -> Iterator[str]:
    demand = partial(approvals.require_may_approve, people=people, barred=barred, now=events.now())
    yield from _if_passes(APPROVE, demand, tx, caller, promotion, asked=asked)
    if caller.authenticated and caller.kind == "person":
        yield REJECT
    if any(approvals.standing(caller, each) for each in promotion.reviews):
        yield WITHDRAW
    yield COMMENT


def _if_passes(action: str, demand: Callable[..., object], *args: Any, **wanted: Any) -> Iterator[str]:
    """Name an action when what it demands is met."""
    try:
        demand(*args, **wanted)
        yield action
    except RegistryError:
        pass
