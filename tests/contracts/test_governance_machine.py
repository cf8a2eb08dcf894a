"""Random people propose, approve, move, copy, delete and override; nothing stands where a policy forbids it.

The server is a real one, called over a channel. It must do what the rules of governance_game.py do, refuse
what they refuse, and its state must be the fold of its events after every step.
GOVERNANCE_EXAMPLES=500 plays for an hour; GOVERNANCE_SHRINK=0 ends at the first failure, as it was found.
"""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from steelyard_server.history import events
from tests.contracts import governance_calls as calls
from tests.contracts.governance_moves import drafts, moves
from tests.contracts.governance_nouns import Draft, Target
from tests.contracts.governance_scenes import PRODUCTION, Cast, Scenes
from tests.contracts.governance_table import FRAUD, ROOT, Clock
from tests.databases import empty


class Governance(Scenes):
    """What can be done, one thing at a time, or a scene of several."""

    @initialize(draft=drafts, other=drafts)
    def begin(self, draft: Draft, other: Draft) -> None:
        """Let there be approvers, versions and policies, so that most steps find something to do."""
        for who in ("user:ann", "user:eve", "user:tom", "service:ci"):
            self.do(calls.grant(ROOT, who, "default"))
        for who, which in (("user:wim", "a"), ("user:eve", "b"), ("user:tom", "c")):
            self.create(who, FRAUD, which, imported=False)
        for number in (1, 2):
            self.do(calls.set_alias(ROOT, FRAUD, "champion", number))
        for name, each in (("careful", draft), ("strict", other)):
            self.set_policy("user:wim", "default", name, each, ["user:ann"])

    @rule(move=moves)
    def step(self, move: tuple[str, dict[str, Any]]) -> None:
        name, arguments = move
        getattr(self, name)(**arguments)

    def play(self, name: str, cast: Cast, target: Target) -> None:
        getattr(self, name)(cast, target)

    def create(self, who: str, model: str, which: str, *, imported: bool) -> None:
        self.do(calls.create(self.own(who), model, which, imported=imported))

    def copy(self, who: str, source: str, number: int, model: str) -> None:
        self.do(calls.copy(self.own(who), source, number, model))

    def evaluate(self, who: str, model: str, number: int) -> None:
        self.do(calls.evaluate(self.own(who), model, number))

    def promote(self, who: str, at: int, to: Target | None, *, archives: bool, persons: list[str]) -> None:
        """Propose a version, mostly for what a policy protects, and let some persons in turn approve it."""
        known = list(self.plain.versions.values())
        if not known:
            return
        version = known[-1 - at % len(known)]
        protected = [draft.target for _, draft in self.plain.policies.values()] or [PRODUCTION]
        to = to or protected[at % len(protected)]
        if self.do(calls.promote(self.own(who), version.model, version.number, to, archives=archives)):
            self.approve_in_turn(persons)

    def set_policy(self, who: str, space: str, name: str, draft: Draft | None, persons: list[str]) -> None:
        if self.do(calls.set_policy(self.own(who), space, name, draft)):
            self.approve_in_turn(persons)

    def approve(self, who: str, place: int, *, lent: int) -> None:
        """Approve something, perhaps with the last token that somebody had."""
        proposal = self.at(place)
        if proposal is not None:
            self.do(calls.approve(self.logins[who][-1] if lent else self.own(who), proposal.place))

    def turn_down(self, who: str, place: int, verdict: str) -> None:
        proposal = self.at(place)
        if proposal is None:
            return
        if verdict == "WITHDRAW" and proposal.approvals:
            who = proposal.approvals[0].who
        login = self.own(who)
        cancels = verdict == "CANCEL"
        self.do(
            calls.cancel(login, proposal.place) if cancels else calls.review(login, proposal.place, verdict)
        )

    def report(self, who: str, place: int, *, passed: bool) -> None:
        proposal = self.at(place)
        if proposal is not None:
            self.do(calls.report(self.own(who), proposal.place, passed=passed))

    def override(self, who: str, place: int, *, lent: int) -> None:
        """Override any proposal of a version, also one that is not open."""
        known = [each for each in self.plain.proposals if each.version]
        if known:
            login = self.logins[who][-1] if lent else self.own(who)
            self.do(calls.override(login, known[-1 - place % len(known)].place))

    def revoke(self, who: str, model: str, number: int) -> None:
        self.do(calls.revoke(self.own(who), model, number))

    def move_alias(self, who: str, model: str, name: str, number: int) -> None:
        """Point an alias somewhere, roll it back, or delete it."""
        login = self.own(who)
        if number == 0:
            self.roll_back(who, model, name)
        elif number < 0:
            self.do(calls.delete_alias(login, model, name))
        else:
            self.do(calls.set_alias(login, model, name, number))

    def roll_back(self, who: str, model: str, name: str) -> None:
        """Go back to where the server says, which must be allowed."""
        call = calls.set_alias(self.own(who), model, name, 0)
        fields = {"model": model, "alias": name}
        moved = self.run(self.answer(calls.Call(call.by, "RollbackAlias", fields, call.rules)))
        if moved is not None:
            self.plain.require_unprotected(model, ("alias", name))
            assert self.plain.aliases[model, name] != moved.alias.number
            self.plain.set_alias(model, name, moved.alias.number)

    def end_version(self, who: str, model: str, number: int, rpc: str) -> None:
        self.do(calls.end_version(self.own(who), rpc, model, number))

    def end_model(self, who: str, model: str, rpc: str) -> None:
        """End a model or bring it back; the first one is never purged, for most is played with it."""
        if rpc != "Purge" or model != FRAUD:
            self.do(calls.end_model(self.own(who), rpc, model))

    def rename(self, who: str, model: str, new: str) -> None:
        self.do(calls.rename(self.own(who), model, new))

    def set_stages(self, who: str, space: str, stages: tuple[str, ...]) -> None:
        self.do(calls.set_stages(self.own(who), space, stages))

    def lend(self, maker: str, who: str, which: int) -> None:
        """Let somebody make a token for another, with one of theirs."""
        if len(self.logins[who]) < 60:
            known = self.logins[maker]
            self.mint(known[which % len(known)], who)

    def change_roles(self, by: str, who: str, scope: str, role: str, *, takes: bool) -> None:
        """Give or take a role, as the first admin or as anybody else."""
        login = self.own(by) if by else ROOT
        has = (who, scope) in self.plain.people.given[role]
        self.do((calls.take if takes and has else calls.grant)(login, who, scope, role=role))

    def change_group(self, by: str, members: set[str]) -> None:
        self.do(calls.set_members(self.own(by) if by else ROOT, members))

    def wait(self, seconds: int) -> None:
        self.pass_time(seconds)

    @invariant()
    def nothing_stands_where_it_must_not(self) -> None:
        self.require_same()

    @invariant()
    def the_state_is_the_fold_of_the_events(self) -> None:
        self.require_fold()


@pytest.mark.timeout(900)
def test_whatever_people_do_nothing_stands_where_a_policy_forbids_it(
    location: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places_made = itertools.count()
    clock = Clock()
    monkeypatch.setattr(events, "time", clock)

    def machine() -> Governance:
        directory = tmp_path / f"data-{next(places_made)}"
        if isinstance(location, Path):
            directory.mkdir()
            shutil.copy(location, directory / "registry.db")
            return Governance(directory, clock=clock)
        empty(location)
        return Governance(directory, clock=clock, database=location)

    phases = [Phase.explicit, Phase.generate]
    phases += [Phase.shrink] if os.environ.get("GOVERNANCE_SHRINK", "1") != "0" else []
    chosen = settings(
        max_examples=int(os.environ.get("GOVERNANCE_EXAMPLES", "10")),
        stateful_step_count=int(os.environ.get("GOVERNANCE_STEPS", "20")),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        phases=phases,
    )
    run_state_machine_as_test(machine, settings=chosen)
