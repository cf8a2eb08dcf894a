"""Scenes of the game of governance: a few steps towards each way around a policy, whatever was before.

Each goes by calls that both sides judge, so a scene that meets something in its way is as good as another.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.contracts import governance_calls as calls
from tests.contracts.governance_calls import Call, Place
from tests.contracts.governance_nouns import ARCHIVED, OPEN, PATIENCE, USUAL, Draft, Login, Target
from tests.contracts.governance_people import BREAK_GLASS
from tests.contracts.governance_table import FRAUD, MODELS, ROOT, Table

PRODUCTION, CHAMPION, STAGING = ("stage", "production"), ("alias", "champion"), ("stage", "staging")
HOUR = 3600
# More than an hour, and two of them as much as no lifetime.
STEP = 4000
Cast = tuple[str, str, str, str]


class Scenes(Table):
    """Scenes with a cast of four persons: an author, and three who may approve."""

    def clear(self, cast: Cast) -> None:
        """Let the three be approvers, and nothing be protected nor open in a namespace."""
        for who in cast[1:]:
            self.do(calls.grant(ROOT, who, "default"))
        self.do(calls.set_stages(ROOT, "default", (*USUAL, "gold")))
        for each in self.plain.proposals:
            if each.scope == "default" and self.plain.state(each) == OPEN:
                self.do(calls.cancel(ROOT, each.place))
        for space, name in sorted(self.plain.policies):
            if space == "default":
                self.rule_that(cast, name, None)

    def rule_that(self, cast: Cast, name: str, draft: Draft | None) -> None:
        """Let a policy be so, with a second person."""
        if self.do(calls.set_policy(self.own(cast[0]), "default", name, draft)):
            self.say(cast[1])

    def fresh(self, who: str, model: str = FRAUD) -> int:
        """Make a version of content that there never was; return its number."""
        self.do(calls.create(self.own(who), model, f"fresh-{next(self.counted)}"))
        return self.plain.models[model].last

    def proposed(self, who: str, number: int, to: Target, *, archives: bool = False) -> Place:
        self.do(calls.promote(self.own(who), FRAUD, number, to, archives=archives))
        return self.last()

    def say(self, who: str, place: Place | None = None, *, verdict: str = "APPROVE") -> bool:
        return self.do(calls.review(self.own(who), place or self.last(), verdict))

    def waiting(self, cast: Cast, draft: Draft) -> tuple[int, Place]:
        """Let a new version wait for approvals of a policy; return its number and what proposes it."""
        self.clear(cast)
        self.rule_that(cast, "careful", draft)
        number = self.fresh(cast[0])
        return number, self.proposed(cast[0], number, draft.target)

    def arrived(self, cast: Cast, target: Target, *, count: int = 1) -> int:
        """Let a new version be where a policy demands approvals; return its number."""
        number, place = self.waiting(cast, Draft(target, count=count))
        for who in cast[1 : 1 + count]:
            self.say(who, place)
        return number

    def scene_superseded(self, cast: Cast, target: Target) -> None:
        _, place = self.waiting(cast, Draft(target, count=2))
        self.say(cast[2], place)
        self.rule_that(cast, "careful", Draft(target, count=1))
        self.say(cast[3], place)
        self.rule_that(cast, "careful", Draft(target, count=2))
        self.say(cast[1], place)

    def scene_measured_after_approving(self, cast: Cast, target: Target) -> None:
        number, place = self.waiting(cast, Draft(target, count=2))
        self.say(cast[1], place)
        self.do(calls.evaluate(self.own(cast[1]), FRAUD, number))
        self.say(cast[2], place)
        self.say(cast[3], place)

    def scene_made_after_approving(self, cast: Cast, target: Target) -> None:
        number, place = self.waiting(cast, Draft(target, count=2))
        self.say(cast[1], place)
        self.do(calls.copy(self.own(cast[1]), FRAUD, number, MODELS[2]))
        self.say(cast[2], place)

    def scene_evaluator(self, cast: Cast, target: Target) -> None:
        number, place = self.waiting(cast, Draft(target, count=1))
        self.do(calls.evaluate(self.own(cast[1]), FRAUD, number))
        self.say(cast[1], place)

    def scene_archive_is_protected(self, cast: Cast, target: Target) -> None:
        self.arrived(cast, PRODUCTION)
        second, third = self.fresh(cast[0]), self.fresh(cast[0])
        place = self.proposed(cast[0], second, PRODUCTION, archives=True)
        self.rule_that(cast, "strict", Draft(("stage", ARCHIVED), count=2))
        self.proposed(cast[0], third, PRODUCTION, archives=True)
        self.say(cast[2], place)
        self.do(calls.promote(self.own(cast[0]), FRAUD, second, ("stage", ARCHIVED)))
        self.rule_that(cast, "strict", None)
        self.say(cast[2], place)

    def scene_revoked_under_a_promotion(self, cast: Cast, target: Target) -> None:
        number, place = self.waiting(cast, Draft(target, count=1))
        self.do(calls.revoke(self.own(cast[2]), FRAUD, number))
        self.say(cast[1], place)
        self.do(calls.override(self.own("user:tom"), place))

    def scene_rivals(self, cast: Cast, target: Target) -> None:
        _, place = self.waiting(cast, Draft(target, count=1, newer=True))
        self.proposed(cast[0], self.fresh(cast[0]), target)
        self.say(cast[1])
        self.say(cast[2], place)

    def scene_leaving(self, cast: Cast, target: Target) -> None:
        number = self.arrived(cast, PRODUCTION, count=2)
        self.do(calls.end_version(self.own(cast[0]), "Delete", FRAUD, number))
        place = self.proposed(cast[0], number, STAGING)
        self.say(cast[1], place)
        self.rule_that(cast, "careful", Draft(PRODUCTION, count=1))
        self.say(cast[2], place)

    def scene_leaving_without_approvals(self, cast: Cast, target: Target) -> None:
        self.clear(cast)
        self.rule_that(cast, "careful", Draft(PRODUCTION, newer=True))
        number = self.fresh(cast[0])
        self.proposed(cast[0], number, PRODUCTION)
        place = self.proposed(cast[0], number, STAGING)
        self.say(cast[0], place)
        self.say(cast[1], place)

    def scene_lifting(self, cast: Cast, target: Target) -> None:
        """Revoke what serves somewhere, put it away, and put it into use again."""
        number = self.arrived(cast, CHAMPION)
        self.rule_that(cast, "strict", Draft(PRODUCTION, count=2))
        self.do(calls.revoke(self.own(cast[1]), FRAUD, number))
        for to in (STAGING, ("alias", "canary"), target):
            self.do(calls.promote(self.own(cast[0]), FRAUD, number, to))
            self.say(cast[1])
        self.say(cast[2])

    def scene_borrowed(self, cast: Cast, target: Target) -> None:
        """Approve with tokens that the author made, at one hand and at two."""
        _, place = self.waiting(cast, Draft(target, count=1))
        lent = self.mint(self.own(cast[0]), cast[1])
        for login in (lent, self.mint(self.mint(lent, cast[2]), cast[3])):
            self.do(calls.approve(login, place))
            self.do(calls.override(self.mint(login, "user:tom"), place))
        self.do(calls.approve(self.mint(self.own(cast[2]), cast[1]), place))

    def scene_borrowed_from_an_evaluator(self, cast: Cast, target: Target) -> None:
        number, place = self.waiting(cast, Draft(target, count=1))
        self.do(calls.evaluate(self.own(cast[1]), FRAUD, number))
        self.do(calls.approve(self.mint(self.own(cast[1]), cast[2]), place))

    def scene_renamed(self, cast: Cast, target: Target) -> None:
        """Let a model come under a policy by a new name, and try to leave it again."""
        new = f"name-{next(self.counted)}"
        _, place = self.waiting(cast, Draft(target, count=1))
        self.rule_that(cast, "strict", Draft(target, models=new, count=2))
        self.do(calls.rename(self.own(cast[0]), FRAUD, f"default/{new}"))
        self.say(cast[1], place)
        self.do(calls.rename(self.own(cast[0]), FRAUD, FRAUD))
        place = self.proposed(cast[0], self.fresh(cast[0]), target)
        self.say(cast[1], place)

    def scene_old_approvals(self, cast: Cast, target: Target) -> None:
        _, place = self.waiting(cast, Draft(target, count=2, lifetime=HOUR))
        self.say(cast[1], place)
        self.say(cast[1], place)
        self.pass_time(STEP)
        self.say(cast[2], place)
        self.say(cast[1], place)

    def scene_old_promotion(self, cast: Cast, target: Target) -> None:
        _, place = self.waiting(cast, Draft(target, count=1))
        self.pass_time(PATIENCE + STEP)
        self.say(cast[1], place)
        self.do(calls.override(self.own("user:tom"), place))

    def scene_model_deleted(self, cast: Cast, target: Target) -> None:
        """Delete a model under a promotion, and bring it back."""
        _, place = self.waiting(cast, Draft(PRODUCTION, count=1))
        for model, name in sorted(self.plain.aliases):
            if model == FRAUD:
                self.do(calls.delete_alias(self.own(cast[0]), model, name))
        self.do(calls.end_model(self.own(cast[0]), "Delete", FRAUD))
        self.say(cast[1], place)
        self.do(calls.override(self.own("user:tom"), place))
        self.do(calls.end_model(self.own(cast[0]), "Undelete", FRAUD))
        self.say(cast[1], place)

    def scene_purged(self, cast: Cast, target: Target) -> None:
        """Purge what is proposed; its number does not come again."""
        number, place = self.waiting(cast, Draft(target, count=1))
        for rpc in ("Purge", "Delete", "Purge"):
            self.do(calls.end_version(self.own(cast[0]), rpc, FRAUD, number))
        self.fresh(cast[0])
        self.say(cast[1], place)

    def scene_deleted_and_back(self, cast: Cast, target: Target) -> None:
        """Be deleted while a policy comes, and come back into the stage that it protects."""
        self.clear(cast)
        number = self.fresh(cast[0])
        self.proposed(cast[0], number, PRODUCTION)
        self.do(calls.end_version(self.own(cast[0]), "Delete", FRAUD, number))
        self.rule_that(cast, "careful", Draft(PRODUCTION, count=1))
        self.do(calls.end_version(self.own(cast[0]), "Undelete", FRAUD, number))

    def scene_stages(self, cast: Cast, target: Target) -> None:
        """Take stages out of the list while something needs them, and when nothing does."""
        usual, gold = USUAL, ("stage", "gold")
        self.clear(cast)
        self.rule_that(cast, "careful", Draft(gold, count=1))
        self.do(calls.set_stages(self.own(cast[0]), "default", usual))
        number = self.fresh(cast[0])
        place = self.proposed(cast[0], number, gold)
        self.rule_that(cast, "careful", Draft(PRODUCTION, count=1))
        self.proposed(cast[0], number, gold)
        for rpc in ("Delete", "Undelete"):
            self.do(calls.set_stages(self.own(cast[0]), "default", usual))
            self.do(calls.end_version(self.own(cast[0]), rpc, FRAUD, number))
        self.say(cast[1], place)

    def scene_self_made(self, cast: Cast, target: Target) -> None:
        """Give a role to oneself, by a group and by a borrowed token."""
        self.clear(cast)
        author, lent = self.own(cast[0]), self.mint(self.own(cast[0]), cast[1])
        for login in (author, lent):
            self.do(calls.grant(login, cast[0], FRAUD))
            self.do(calls.grant(login, cast[0], FRAUD, role=BREAK_GLASS))
        self.do(calls.set_members(ROOT, {cast[1]}))
        self.do(calls.grant(ROOT, "group:risk", FRAUD))
        for login in (lent, author):
            self.do(calls.set_members(login, {cast[0], cast[1], cast[2]}))
        self.do(calls.take(ROOT, "group:risk", FRAUD))

    def scene_race(self, cast: Cast, target: Target, *, which: int) -> None:
        """Approve at the moment in which something else comes that concerns it."""
        draft = Draft(target, count=1 + which % 2, newer=bool(which % 3))
        number, place = self.waiting(cast, draft)
        if draft.count == 2:
            self.say(cast[2], place)
        other = self.other_calls(cast, number, place, target)[which % 12]()
        self.race(calls.approve(self.own(cast[1]), place), other)

    def other_calls(self, cast: Cast, number: int, place: Place, target: Target) -> list[Callable[[], Call]]:
        """Return what may come at the moment of an approval."""
        author, third = self.own(cast[0]), self.own(cast[3])
        return [
            lambda: calls.revoke(third, FRAUD, number),
            lambda: calls.evaluate(self.own(cast[1]), FRAUD, number),
            lambda: calls.evaluate(self.own(cast[2]), FRAUD, number),
            lambda: calls.review(self.own(cast[2]), place, "WITHDRAW"),
            lambda: calls.approve(third, place),
            lambda: calls.cancel(author, place),
            lambda: calls.end_version(author, "Delete", FRAUD, number),
            lambda: calls.override(self.own("user:tom"), place),
            lambda: calls.review(third, place, "REJECT"),
            lambda: self.approval_of_policy(cast, target, third),
            lambda: self.approval_of_rival(cast, target, third),
            lambda: calls.take(ROOT, cast[1], "default"),
        ]

    def approval_of_policy(self, cast: Cast, target: Target, by: Login) -> Call:
        """Return the call that lets another policy for the target come."""
        self.do(calls.set_policy(self.own(cast[0]), "default", "strict", Draft(target, count=2)))
        return calls.approve(by, self.last())

    def approval_of_rival(self, cast: Cast, target: Target, by: Login) -> Call:
        """Return the call that lets a newer version go to the target."""
        place = self.proposed(cast[0], self.fresh(cast[0]), target)
        if len(self.plain.find(place).approvals) < 1:
            self.say(cast[2], place)
        return calls.approve(by, place)


SCENES = tuple(sorted(name for name in vars(Scenes) if name.startswith("scene_") and name != "scene_race"))
