"""Promoting: proposing a version or a policy, and applying what nothing stands in the way of.

A transaction that finds checks to run, or results of another state than the present one, ends with Stale.
Its caller gathers anew, runs the checks, and tries again with what they found.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from steelyard_server.core import (
    approvals,
    closing,
    evidence,
    governance,
    marks,
    masks,
    models,
    namespaces,
    places,
    pointers,
    policy_drafts,
    promotions,
    references,
    stages,
)
from steelyard_server.core.promotion_states import APPLIED, OPEN, OVERRIDDEN, REFUSED, SUPERSEDED
from steelyard_server.core.promotions import FAILED, WAITING, Promotion, Scoped
from steelyard_server.core.targets import ALIAS, POLICY, STAGE, Target
from steelyard_server.errors import (
    AlreadyAtTarget,
    AuthenticationRequired,
    PromotionOpen,
    ResourceMismatch,
    StageUnknown,
)
from steelyard_server.history import events
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from steelyard_server.core.approvals import Demand
    from steelyard_server.core.evidence import Inputs, Judged
    from steelyard_server.core.governance import Policy, Revision
    from steelyard_server.core.models import Model
    from steelyard_server.core.policy_drafts import Draft
    from steelyard_server.core.references import Reference
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.events import Change, Stamp


class Stale(Exception):
    """Checks have to run, on what is there now, before this transaction can go on."""


@dataclass(frozen=True, slots=True)
class _Move:
    """A promotion in its transaction, with what protects its target now."""

    promotion: Promotion
    policies: Sequence[Policy]
    version: Row | None = None


def gather(tx: Transaction, *, reference: Reference, target: Target, author: str) -> Inputs:
    """Read what the checks of a new promotion look at, that *author* proposes."""
    model, version = references.resolve(tx, reference)
    return evidence.gather(tx, model=model, version=version, target=target, author=author)


def gather_again(tx: Transaction, *, scope: str, number: int) -> Inputs:
    """Read what the checks of a promotion look at now, but no evaluation that came later."""
    found = promotions.find(tx, scope=scope, number=number)
    model, version = references.resolve(tx, references.Reference(found.scope.text, "number", found.version))
    author = found.author["id"]
    return evidence.gather(tx, model=model, version=version, target=found.target, author=author, before=found)


def propose(
    tx: Transaction,
    act: Act,
    *,
    reference: Reference,
    target: Target,
    archive_incumbent: bool = False,
    judged: Judged | None = None,
) -> Promotion:
    """Propose to move a version, and move it when nothing stands in the way.

    Raises:
        ModelNotFound, VersionNotFound, AliasNotFound: no such version.
        StageUnknown, InvalidName, EnvironmentNotFound: no such target, or one to which nothing can go yet.
        AlreadyAtTarget: the version is there.
        PromotionOpen: the same is proposed already.
        Stale: checks have to run first; *judged* is then what they found.
    """
    model, version = references.resolve(tx, reference, lock=True)
    # Behind the stamp no policy and no list of stages can come that this would not see.
    at = events.stamp(tx)
    scope = Scoped(namespaces.find(tx, name=model.namespace), model)
    target.require(tx, act.caller, namespace=scope.namespace)
    if archive_incumbent:
        _require_archive(tx, scope, target, model=model)
    lifted = places.reinstates(tx, model=model, version=version, target=target)
    _require_elsewhere(tx, model, target, version, lifted=lifted)
    policies = governance.protecting(tx, model=model, target=target)
    revisions = governance.revisions(policies)
    _require_not_open(tx, scope, target, version=version.number, revisions=revisions)
    incumbent = _incumbent(tx, model, target, version)
    if policies and (judged is None or judged.key != (version.uid, incumbent, revisions)):
        raise Stale
    new = replace(
        _new(tx, act, scope=scope, target=target, revisions=revisions),
        version=version.number,
        digest=version.digest,
        incumbent=incumbent,
        archive_incumbent=archive_incumbent,
        reinstates=lifted,
        evaluations=judged.evaluations if judged else (),
        incumbent_evaluations=judged.incumbent_evaluations if judged else (),
        checks=judged.checks if judged else (),
    )
    return _create(tx, act, at, _Move(new, policies, version))


def _require_archive(tx: Transaction, scope: Scoped, target: Target, *, model: Model) -> None:
    """Demand that the incumbent can go to the archive with the promotion."""
    if target.kind != STAGE:
        message = "An alias has no incumbent to archive; leave `archive_incumbent` out, or name a stage."
        raise ResourceMismatch(message, field="archive_incumbent")
    known = stages.of(scope.namespace)
    if stages.ARCHIVED not in known:
        message = (
            f"{scope.namespace.name} has no stage {stages.ARCHIVED} for the incumbent, only "
            f"{', '.join(known)}; leave `archive_incumbent` out, or add that stage to its list."
        )
        facts = {"stage": stages.ARCHIVED, "stages": " ".join(known)}
        raise StageUnknown(message, field="archive_incumbent", **facts)
    governance.require_unprotected(tx, model=model, target=Target(STAGE, stages.ARCHIVED))


def _incumbent(tx: Transaction, model: Model, target: Target, version: Row) -> int:
    """Return the number of the other version that is at a target, 0 for none."""
    there = pointers.incumbent(tx, model=model, target=target, but=version.number)
    return there.number if there is not None else 0


def propose_policy(
    tx: Transaction, act: Act, *, namespace: str, name: str, draft: Draft | None, etag: str = ""
) -> Promotion:
    """Propose what a policy is to be, None for its end. Where nobody logs in it is so at once.

    Raises:
        NamespaceNotFound, PolicyNotFound: no such namespace, or no policy to remove.
        PolicyInvalid, InvalidArgument: the draft is wrong.
        AuthenticationRequired: it demands approvals where nobody logs in.
        AlreadyAtTarget: the policy is so.
        EtagMismatch: it changed since *etag* was given out.
        PromotionOpen: a change of it is open.
    """
    scope = promotions.scoped(tx, namespace, lock=True)
    before = governance.find(tx, namespace=scope.namespace, name=name)
    if draft is None:
        governance.found(before, namespace=scope.namespace, name=name)
    else:
        _check_draft(act, draft, scope=scope, before=before)
    masks.check_etag(etag, before.sequence if before else 0)
    if before is None:
        governance.require_room(tx, namespace=scope.namespace)
    target = Target(POLICY, name)
    known = [before] if before else []
    revisions = governance.revisions(known)
    _require_not_open(tx, scope, target, version=0, revisions=revisions)
    new = _new(tx, act, scope=scope, target=target, revisions=revisions)
    move = _Move(replace(new, proposal=_proposal(draft)), known)
    return _create(tx, act, events.stamp(tx), move)


def policies_of(tx: Transaction, promotion: Promotion) -> list[Policy]:
    """Return the policies that decide of a promotion now; of a change of a policy that policy."""
    if promotion.scope.model is not None:
        return governance.protecting(tx, model=promotion.scope.model, target=promotion.target)
    found = governance.find(tx, namespace=promotion.scope.namespace, name=promotion.target.name)
    return [found] if found else []


def beside(tx: Transaction, promotion: Promotion) -> list[Policy]:
    """Return the policies of other places whose approvals a promotion needs now, as `places.beside`."""
    model, target, lifts = promotion.scope.model, promotion.target, bool(promotion.reinstates)
    if model is None or not (lifts or target.kind == STAGE):
        return []
    version = references.find_live(tx, model=model, number=promotion.version)
    if version is None:
        return []
    return places.beside(tx, model=model, version=version, target=target, lifts=lifts)


def demands(tx: Transaction, promotion: Promotion, policies: Sequence[Policy]) -> list[Demand]:
    """Return the approvals that a promotion needs now; *policies* are those of its target."""
    return approvals.demands(promotion, policies, beside=beside(tx, promotion))


def state_of(promotion: Promotion, revisions: tuple[Revision, ...], *, now: int) -> str:
    """Return how a promotion stands at a time in microseconds.

    Args:
        revisions: of the policies that decide of it now. Whatever else ends it, nothing is applied that was
            judged under others.
    """
    state = promotion.state_at(now)
    return SUPERSEDED if state == OPEN and promotion.policies != revisions else state


def override(tx: Transaction, act: Act, at: Stamp, promotion: Promotion) -> tuple[Promotion, list[Change]]:
    """Apply a promotion of a version whatever policies say; return it with the changes beside it.

    Raises:
        VersionNotFound, VersionDeleted: its version is gone.
        VersionRevoked: its version was revoked.
    """
    model, version = _version_of(tx, promotion)
    marks.require_usable(version, model=model)
    incumbent = _incumbent(tx, model, promotion.target, version)
    when = events.time_text(at.time)
    mark = {"actor": act.caller.as_json(), "time": when, "promotion": promotion.text}
    # No check has looked at an incumbent that came since.
    seen = promotion.incumbent_evaluations if incumbent == promotion.incumbent else ()
    after = replace(promotion, state=OVERRIDDEN, ended="", incumbent=incumbent, incumbent_evaluations=seen)
    moved = pointers.carry(tx, act, at, authority=after, model=model, version=version, override=mark)
    return after, moved


def settle(
    tx: Transaction,
    act: Act,
    at: Stamp,
    promotion: Promotion,
    *,
    policies: Sequence[Policy],
    judged: Judged | None = None,
) -> tuple[Promotion, list[Change]]:
    """Apply an open promotion for which nothing is left to wait; return it with the changes beside it.

    Raises:
        VersionNotFound, VersionDeleted: its version is gone.
        Stale: the incumbent moved, or time may have changed what the checks find, so that they have to run
            again first; *judged* is what they found.
    """
    if promotion.scope.model is None or _waits(tx, promotion, policies, now=at.time):
        return _settle(tx, act, at, _Move(promotion, policies))
    model, version = _version_of(tx, promotion)
    incumbent = _incumbent(tx, model, promotion.target, version)
    if incumbent != promotion.incumbent or evidence.ages(policies):
        if judged is None or judged.key != (version.uid, incumbent, promotion.policies):
            raise Stale
        promotion = _judged_again(promotion, judged, incumbent=incumbent)
    return _settle(tx, act, at, _Move(promotion, policies, version))


def _judged_again(promotion: Promotion, judged: Judged, *, incumbent: int) -> Promotion:
    """Return a promotion with what its checks found now, and what was reported from outside before."""
    outside = (each for each in promotion.checks if each.outside)
    return replace(
        promotion,
        incumbent=incumbent,
        incumbent_evaluations=judged.incumbent_evaluations,
        checks=(*(each for each in judged.checks if not each.outside), *outside),
    )


def _version_of(tx: Transaction, promotion: Promotion) -> tuple[Model, Row]:
    reference = references.Reference(promotion.scope.text, "number", promotion.version)
    return references.resolve(tx, reference, model=promotion.scope.model)


def _settle(tx: Transaction, act: Act, at: Stamp, move: _Move) -> tuple[Promotion, list[Change]]:
    promotion = move.promotion
    if any(each.state == FAILED for each in promotion.checks):
        return replace(promotion, state=REFUSED), []
    if _waits(tx, promotion, move.policies, now=at.time):
        return promotion, []
    return replace(promotion, state=APPLIED), _apply(tx, act, at, move)


def _apply(tx: Transaction, act: Act, at: Stamp, move: _Move) -> list[Change]:
    promotion, scope = move.promotion, move.promotion.scope
    if scope.model is not None and move.version is not None:
        return pointers.carry(tx, act, at, authority=promotion, model=scope.model, version=move.version)
    change = _change_policy(tx, at, promotion, before=move.policies)
    _supersede(tx, scope, drafts=[*(each.draft for each in move.policies), proposed(promotion)])
    return [change]


def _change_policy(tx: Transaction, at: Stamp, promotion: Promotion, *, before: Sequence[Policy]) -> Change:
    draft, space = proposed(promotion), promotion.scope.namespace
    if draft is None:
        return governance.remove(tx, namespace=space, policy=before[0])
    # The list of stages may have changed since it was proposed.
    draft.target.check(namespace=space, field="policy.target")
    name, creator = promotion.target.name, promotion.author
    return governance.put(tx, at, namespace=space, name=name, draft=draft, creator=creator)


def _supersede(tx: Transaction, scope: Scoped, *, drafts: Sequence[Draft | None]) -> None:
    """End what was judged under a policy that was otherwise before, or under none."""
    touched = [draft.target for draft in drafts if draft is not None]
    rows = closing.open_targets(tx, namespace=scope.namespace)
    wanted = [(row.model_id, Target(row.target_kind, row.target_name)) for row in rows]
    wanted = [each for each in wanted if any(target.covers(each[1]) for target in touched)]
    found = models.by_ids(tx, sorted({key for key, _ in wanted}))
    for key, target in wanted:
        if key in found:
            closing.supersede(tx, model=found[key], target=target)


def _waits(tx: Transaction, promotion: Promotion, policies: Sequence[Policy], *, now: int) -> bool:
    """Return whether a report or an approval is wanting."""
    if any(each.state == WAITING for each in promotion.checks):
        return True
    wanted = demands(tx, promotion, policies)
    if not promotion.author["authenticated"]:
        # Where nobody logs in there is no second person.
        wanted = [each for each in wanted if each.policy]
    barred = approvals.excluded(tx, promotion) if wanted else {}
    people = approvals.People(tx)
    count = partial(approvals.given, promotion, people=people, barred=barred, now=now)
    return any(count(each) < each.rule.count for each in wanted)


def _create(tx: Transaction, act: Act, at: Stamp, move: _Move) -> Promotion:
    lives = LIMITS.promotion_open_seconds * 1_000_000
    promotion = replace(
        move.promotion,
        create_time=at.time,
        update_time=at.time,
        expire_time=at.time + lives,
        create_sequence=at.sequence,
        sequence=at.sequence,
    )
    promotion, changes = _settle(tx, act, at, replace(move, promotion=promotion))
    changes = [promotions.add(tx, promotion), *changes]
    events.append(tx, act, at, action="promotion.create", changes=changes)
    return promotion


def _new(
    tx: Transaction, act: Act, *, scope: Scoped, target: Target, revisions: tuple[Revision, ...]
) -> Promotion:
    return Promotion(
        id=0,
        uid=str(uuid.uuid4()),
        scope=scope,
        number=promotions.next_number(tx, scope=scope),
        target=target,
        state=OPEN,
        version=0,
        digest="",
        incumbent=0,
        archive_incumbent=False,
        reinstates="",
        proposal=None,
        policies=revisions,
        evaluations=(),
        incumbent_evaluations=(),
        checks=(),
        reviews=(),
        author=act.caller.as_json(),
        create_time=0,
        update_time=0,
        expire_time=0,
        create_sequence=0,
        sequence=0,
    )


def _require_elsewhere(tx: Transaction, model: Model, target: Target, version: Row, *, lifted: str) -> None:
    if target.kind == ALIAS:
        alias = pointers.find(tx, model=model, name=target.name)
        there = alias is not None and alias.number == version.number
    else:
        there = version.stage == target.name
    # A version that was revoked and is there still is put into use again.
    if there and not lifted:
        message = f"{model.text}:{version.number} is at the {target.text} already."
        raise AlreadyAtTarget(message, target=target.text)
    if target.kind == ALIAS and not lifted:
        marks.require_usable(version, model=model)


def _require_not_open(
    tx: Transaction, scope: Scoped, target: Target, *, version: int, revisions: tuple[Revision, ...]
) -> None:
    now = events.now()
    found = promotions.find_open(tx, scope=scope, target=target, version=version, now=now)
    if found is not None and state_of(found, revisions, now=now) == OPEN:
        message = f"{found.text} proposes this already and is open; wait for it, or cancel it."
        raise PromotionOpen(message, scope=scope.text, number=found.number)


def _check_draft(act: Act, draft: Draft, *, scope: Scoped, before: Policy | None) -> None:
    draft.check()
    draft.target.check(namespace=scope.namespace, field="policy.target")
    if draft.target == Target(STAGE, stages.FIRST):
        message = f"Versions begin in {stages.FIRST}, so nothing can protect it; protect a later stage."
        known = " ".join(stages.of(scope.namespace)[1:])
        raise StageUnknown(message, field="policy.target.stage", stage=stages.FIRST, stages=known)
    if draft.approvals is not None and not act.caller.authenticated:
        message = (
            "This policy demands approvals, and nobody has to log in here, so nobody could give them. "
            "Start the server with `--auth tokens`, or leave the approvals out."
        )
        raise AuthenticationRequired(message)
    if before is not None and before.draft == draft:
        raise AlreadyAtTarget(f"The policy {before.text} is so already.", target=f"policy {before.name}")


def _proposal(draft: Draft | None) -> Mapping[str, Any] | None:
    if draft is None:
        return None
    target = {"target_kind": draft.target.kind, "target_name": draft.target.name}
    return draft.as_json() | target | {"description": draft.description}


def _draft(proposal: Mapping[str, Any]) -> Draft:
    target = Target(proposal["target_kind"], proposal["target_name"])
    return policy_drafts.read(proposal, target=target, description=proposal["description"])


def proposed(promotion: Promotion) -> Draft | None:
    """Return the policy that a promotion proposes, or None."""
    return _draft(promotion.proposal) if promotion.proposal is not None else None
