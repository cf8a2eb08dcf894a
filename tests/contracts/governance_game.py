"""What may go where, in plain Python: the rules that test_governance_machine.py compares a server with.

A second reading of what decision 25 and docs/access.md promise, on purpose without the code of the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Target = tuple[str, str]

DEVELOPMENT = "development"
ARCHIVED = "archived"
OPEN, APPLIED, REFUSED, CANCELLED = "open", "applied", "refused", "cancelled"
SUPERSEDED, OVERRIDDEN = "superseded", "overridden"
GROUP = "group:risk"


class Refused(Exception):
    """What the rules forbid."""


def demand(allowed: object, why: str) -> None:
    """Demand something.

    Raises:
        Refused: it is not so.
    """
    if not allowed:
        raise Refused(why)


@dataclass(frozen=True)
class Draft:
    """A policy as it is written.

    Attributes:
        models: name of the models for which it holds, or `*`.
        highest: number above which versions fail its check; 0 without a check.
        newer: whether a version must be newer than what is there; the first one need not.
        outside: whether a job reports something.
        count: of the persons who must approve, 0 for none.
        by_group: whether these must be in a group; otherwise whoever may review counts.
    """

    target: Target
    models: str = "*"
    highest: int = 0
    newer: bool = False
    outside: bool = False
    count: int = 0
    by_group: bool = False

    def fields(self) -> dict[str, Any]:
        """Write it for a request."""
        checks: list[dict[str, Any]] = []
        if self.highest:
            checks.append({"name": "low", "expression": f"candidate.number <= {self.highest}"})
        if self.newer:
            expression = "candidate.number > incumbent.number"
            checks.append({"name": "newer", "expression": expression, "passes_without_incumbent": True})
        written: dict[str, Any] = {"models": [self.models], "target": dict([self.target]), "checks": checks}
        written |= {"outside_checks": ["bias"]} if self.outside else {}
        groups = {"groups": [GROUP]} if self.by_group else {}
        return written | ({"approvals": {"count": self.count, **groups}} if self.count else {})

    def passes(self, number: int, incumbent: int) -> bool:
        """Return whether its checks let a version pass; an *incumbent* of 0 is none."""
        low = not self.highest or number <= self.highest
        return low and (not self.newer or number > incumbent)


@dataclass
class Version:
    """A version as it stands; *revoked* tells its revocation from others, 0 for none."""

    model: str
    number: int
    content: str
    stage: str = DEVELOPMENT
    deleted: bool = False
    revoked: int = 0
    overridden: bool = False


@dataclass
class Proposal:
    """A promotion of a version, or of what a policy is to be.

    Attributes:
        revisions: of the policies that decide of it, by name, as they were when it was proposed.
        reinstates: the revocation that it undoes, 0 for none.
        reports: by policy, whether a job reported, and what.
        approvals: for which policies each person approved it.
    """

    scope: str
    number: int
    author: str
    target: Target
    version: Version | None
    revisions: dict[str, int]
    draft: Draft | None = None
    archives: bool = False
    reinstates: int = 0
    reports: dict[str, bool | None] = field(default_factory=dict)
    approvals: dict[str, frozenset[str]] = field(default_factory=dict)
    state: str = OPEN


@dataclass
class Rules:
    """A registry by its rules.

    Attributes:
        policies: by namespace and name, each with a revision that no other ever had.
        made, measured: who made content and who measured it, in any model.
        approvers: who has the role on which scope.
        arrivals: into stages by promotions, in their order.
    """

    members: set[str]
    approvers: set[tuple[str, str]]
    overriders: set[str]
    versions: dict[tuple[str, int], Version] = field(default_factory=dict)
    aliases: dict[tuple[str, str], int] = field(default_factory=dict)
    policies: dict[tuple[str, str], tuple[int, Draft]] = field(default_factory=dict)
    proposals: list[Proposal] = field(default_factory=list)
    made: dict[str, set[str]] = field(default_factory=dict)
    measured: dict[str, set[str]] = field(default_factory=dict)
    arrivals: list[tuple[str, str, int]] = field(default_factory=list)
    counted: int = 0

    def next(self) -> int:
        """Count on."""
        self.counted += 1
        return self.counted

    def live(self, model: str, number: int) -> Version:
        """Return a version that there is and that is not deleted."""
        version = self.versions.get((model, number))
        if version is None or version.deleted:
            raise Refused("no such version")
        return version

    def usable(self, model: str, number: int) -> Version:
        """Return a version that is not revoked either."""
        version = self.live(model, number)
        demand(not version.revoked, "revoked")
        return version

    def protecting(self, model: str, target: Target) -> dict[str, tuple[int, Draft]]:
        """Return the policies that protect a target, by name."""
        space, _, short = model.partition("/")
        return {
            name: each
            for (where, name), each in self.policies.items()
            if where == space and each[1].target == target and each[1].models in {"*", short}
        }

    def require_unprotected(self, model: str, target: Target) -> None:
        demand(not self.protecting(model, target), "protected")

    def deciding(self, proposal: Proposal) -> dict[str, tuple[int, Draft]]:
        """Return the policies that decide of a proposal now."""
        if proposal.version is not None:
            return self.protecting(proposal.scope, proposal.target)
        name = proposal.target[1]
        found = self.policies.get((proposal.scope, name))
        return {name: found} if found else {}

    def state(self, proposal: Proposal) -> str:
        """Return how a proposal stands: one that is open ends with its policies."""
        now = {name: revision for name, (revision, _) in self.deciding(proposal).items()}
        return SUPERSEDED if proposal.state == OPEN and now != proposal.revisions else proposal.state

    def demands(self, proposal: Proposal) -> dict[str, tuple[int, bool]]:
        """Return how many must approve, and whether of the group, by policy; "" asks anybody."""
        if proposal.version is None:
            return {"": (1, False)}
        again = {"": (1, False)} if proposal.reinstates else {}
        drafts = {name: draft for name, (_, draft) in self.deciding(proposal).items() if draft.count}
        return again | {name: (draft.count, draft.by_group) for name, draft in drafts.items()}

    def barred(self, proposal: Proposal) -> set[str]:
        """Return who may not approve: who proposed, made or measured it."""
        content = proposal.version.content if proposal.version else ""
        return {proposal.author} | self.made.get(content, set()) | self.measured.get(content, set())

    def may_review(self, who: str, scope: str) -> bool:
        """Return whether somebody has the role on a scope, or on one around it."""
        around = ("", scope.partition("/")[0], scope)
        return any((who, each) in self.approvers for each in around)

    def earned(self, proposal: Proposal) -> bool:
        """Return whether as many independent persons as each policy wants have approved, who still may."""
        given = [self.held(who, proposal) for who in proposal.approvals.keys() - self.barred(proposal)]
        wanted = self.demands(proposal).items()
        return all(sum(name in held for held in given) >= count for name, (count, _) in wanted)

    def met(self, who: str, proposal: Proposal) -> frozenset[str]:
        """Return the policies that ask somebody for an approval now."""
        may, wanted = self.may_review(who, proposal.scope), self.demands(proposal).items()
        return frozenset(
            name for name, (_, by_group) in wanted if may and (not by_group or who in self.members)
        )

    def held(self, who: str, proposal: Proposal) -> frozenset[str]:
        """Return the policies for which somebody has approved, and still might."""
        return self.met(who, proposal) & proposal.approvals.get(who, frozenset())

    def incumbent(self, model: str, target: Target, *, but: int) -> int:
        """Return the number of what is at a target, 0 for nothing; a candidate is not its own."""
        kind, name = target
        if kind == "alias":
            return self.aliases.get((model, name), 0)
        numbers = (
            number for where, stage, number in reversed(self.arrivals) if (where, stage) == (model, name)
        )
        found = (self.versions[model, number] for number in numbers if number != but)
        return next((each.number for each in found if each.stage == name and not each.deleted), 0)

    def propose(self, who: str, model: str, number: int, target: Target, *, archives: bool) -> Proposal:
        """Propose to move a version, and move it when nothing stands in the way."""
        version = self.live(model, number)
        kind, name = target
        demand(kind == "stage" or not archives, "nothing to archive")
        there = version.stage == name if kind == "stage" else self.aliases.get((model, name)) == number
        demand(not there or version.revoked, "there already")
        policies = self.protecting(model, target)
        new = Proposal(
            model,
            self._count(model),
            who,
            target,
            version=version,
            revisions={each: revision for each, (revision, _) in policies.items()},
            archives=archives,
            reinstates=version.revoked,
            reports={each: None for each, (_, draft) in policies.items() if draft.outside},
        )
        return self._add(new, judged=True)

    def propose_policy(self, who: str, space: str, name: str, draft: Draft | None) -> Proposal:
        """Propose what a policy is to be, or its end."""
        before = self.policies.get((space, name))
        demand(before or draft, "no such policy")
        demand(before is None or before[1] != draft, "so already")
        revisions = {name: before[0]} if before else {}
        return self._add(Proposal(space, self._count(space), who, ("policy", name), None, revisions, draft))

    def approve(self, who: str, proposal: Proposal) -> None:
        self._require_reviewer(who, proposal)
        demand(not who.startswith("service:"), "no person")
        demand(who not in self.barred(proposal), "not independent")
        met, held = self.met(who, proposal), self.held(who, proposal)
        demand(not held or met - held, "approved already")
        demand(met, "not asked")
        before = dict(proposal.approvals)
        proposal.approvals[who] = met | before.get(who, frozenset())
        try:
            self._settle(proposal)
        except Refused:
            proposal.approvals = before
            raise

    def withdraw(self, who: str, proposal: Proposal) -> None:
        self._require_reviewer(who, proposal)
        demand(who in proposal.approvals, "nothing to withdraw")
        taken = proposal.approvals.pop(who)
        try:
            self._settle(proposal)
        except Refused:
            proposal.approvals[who] = taken
            raise

    def reject(self, who: str, proposal: Proposal) -> None:
        self._require_reviewer(who, proposal)
        demand(not who.startswith("service:"), "no person")
        proposal.state = REFUSED

    def report(self, proposal: Proposal, *, passed: bool) -> None:
        """Note what a job found, for all policies that ask it."""
        demand(self.state(proposal) == OPEN, "closed")
        demand(None in proposal.reports.values(), "not waited for")
        waited = dict(proposal.reports)
        proposal.reports = dict.fromkeys(waited, passed)
        try:
            self._settle(proposal)
        except Refused:
            proposal.reports = waited
            raise

    def cancel(self, proposal: Proposal) -> None:
        demand(self.state(proposal) == OPEN, "closed")
        proposal.state = CANCELLED

    def override(self, who: str, proposal: Proposal) -> None:
        """Apply a proposal whatever the policies say, with a mark."""
        demand(who in self.overriders and not who.startswith("service:"), "no role")
        demand(proposal.version and self.state(proposal) in {OPEN, REFUSED, SUPERSEDED}, "closed")
        version = self._candidate(proposal)
        demand(not version.revoked, "revoked")
        self._carry(proposal, version)
        version.overridden, proposal.state = True, OVERRIDDEN

    def revoke(self, who: str, model: str, number: int) -> None:
        demand(self.may_review(who, model), "no role")
        self.usable(model, number).revoked = self.next()

    def set_alias(self, model: str, name: str, number: int) -> None:
        self.usable(model, number)
        if self.aliases.get((model, name)) != number:
            self.require_unprotected(model, ("alias", name))
            self.aliases[model, name] = number

    def delete_alias(self, model: str, name: str) -> None:
        demand((model, name) in self.aliases, "no such alias")
        self.require_unprotected(model, ("alias", name))
        del self.aliases[model, name]

    def delete(self, model: str, number: int) -> None:
        version = self.live(model, number)
        used = any((where, each) == (model, number) for (where, _), each in self.aliases.items())
        demand(not used, "in use")
        version.deleted = True

    def undelete(self, model: str, number: int) -> None:
        """Bring a version back, but into no stage that is protected."""
        version = self.versions.get((model, number))
        if version is None or not version.deleted:
            raise Refused("not deleted")
        version.deleted = False
        if self.protecting(model, ("stage", version.stage)):
            version.stage = DEVELOPMENT

    def make(self, who: str, model: str, content: str) -> bool:
        """Say that a model is to have content; return whether that is new."""
        same = [
            each for (where, _), each in self.versions.items() if (where, each.content) == (model, content)
        ]
        demand(not any(each.deleted for each in same), "content deleted")
        if not same:
            self.made.setdefault(content, set()).add(who)
        return not same

    def _require_reviewer(self, who: str, proposal: Proposal) -> None:
        demand(self.may_review(who, proposal.scope), "no role")
        demand(self.state(proposal) == OPEN, "closed")

    def _count(self, scope: str) -> int:
        return sum(each.scope == scope for each in self.proposals) + 1

    def _add(self, new: Proposal, *, judged: bool = False) -> Proposal:
        for each in self.proposals:
            same = (each.scope, each.target, each.version) == (new.scope, new.target, new.version)
            demand(not same or self.state(each) != OPEN, "open already")
        if judged and not self._passes(new):
            new.state = REFUSED
        else:
            self._settle(new)
        self.proposals.append(new)
        return new

    def _passes(self, proposal: Proposal) -> bool:
        if proposal.version is None:
            return True
        number = proposal.version.number
        there = self.incumbent(proposal.scope, proposal.target, but=number)
        return all(draft.passes(number, there) for _, draft in self.deciding(proposal).values())

    def _candidate(self, proposal: Proposal) -> Version:
        if proposal.version is None:
            raise Refused("no version")
        return self.live(proposal.scope, proposal.version.number)

    def _settle(self, proposal: Proposal) -> None:
        """Apply a proposal for which nothing is left to wait."""
        reports = proposal.reports.values()
        ready = None not in reports and self.earned(proposal)
        version = self._candidate(proposal) if ready and proposal.version else None
        if False in reports or (ready and not self._passes(proposal)):
            proposal.state = REFUSED
        elif ready and version is not None:
            demand(version.revoked in {0, proposal.reinstates}, "revoked")
            self._carry(proposal, version)
            version.revoked, proposal.state = 0, APPLIED
        elif ready:
            key = (proposal.scope, proposal.target[1])
            self.policies.pop(key, None)
            if proposal.draft is not None:
                self.policies[key] = (self.next(), proposal.draft)
            proposal.state = APPLIED

    def _carry(self, proposal: Proposal, version: Version) -> None:
        kind, name = proposal.target
        if kind == "alias":
            self.aliases[version.model, name] = version.number
            return
        there = self.incumbent(version.model, proposal.target, but=version.number)
        if proposal.archives and there:
            self.require_unprotected(version.model, ("stage", ARCHIVED))
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
