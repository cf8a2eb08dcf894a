"""Where versions are in the game of governance, in plain Python: models, stages, aliases, and policies."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.contracts.governance_nouns import (
    DEVELOPMENT,
    OPEN,
    Draft,
    Model,
    Policies,
    Proposal,
    Refused,
    Target,
    Version,
    demand,
)
from tests.contracts.governance_people import People


@dataclass
class Shelves:
    """Models by their first names, and what is in them.

    Attributes:
        stages: of each namespace.
        policies: by namespace and name, each with a revision that no other ever had.
        arrivals: into stages by promotions, in their order.
        now: how far the clock was moved, in seconds.
    """

    people: People
    stages: dict[str, tuple[str, ...]]
    models: dict[str, Model]
    versions: dict[tuple[str, int], Version] = field(default_factory=dict)
    aliases: dict[tuple[str, str], int] = field(default_factory=dict)
    policies: dict[tuple[str, str], tuple[int, Draft]] = field(default_factory=dict)
    proposals: list[Proposal] = field(default_factory=list)
    arrivals: list[tuple[str, str, int]] = field(default_factory=list)
    counted: int = 0
    now: int = 0

    def next(self) -> int:
        """Count on."""
        self.counted += 1
        return self.counted

    def space(self, model: str) -> str:
        return model.partition("/")[0]

    def require_scope(self, scope: str) -> None:
        """Demand a namespace, or a model that is not deleted."""
        model = self.models.get(scope)
        demand(model is None or not (model.deleted or model.purged), "model deleted")

    def live(self, model: str, number: int) -> Version:
        """Return a version that there is and that is not deleted."""
        self.require_scope(model)
        version = self.versions.get((model, number))
        if version is None or version.deleted:
            raise Refused("no such version")
        return version

    def usable(self, model: str, number: int) -> Version:
        """Return a version that is not revoked either."""
        version = self.live(model, number)
        demand(not version.revoked, "revoked")
        return version

    def buried(self, model: str, number: int) -> Version:
        """Return a version that is deleted."""
        self.require_scope(model)
        version = self.versions.get((model, number))
        if version is None or not version.deleted:
            raise Refused("not deleted")
        return version

    def holding(self, model: str) -> Policies:
        """Return the policies that protect anything in a model, by any name that it has or had."""
        names = {"*"} | {each.partition("/")[2] for each in self.models[model].names}
        return {
            name: each
            for (where, name), each in self.policies.items()
            if where == self.space(model) and each[1].models in names
        }

    def protecting(self, model: str, target: Target) -> Policies:
        """Return the policies that protect a target, by name."""
        return {name: each for name, each in self.holding(model).items() if each[1].target == target}

    def require_unprotected(self, model: str, target: Target) -> None:
        demand(not self.protecting(model, target), "protected")

    def require_target(self, space: str, target: Target) -> None:
        """Demand that a namespace has a stage; aliases may be new."""
        demand(target[0] != "stage" or target[1] in self.stages[space], "no such stage")

    def pointing(self, version: Version) -> list[str]:
        """Return the aliases that point to a version."""
        here = (version.model, version.number)
        return [name for (model, name), number in self.aliases.items() if (model, number) == here]

    def incumbent(self, model: str, target: Target, *, but: int) -> int:
        """Return the number of what is at a target, 0 for nothing; a candidate is not its own."""
        kind, name = target
        if kind == "alias":
            return self.aliases.get((model, name), 0)
        came = (number for where, stage, number in reversed(self.arrivals) if (where, stage) == (model, name))
        found = (self.versions.get((model, number)) for number in came if number != but)
        there = (each for each in found if each and each.stage == name and not each.deleted)
        return next((each.number for each in there), 0)

    def make(self, who: str, model: str, content: str) -> tuple[bool, int]:
        """Let a model have content; return whether that is new, and its number."""
        self.require_scope(model)
        for each in self.versions.values():
            if (each.model, each.content) == (model, content):
                demand(not each.deleted, "content deleted")
                return False, each.number
        line = self.models[model]
        line.last += 1
        self.versions[model, line.last] = Version(model, line.last, content, who)
        return True, line.last

    def measure(self, who: str, model: str, number: int) -> None:
        self.live(model, number).measured_by.add(who)

    def set_alias(self, model: str, name: str, number: int) -> None:
        self.usable(model, number)
        if self.aliases.get((model, name)) != number:
            self.require_unprotected(model, ("alias", name))
            self.aliases[model, name] = number

    def delete_alias(self, model: str, name: str) -> None:
        self.require_scope(model)
        demand((model, name) in self.aliases, "no such alias")
        self.require_unprotected(model, ("alias", name))
        del self.aliases[model, name]

    def delete(self, model: str, number: int) -> None:
        version = self.live(model, number)
        demand(not self.pointing(version), "in use")
        self.require_unprotected(model, ("stage", version.stage))
        version.deleted = True

    def undelete(self, model: str, number: int) -> None:
        """Bring a version back, but into no stage that is protected, or that went."""
        version = self.buried(model, number)
        version.deleted = False
        gone = version.stage not in self.stages[self.space(model)]
        if gone or self.protecting(model, ("stage", version.stage)):
            version.stage = DEVELOPMENT

    def purge(self, model: str, number: int) -> None:
        self.buried(model, number)
        del self.versions[model, number]

    def delete_model(self, model: str) -> None:
        self.require_scope(model)
        demand(not any(where == model for where, _ in self.aliases), "in use")
        for each in self.within(model):
            self.require_unprotected(model, ("stage", each.stage))
        self.models[model].deleted = True

    def undelete_model(self, model: str) -> None:
        line = self.models[model]
        demand(line.deleted and not line.purged, "not deleted")
        line.deleted = False
        for each in self.within(model):
            if self.protecting(model, ("stage", each.stage)):
                each.stage = DEVELOPMENT

    def within(self, model: str) -> list[Version]:
        """Return the versions of a model that are not deleted themselves."""
        return [each for key, each in self.versions.items() if key[0] == model and not each.deleted]

    def purge_model(self, model: str) -> None:
        """End a deleted model with all that was in it; its names stay taken."""
        line = self.models[model]
        demand(line.deleted and not line.purged, "not deleted")
        line.purged = True
        self.versions = {key: each for key, each in self.versions.items() if key[0] != model}
        self.proposals = [each for each in self.proposals if each.scope != model]
        self.people.end(model)

    def rename(self, model: str, new: str) -> None:
        self.require_scope(model)
        space = self.space(model)
        others = (line.names for key, line in self.models.items() if key != model)
        demand(self.space(new) == space and not any(new in names for names in others), "taken")
        self.models[model].names.add(new)

    def set_stages(self, space: str, stages: tuple[str, ...]) -> None:
        """Give a namespace another list, which still has each stage that is used."""
        for gone in set(self.stages[space]) - set(stages):
            target = ("stage", gone)
            used = any(
                where == space and draft.target == target for (where, _), (_, draft) in self.policies.items()
            )
            inside = any(
                self.space(each.model) == space and each.stage == gone and not each.deleted
                for each in self.versions.values()
            )
            leads = any(self._leads(each, space, target) for each in self.proposals)
            demand(not (used or inside or leads), "stage in use")
        self.stages[space] = stages

    def _leads(self, proposal: Proposal, space: str, target: Target) -> bool:
        """Return whether a proposal that waits leads to a target."""
        waits = proposal.state == OPEN and not proposal.ended and proposal.expires > self.now
        return (
            bool(proposal.version)
            and waits
            and self.space(proposal.scope) == space
            and proposal.target == target
        )
