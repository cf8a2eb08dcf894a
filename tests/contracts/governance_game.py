"""What may go where, in plain Python: the rules that test_governance_machine.py compares a server with.

A second reading of what decisions 21, 25 and 28 and docs/access.md promise, on purpose without the code of
the server. Whatever a method refuses may leave these rules half changed: who calls it goes on with a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.contracts.governance_nouns import (
    ANY_SECOND,
    ANYBODY,
    APPLIED,
    ARCHIVED,
    CANCELLED,
    DEVELOPMENT,
    EXPIRED,
    OPEN,
    OVERRIDDEN,
    PATIENCE,
    REFUSED,
    SUPERSEDED,
    Approval,
    Ask,
    Draft,
    Login,
    Policies,
    Proposal,
    Target,
    Version,
    demand,
)
from tests.contracts.governance_people import APPROVER, BREAK_GLASS
from tests.contracts.governance_shelves import Shelves

# A version there is out of use; nothing brings it back by going there.
UNUSED = {("stage", DEVELOPMENT), ("stage", ARCHIVED)}


@dataclass
class Rules(Shelves):
    """A registry by its rules."""

    def deciding(self, proposal: Proposal) -> Policies:
        """Return the policies that decide of a proposal now."""
        if proposal.version:
            return self.protecting(proposal.scope, proposal.target)
        name = proposal.target[1]
        found = self.policies.get((proposal.scope, name))
        return {name: found} if found else {}

    def state(self, proposal: Proposal) -> str:
        """Return how a proposal stands: one that is open ends with its policies, and with its time."""
        if proposal.state != OPEN or proposal.ended:
            return proposal.ended or proposal.state
        if proposal.expires <= self.now:
            return EXPIRED
        return OPEN if self.as_judged(proposal) else SUPERSEDED

    def as_judged(self, proposal: Proposal) -> bool:
        now = {name: revision for name, (revision, _) in self.deciding(proposal).items()}
        return now == proposal.revisions

    def beside(self, proposal: Proposal) -> Policies:
        """Return the policies of other places with a say: of the stage that is left, and where it serves."""
        version = self.versions.get((proposal.scope, proposal.version))
        if version is None or version.deleted:
            return {}
        places: set[Target] = set()
        if proposal.reinstates or proposal.target[0] == "stage":
            places.add(("stage", version.stage))
        if proposal.reinstates:
            places |= {("alias", name) for name in self.pointing(version)}
        places -= {proposal.target, ("stage", DEVELOPMENT)}
        return {name: each for name, each in self.holding(proposal.scope).items() if each[1].target in places}

    def demands(self, proposal: Proposal) -> dict[str, Ask]:
        """Return who must approve, by policy."""
        if not proposal.version:
            return {ANYBODY: ANY_SECOND}
        beside = self.beside(proposal)
        asked = {
            name: Ask(draft.count, draft.by_group, draft.lifetime, revision)
            for name, (revision, draft) in (beside | self.deciding(proposal)).items()
            if draft.count
        }
        alone = bool(beside) and not any(name in asked for name in beside)
        return asked | ({ANYBODY: ANY_SECOND} if proposal.reinstates or alone else {})

    def barred(self, proposal: Proposal) -> set[str]:
        """Return who may not approve: who proposed, made or measured it."""
        same = [
            each for each in self.versions.values() if proposal.version and each.content == proposal.content
        ]
        measured = set[str]().union(*(each.measured_by for each in same))
        return {proposal.author} | {each.maker for each in same} | measured

    def counting(self, proposal: Proposal, name: str, ask: Ask) -> set[str]:
        """Return whose approvals were for this revision of a policy, who still may, and are not too old."""
        return {
            each.who
            for each in proposal.approvals
            if each.met.get(name) == ask.revision
            and self.asks(ask, each.who, proposal)
            and (not ask.lifetime or each.time > self.now - ask.lifetime)
        }

    def asks(self, ask: Ask, who: str, proposal: Proposal) -> bool:
        """Return whether somebody is among those who are to approve."""
        may = self.people.has(who, APPROVER, proposal.scope)
        return may and (not ask.by_group or who in self.people.members)

    def earned(self, proposal: Proposal) -> bool:
        """Return whether as many independent persons as each policy wants have approved."""
        barred, wanted = self.barred(proposal), self.demands(proposal).items()
        return all(len(self.counting(proposal, name, ask) - barred) >= ask.count for name, ask in wanted)

    def propose(self, who: str, model: str, number: int, target: Target, *, archives: bool) -> Proposal:
        """Propose to move a version, and move it when nothing stands in the way."""
        version = self.live(model, number)
        kind, name = target
        self.require_target(self.space(model), target)
        demand(kind == "stage" or not archives, "nothing to archive")
        if archives:
            self._require_archive(model)
        policies = self.protecting(model, target)
        lifts = version.revoked if self._lifts(version, target) else 0
        there = version.stage == name if kind == "stage" else self.aliases.get((model, name)) == number
        demand(not there or lifts, "there already")
        demand(kind == "stage" or not version.revoked or lifts, "revoked")
        new = Proposal(
            model,
            self._count(model),
            who,
            target,
            revisions={each: revision for each, (revision, _) in policies.items()},
            version=number,
            content=version.content,
            archives=archives,
            reinstates=lifts,
            expires=self.now + PATIENCE,
            reports={each: None for each, (_, draft) in policies.items() if draft.outside},
        )
        return self._add(new)

    def propose_policy(self, who: str, space: str, name: str, draft: Draft | None) -> Proposal:
        """Propose what a policy is to be, or its end."""
        before = self.policies.get((space, name))
        if draft is not None:
            self.require_target(space, draft.target)
            demand(draft.target != ("stage", DEVELOPMENT), "begins there")
        demand(before or draft, "no such policy")
        demand(before is None or draft is None or before[1].fields() != draft.fields(), "so already")
        revisions = {name: before[0]} if before else {}
        target = ("policy", name)
        expires = self.now + PATIENCE
        return self._add(
            Proposal(space, self._count(space), who, target, revisions, draft=draft, expires=expires)
        )

    def approve(self, by: Login, proposal: Proposal) -> None:
        self._require_reviewer(by.who, proposal)
        demand(not by.who.startswith("service:"), "no person")
        demand(not by.persons & self.barred(proposal), "not independent")
        demands = self.demands(proposal)
        met = {name: ask for name, ask in demands.items() if self.asks(ask, by.who, proposal)}
        demand(met, "not asked")
        new = [name for name, ask in met.items() if by.who not in self.counting(proposal, name, ask)]
        demand(new, "approved already")
        revisions = {name: ask.revision for name, ask in met.items()}
        proposal.approvals.append(Approval(by.who, self.now, revisions))
        self._settle(proposal)

    def withdraw(self, who: str, proposal: Proposal) -> None:
        self._require_reviewer(who, proposal)
        kept = [each for each in proposal.approvals if each.who != who]
        demand(kept != proposal.approvals, "nothing to withdraw")
        proposal.approvals = kept
        self._settle(proposal)

    def reject(self, who: str, proposal: Proposal) -> None:
        self._require_reviewer(who, proposal)
        demand(not who.startswith("service:"), "no person")
        proposal.state = REFUSED

    def report(self, proposal: Proposal, *, passed: bool) -> None:
        """Note what a job found, for all policies that ask it."""
        self._require_open(proposal)
        demand(None in proposal.reports.values(), "not waited for")
        proposal.reports = dict.fromkeys(proposal.reports, passed)
        self._settle(proposal)

    def cancel(self, proposal: Proposal) -> None:
        self._require_open(proposal)
        proposal.state = CANCELLED

    def override(self, by: Login, proposal: Proposal) -> None:
        """Apply a proposal whatever the policies say, with a mark."""
        self.require_scope(proposal.scope)
        demand(self.people.has(by.who, BREAK_GLASS, proposal.scope), "no role")
        demand(not by.who.startswith("service:"), "no person")
        demand(by.who == proposal.author or proposal.author not in by.persons, "not independent")
        demand(proposal.version and proposal.ended != REFUSED, "closed")
        demand(self.state(proposal) in {OPEN, REFUSED, SUPERSEDED}, "closed")
        version = self.usable(proposal.scope, proposal.version)
        self._carry(proposal, version)
        version.overridden, proposal.state, proposal.ended = True, OVERRIDDEN, ""

    def revoke(self, who: str, model: str, number: int) -> None:
        demand(self.people.has(who, APPROVER, model), "no role")
        self.usable(model, number).revoked = self.next()
        self._end(model, number, REFUSED)

    def delete(self, model: str, number: int) -> None:
        """Delete a version, which ends what is open of it."""
        super().delete(model, number)
        self._end(model, number, CANCELLED)

    def rename(self, model: str, new: str) -> None:
        """Give a model a name more; policies of all its names hold."""
        super().rename(model, new)
        self._supersede()

    def _end(self, model: str, number: int, state: str) -> None:
        for each in self.proposals:
            if (each.scope, each.version) == (model, number) and self.state(each) == OPEN:
                each.ended = state

    def find(self, place: tuple[str, int]) -> Proposal:
        return next(each for each in self.proposals if each.place == place)

    def _lifts(self, version: Version, target: Target) -> bool:
        """Return whether a revoked version is used again by going to a target."""
        guarded = self.protecting(version.model, target) or not self.holding(version.model)
        return bool(version.revoked and guarded and target not in UNUSED)

    def _require_archive(self, model: str) -> None:
        demand(ARCHIVED in self.stages[self.space(model)], "no archive")
        self.require_unprotected(model, ("stage", ARCHIVED))

    def _require_open(self, proposal: Proposal) -> None:
        self.require_scope(proposal.scope)
        demand(self.state(proposal) == OPEN, "closed")

    def _require_reviewer(self, who: str, proposal: Proposal) -> None:
        demand(self.people.has(who, APPROVER, proposal.scope), "no role")
        self._require_open(proposal)

    def _count(self, scope: str) -> int:
        return sum(each.scope == scope for each in self.proposals) + 1

    def _add(self, new: Proposal) -> Proposal:
        for each in self.proposals:
            same = (each.scope, each.target, each.version) == (new.scope, new.target, new.version)
            demand(not same or self.state(each) != OPEN, "open already")
        self.proposals.append(new)
        if not self._passes(new):
            new.state = REFUSED
        else:
            self._settle(new)
        return new

    def _passes(self, proposal: Proposal) -> bool:
        if not proposal.version:
            return True
        there = self.incumbent(proposal.scope, proposal.target, but=proposal.version)
        return all(draft.passes(proposal.version, there) for _, draft in self.deciding(proposal).values())

    def _settle(self, proposal: Proposal) -> None:
        """Apply a proposal for which nothing is left to wait."""
        reports = proposal.reports.values()
        ready = None not in reports and self.earned(proposal)
        version = self.live(proposal.scope, proposal.version) if ready and proposal.version else None
        if False in reports or (ready and not self._passes(proposal)):
            proposal.state = REFUSED
        elif ready and version is not None:
            self._carry(proposal, version)
            proposal.state = APPLIED
        elif ready:
            proposal.state = APPLIED
            self._change_policy(proposal)

    def _change_policy(self, proposal: Proposal) -> None:
        key = (proposal.scope, proposal.target[1])
        self.policies.pop(key, None)
        if proposal.draft is not None:
            self.require_target(proposal.scope, proposal.draft.target)
            self.policies[key] = (self.next(), proposal.draft)
        self._supersede()

    def _supersede(self) -> None:
        """End for good what was judged under other policies."""
        for each in self.proposals:
            waits = each.state == OPEN and not each.ended and each.expires > self.now
            if each.version and waits and not self.as_judged(each):
                each.ended = SUPERSEDED

    def _carry(self, proposal: Proposal, version: Version) -> None:
        kind, name = proposal.target
        if version.revoked == proposal.reinstates:
            version.revoked = 0
        demand(not version.revoked or (kind == "stage" and not proposal.reinstates), "revoked")
        if kind == "alias":
            self.aliases[version.model, name] = version.number
            return
        self.require_target(self.space(version.model), proposal.target)
        there = self.incumbent(version.model, proposal.target, but=version.number)
        if proposal.archives and there:
            self._require_archive(version.model)
            self.versions[version.model, there].stage = ARCHIVED
        version.stage = name
        self.arrivals.append((version.model, name, version.number))

    def standing(self) -> Iterator[tuple[str, Target, int]]:
        """Yield what stands where, but for development."""
        for (model, name), number in self.aliases.items():
            yield model, ("alias", name), number
        for version in self.versions.values():
            if version.stage != DEVELOPMENT:
                yield version.model, ("stage", version.stage), version.number

    def wanted(self) -> list[Proposal]:
        """Return the proposals that are open or superseded; else all."""
        waiting = [each for each in self.proposals if each.state == OPEN]
        return waiting or self.proposals
