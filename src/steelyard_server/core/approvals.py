"""Approvals: who must approve a promotion, who may not, and how many have.

The rules that keep duties apart stand here, and no policy can switch them off: nobody approves what they
proposed, made or measured, nor with a token that goes back to who did; a person counts once; services and
stated names never count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from sqlalchemy import bindparam, select

from steelyard_server.core import access, names, roles, scopes
from steelyard_server.core.policy_drafts import Approvals
from steelyard_server.core.promotions import WAITING
from steelyard_server.core.targets import POLICY
from steelyard_server.db import tables
from steelyard_server.errors import (
    ReviewerNotAsked,
    ReviewerNotIndependent,
    ReviewerNotPerson,
    ReviewGiven,
)
from steelyard_server.history import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steelyard_server.core.governance import Policy
    from steelyard_server.core.promotions import Promotion, Review
    from steelyard_server.db.database import Transaction
    from steelyard_server.history.caller import Caller

AUTHOR: Final = "author"
CREATOR: Final = "creator"
EVALUATOR: Final = "evaluator"
BORROWED: Final = "token"
# What a change of a policy needs, and a version that was revoked, whatever the policies say.
SECOND_PERSON: Final = Approvals(count=1)

_V, _E = tables.versions.c, tables.evaluations.c
_CREATORS = select(_V.creator_id).where(_V.digest == bindparam("digest")).distinct()
_EVALUATORS = (
    select(_E.evaluator)
    .join(tables.versions, _V.id == _E.version_id)
    .where(_V.digest == bindparam("digest"))
    .distinct()
)
_BECAUSE = {
    AUTHOR: "proposed it",
    CREATOR: "made a version with this content",
    EVALUATOR: "measured a version with this content",
}


@dataclass(frozen=True, slots=True)
class Demand:
    """The approvals that a policy demands; its name is empty for a second person that none asks for.

    Args:
        since: sequence of an event; approvals that were given before it do not count.
    """

    policy: str
    rule: Approvals
    since: int = 0


def demands(
    promotion: Promotion, policies: Sequence[Policy], *, beside: Sequence[Policy] = ()
) -> list[Demand]:
    """Return the approvals that a promotion needs: by the policies of its target, and of places *beside*."""
    if promotion.target.kind == POLICY:
        return [Demand("", SECOND_PERSON)]
    # Nothing of these is frozen into the promotion: whoever approved before they changed did not see them.
    others = [
        Demand(each.name, each.draft.approvals, since=each.sequence)
        for each in beside
        if each.draft.approvals
    ]
    alone = bool(promotion.reinstates) or (bool(beside) and not others)
    second = [Demand("", SECOND_PERSON)] if alone else []
    asked = [Demand(each.name, each.draft.approvals) for each in policies if each.draft.approvals]
    return [*second, *asked, *others]


def creators(tx: Transaction, *, digest: str) -> frozenset[str]:
    """Return who made a content, in any model that has it."""
    return frozenset(row.creator_id for row in tx.all(_CREATORS, digest=digest))


def excluded(tx: Transaction, promotion: Promotion) -> dict[str, str]:
    """Return who may not approve a promotion, and why."""
    found: dict[str, str] = {}
    if promotion.digest:
        rows = tx.all(_EVALUATORS, digest=promotion.digest)
        found |= {orjson.loads(row.evaluator)["id"]: EVALUATOR for row in rows}
        found |= dict.fromkeys(creators(tx, digest=promotion.digest), CREATOR)
    return found | {promotion.author["id"]: AUTHOR}


class People:
    """Who approved, with the rights that they have in one transaction; each is read once."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._found: dict[tuple[str, tuple[str, ...]], Caller] = {}

    def may(self, review: Review, promotion: Promotion, rule: Approvals) -> bool:
        """Return whether somebody who approved might do so now, as far as a rule asks for roles or groups."""
        key = (review.reviewer["id"], review.groups)
        if key not in self._found:
            self._found[key] = access.known(self._tx, key[0], groups=key[1])
        caller = self._found[key]
        reviews = access.allows(caller, roles.REVIEW, promotion.scope.text)
        return reviews and _meets(self._tx, caller, promotion, rule)


def given(
    promotion: Promotion, demand: Demand, *, people: People, barred: Mapping[str, str], now: int
) -> int:
    """Count the persons whose approvals meet a demand at a time in microseconds."""
    return len(_persons(promotion, demand, people=people, now=now) - barred.keys())


def _persons(promotion: Promotion, demand: Demand, *, people: People, now: int) -> set[str]:
    """Return whose approvals are for a demand, not too old for it, and of who may still give them."""
    oldest = now - demand.rule.lifetime_seconds * 1_000_000 if demand.rule.lifetime_seconds else 0
    return {
        each.reviewer["id"]
        for each in promotion.reviews
        if each.approves
        and demand.policy in each.policies
        and each.create_time > events.time_text(oldest)
        and int(each.sequence) > demand.since
        and people.may(each, promotion, demand.rule)
    }


def vouched(tx: Transaction, caller: Caller, *, asked: Sequence[Demand]) -> tuple[str, ...]:
    """Return the groups of an identity provider by which *caller* might approve, without `group:`."""
    claimed = caller.rights.claimed_groups if caller.rights is not None else ()
    if not claimed:
        return ()
    wanted = {group for each in asked for group in each.rule.groups}
    wanted |= {row.subject for row in access.grants_of(tx, caller)}
    return tuple(each for each in claimed if f"{names.GROUP}{each}" in wanted)


def standing(caller: Caller, review: Review) -> bool:
    """Return whether a review is an approval of *caller* that was not taken back."""
    return review.approves and review.reviewer["id"] == caller.id


def require_person(caller: Caller) -> None:
    """Demand a person who logged in.

    Raises:
        ReviewerNotPerson: it is a service, or a name that nobody verified.
    """
    if not caller.authenticated or caller.kind != "person":
        message = (
            f"{caller.id} cannot decide: only a person who logged in can, no service and no stated name."
        )
        raise ReviewerNotPerson(message, actor=caller.id)


def require_own_login(caller: Caller, promotion: Promotion, *, barred: Mapping[str, str]) -> None:
    """Demand that *caller* did not log in with a token that goes back to somebody who is barred.

    Raises:
        ReviewerNotIndependent: they did, so that it may be somebody else who calls.
    """
    makers = caller.rights.makers if caller.rights is not None else frozenset()
    found = next((each for each in sorted(makers) if each in barred or each == access.UNTRACED), None)
    if found is None:
        return
    why = f"{found} made, who {_BECAUSE[barred[found]]}" if found else "is too far back to tell who made it"
    message = (
        f"This token of {caller.id} goes back to one that {why}, so it does not count for {promotion.text}. "
        "Log in at the identity provider, or with a token that another admin made."
    )
    raise ReviewerNotIndependent(message, because=BORROWED, maker=found)


def require_may_override(caller: Caller, promotion: Promotion) -> None:
    """Demand a person whom the author of a promotion did not let in; where nobody logs in, anybody may.

    Raises:
        ReviewerNotPerson, ReviewerNotIndependent: it is not one.
    """
    if caller.rights is not None:
        require_person(caller)
        require_own_login(caller, promotion, barred={promotion.author["id"]: AUTHOR})


def require_may_approve(
    tx: Transaction,
    caller: Caller,
    promotion: Promotion,
    *,
    asked: Sequence[Demand],
    people: People,
    barred: Mapping[str, str],
    now: int,
) -> tuple[str, ...]:
    """Demand that an approval of *caller* would count; return the policies that it counts for.

    One that is too old by now, or is for other policies than a new one would be, may be given again.

    Args:
        barred: what `excluded` found.

    Raises:
        ReviewerNotPerson, ReviewerNotIndependent, ReviewerNotAsked: it would not.
        ReviewGiven: they have approved it already, and that counts.
    """
    require_person(caller)
    because = barred.get(caller.id)
    if because is not None:
        message = f"{caller.id} cannot approve {promotion.text}: they {_BECAUSE[because]}. Let somebody else."
        raise ReviewerNotIndependent(message, because=because)
    require_own_login(caller, promotion, barred=barred)
    if not asked and not any(each.state == WAITING for each in promotion.checks):
        # What it waited for is wanted no more, as when its version left a protected stage otherwise.
        return ()
    met = [each for each in asked if _meets(tx, caller, promotion, each.rule)]
    held = [each for each in asked if caller.id in _persons(promotion, each, people=people, now=now)]
    if held and all(each in held for each in met):
        message = f"{caller.id} has approved {promotion.text} already; each person counts once."
        raise ReviewGiven(message, scope=promotion.scope.text, number=promotion.number)
    if not met:
        wanted = {role for each in asked for role in each.rule.roles}
        groups = {group for each in asked for group in each.rule.groups}
        shown = ", ".join(sorted(wanted | groups)) or "nobody"
        message = f"No policy asks {caller.id} to approve {promotion.text}; asked are {shown}."
        facts = {"roles": " ".join(sorted(wanted)), "groups": " ".join(sorted(groups))}
        raise ReviewerNotAsked(message, **facts)
    return tuple(each.policy for each in met)


def _meets(tx: Transaction, caller: Caller, promotion: Promotion, rule: Approvals) -> bool:
    if not rule.roles and not rule.groups:
        return access.allows(caller, roles.REVIEW, promotion.scope.text)
    if {f"group:{group}" for group in caller.groups} & set(rule.groups):
        return True
    where = scopes.covering(scopes.key_of(promotion.scope.text))
    grants = access.grants_of(tx, caller)
    return any(row.role in rule.roles and row.scope_key in where for row in grants)
