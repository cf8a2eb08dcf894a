"""Random people propose, approve, move, copy, delete and override; nothing stands where a policy forbids it.

The server is a real one, called over a channel. It must do what the rules of governance_game.py do, refuse
what they refuse, and its state must be the fold of its events after every step.
GOVERNANCE_EXAMPLES=500 plays for hours.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from steelyard_server.db.database import Transaction
from tests.api.calls import Refused as RefusedCall
from tests.api.logins import People
from tests.api.test_second_tenant import content, upload
from tests.contracts.governance_game import Draft, Proposal, Refused, Rules, Target, Version
from tests.contracts.stored import require_equal, select_all
from tests.databases import empty
from tests.servers import running_server

MODELS = ("default/fraud", "default/churn", "other/fraud")
PERSONS = ("user:wim", "user:ann", "user:eve", "user:tom")
CALLERS = (*PERSONS, "service:ci")
SCOPES = ("", "default", "default/fraud", "other")
OVERRIDERS = {"user:tom", "service:ci"}
CONTENTS = ("a", "b", "c", "d")
PRODUCTION, ARCHIVED, CHAMPION = ("stage", "production"), ("stage", "archived"), ("alias", "champion")
TARGETS = (PRODUCTION, CHAMPION, ("stage", "staging"), ARCHIVED)
POLICIES = ("careful", "strict")
ORIGIN = {"system": "steelyard", "uri": "urn:uuid:1", "version": "risk/fraud:7", "uid": "there"}
REFUSALS = {"FAILED_PRECONDITION", "PERMISSION_DENIED", "NOT_FOUND", "ALREADY_EXISTS", "INVALID_ARGUMENT"}

callers = st.sampled_from(CALLERS)
models = st.sampled_from((MODELS[0], MODELS[0], *MODELS))
numbers = st.integers(1, 4)
contents = st.sampled_from(CONTENTS)
# None for one that a policy protects.
targets = st.sampled_from((None, None, None, *TARGETS))
approving = st.one_of(st.lists(callers, max_size=2), st.lists(callers, max_size=2), st.permutations(CALLERS))
proposers = st.sampled_from(("user:wim", "user:wim", *CALLERS))
spaces = st.sampled_from(("default", "default", "other"))
names = st.sampled_from(POLICIES)
aliases = st.sampled_from(("champion", "champion", "canary"))
scopes = st.sampled_from(SCOPES)
drafts = st.builds(
    Draft,
    st.sampled_from((PRODUCTION, PRODUCTION, CHAMPION, CHAMPION, ARCHIVED)),
    models=st.sampled_from(("*", "*", "fraud", "churn")),
    highest=st.sampled_from((0, 0, 0, 2)),
    newer=st.sampled_from((False, False, False, True)),
    outside=st.sampled_from((False, False, False, True)),
    count=st.sampled_from((0, 1, 1, 2)),
    by_group=st.booleans(),
)
archiving = st.sampled_from((False, False, True))
# Which of the proposals, counted from the last one.
places = st.sampled_from((0, 0, 0, 1, 1, 2, 3))


# What can be done, how often beside the others, and with what.
MOVES: dict[str, tuple[int, dict[str, Any]]] = {
    "create": (1, {"who": callers, "model": models, "which": contents, "imported": st.booleans()}),
    "copy": (1, {"who": callers, "source": models, "number": numbers, "model": models}),
    "evaluate": (1, {"who": callers, "model": models, "number": numbers}),
    "promote": (
        8,
        {"who": proposers, "at": places, "to": targets, "archives": archiving, "persons": approving},
    ),
    "set_policy": (
        3,
        {
            "who": proposers,
            "space": spaces,
            "name": names,
            "draft": st.one_of(st.none(), drafts, drafts),
            "persons": approving,
        },
    ),
    "approve": (3, {"who": callers, "place": places}),
    "turn_down": (
        2,
        {
            "who": callers,
            "place": places,
            "verdict": st.sampled_from(("REJECT", "WITHDRAW", "WITHDRAW", "CANCEL")),
        },
    ),
    "report": (1, {"who": callers, "place": places, "passed": st.sampled_from((True, True, False))}),
    "override": (2, {"who": st.sampled_from((*sorted(OVERRIDERS), *CALLERS)), "place": st.integers(0, 9)}),
    "revoke": (1, {"who": callers, "model": models, "number": numbers}),
    "move_alias": (3, {"who": callers, "model": models, "name": aliases, "number": st.integers(-1, 4)}),
    "delete_or_undelete": (1, {"who": callers, "model": models, "number": numbers}),
    "bring_back": (1, {"who": callers, "to": st.sampled_from((PRODUCTION, ARCHIVED)), "name": names}),
    "change_roles": (
        2,
        {
            "who": callers,
            "scope": scopes,
            "members": st.sets(st.sampled_from(PERSONS), min_size=1),
            "which": places,
        },
    ),
}


def with_arguments(name: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(MOVES[name][1]))


# Not rules of their own, for Hypothesis leaves some rules out of each run, and most things need several.
moves = st.sampled_from([name for name, (weight, _) in MOVES.items() for _ in range(weight)]).flatmap(
    with_arguments
)


def outcome(expected: Callable[[], Any]) -> str:
    """Return why the rules forbid something; empty when they do not."""
    try:
        expected()
    except Refused as why:
        return str(why)
    return ""


class Governance(RuleBasedStateMachine):
    """A server with people, beside the same in plain Python."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        server = running_server(directory, auth="tokens", **options)
        running = self.run(self.stack.enter_async_context(server))
        self.database = running.server.database
        self.people = People(running)
        self.plain = Rules({"user:ann", "user:tom"}, set(), set(OVERRIDERS))
        self.tokens = itertools.cycle((0, 1))
        self.run(self.found())

    def run(self, wish: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await wish

        return self.runner.run(awaited())

    async def found(self) -> None:
        """Make namespaces, models and people, each with two tokens."""
        ask = self.people.ask
        await ask("admin", "CreateNamespace", {"name": "other"})
        for who, token in itertools.product(CALLERS, (0, 1)):
            made = await ask("admin", "CreateToken", {"principal": who})
            self.people.tokens[f"{who}/{token}"] = made.secret
        await ask("admin", "CreateGroup", {"name": "risk", "members": sorted(self.plain.members)})
        grants = [(who, "ADMIN", "") for who in CALLERS] + [(who, "BREAK_GLASS", "") for who in OVERRIDERS]
        for who, role, scope in grants:
            await ask("admin", "GrantRole", {"subject": who, "role": f"ROLE_{role}", "scope": scope})
        for model in MODELS:
            await ask("admin", "CreateModel", {"name": model})
        for space in ("default", "other"):
            await upload(self.people, "admin", space)

    def ask(self, who: str, rpc: str, fields: dict[str, Any]) -> Any:
        """Call as somebody, with each of their tokens in turn."""
        return self.run(self.people.ask(f"{who}/{next(self.tokens)}", rpc, fields))

    def both(self, who: str, rpc: str, fields: dict[str, Any], expected: Callable[[], Any]) -> Any:
        """Do the same to both, and demand that both do it or both refuse it; return the answer, if any."""
        forbidden = outcome(expected)
        if forbidden:
            assert self.refused(who, rpc, fields), f"{rpc} of {who} went through: {forbidden}"
            return None
        return self.ask(who, rpc, fields)

    def refused(self, who: str, rpc: str, fields: dict[str, Any]) -> bool:
        """Return whether a call is refused, for a reason that a server has and not because it broke."""
        return self.answer(who, rpc, fields) is None

    def answer(self, who: str, rpc: str, fields: dict[str, Any]) -> Any:
        """Call as somebody; return None when that is refused."""
        try:
            return self.ask(who, rpc, fields)
        except RefusedCall as error:
            if error.code not in REFUSALS:
                raise
            return None

    @initialize(draft=drafts, other=drafts, approver=st.sampled_from(("default", "")))
    def begin(self, draft: Draft, other: Draft, approver: str) -> None:
        """Let there be approvers, versions and policies, so that most steps find something to do."""
        for who in ("user:ann", "user:eve", "user:tom", "service:ci"):
            self.grant(who, approver)
        for who, which in (("user:wim", "a"), ("user:eve", "b"), ("user:tom", "c")):
            self.create(who, MODELS[0], which, imported=False)
        self.set_alias("user:ann", MODELS[0], "champion", 1)
        self.set_alias("user:ann", MODELS[0], "champion", 2)
        for name, each in zip(POLICIES, (draft, other), strict=True):
            self.set_policy("user:wim", "default", name, each, ["user:ann"])

    @rule(move=moves)
    def step(self, move: tuple[str, dict[str, Any]]) -> None:
        name, arguments = move
        getattr(self, name)(**arguments)

    def create(self, who: str, model: str, which: str, imported: bool) -> None:  # noqa: FBT001 - from Hypothesis
        fields = content(model, parameter=which) | ({"origin": ORIGIN} if imported else {})
        self.add("CreateVersion", fields, who, model, lambda: which)

    def copy(self, who: str, source: str, number: int, model: str) -> None:
        fields = {"source": {"model": source, "number": number}, "model": model}
        self.add("CopyVersion", fields, who, model, lambda: self.plain.usable(source, number).content)

    def add(self, rpc: str, fields: dict[str, Any], who: str, model: str, which: Callable[[], str]) -> None:
        new: list[bool] = []
        made = self.both(who, rpc, fields, lambda: new.append(self.plain.make(who, model, which())))
        if made is not None:
            assert made.created is new[0]
        if made is not None and made.created:
            version = Version(model, made.version.number, which())
            self.plain.versions[model, version.number] = version

    def evaluate(self, who: str, model: str, number: int) -> None:
        fields = {"version": {"model": model, "number": number}}
        fields["evaluation"] = {"metrics": [{"name": "precision", "value": 0.5}]}

        def expected() -> None:
            which = self.plain.live(model, number).content
            self.plain.measured.setdefault(which, set()).add(who)

        self.both(who, "RecordEvaluation", fields, expected)

    def measure_after_approving(self, who: str, place: int) -> None:
        """Let who approved a proposal measure its version, so that they do not count any more."""
        proposal, _ = self.of(place)
        if proposal is not None and proposal.version is not None and proposal.approvals:
            self.evaluate(min(proposal.approvals), proposal.scope, proposal.version.number)
            self.approve(who, place)

    def promote(self, who: str, at: int, to: Target | None, archives: bool, persons: list[str]) -> None:  # noqa: FBT001
        """Propose a version, mostly for what a policy protects, and let some persons in turn approve it."""
        known = list(self.plain.versions.values())
        version = known[-1 - at % len(known)]
        protected = [draft.target for _, draft in self.plain.policies.values()] or [PRODUCTION]
        to = to or protected[at % len(protected)]
        wanted = {"model": version.model, "number": version.number}
        fields = {"version": wanted, "target": dict([to]), "archive_incumbent": archives}
        propose = partial(self.plain.propose, who, version.model, version.number, to, archives=archives)
        if self.both(who, "CreatePromotion", fields, propose) is not None:
            self.approve_in_turn(persons)

    def approve_in_turn(self, persons: list[str]) -> None:
        """Let persons approve the newest proposal while it is open."""
        for who in persons:
            if self.plain.state(self.plain.proposals[-1]) == "open":
                self.nothing_stands_where_it_must_not()
                self.approve(who, 0)

    def set_policy(self, who: str, space: str, name: str, draft: Draft | None, persons: list[str]) -> None:
        named = {"namespace": space, "name": name}
        rpc, fields = ("SetPolicy", {"policy": named | draft.fields()}) if draft else ("DeletePolicy", named)
        propose = partial(self.plain.propose_policy, who, space, name, draft)
        if self.both(who, rpc, fields, propose) is not None:
            self.approve_in_turn(persons)

    def of(self, place: int) -> tuple[Proposal | None, dict[str, Any]]:
        """Find a proposal that is open or superseded, or else any, and the fields that name it."""
        known = self.plain.proposals
        waiting = [each for each in known if each.state == "open"] or known
        if not waiting:
            return None, {}
        found = waiting[-1 - place % len(waiting)]
        return found, {"scope": found.scope, "number": found.number}

    def review(self, who: str, place: int, verdict: str, say: Callable[[str, Proposal], None]) -> None:
        proposal, fields = self.of(place)
        if proposal is not None:
            fields |= {"verdict": f"VERDICT_{verdict}"}
            self.both(who, "ReviewPromotion", fields, lambda: say(who, proposal))

    def approve(self, who: str, place: int) -> None:
        self.review(who, place, "APPROVE", self.plain.approve)

    def turn_down(self, who: str, place: int, verdict: str) -> None:
        if verdict == "REJECT":
            self.review(who, place, verdict, self.plain.reject)
        elif verdict == "WITHDRAW":
            proposal, _ = self.of(place)
            given = sorted(proposal.approvals) if proposal else []
            self.review(given[0] if given else who, place, verdict, self.plain.withdraw)
        else:
            self.cancel(who, place)

    def report(self, who: str, place: int, passed: bool) -> None:  # noqa: FBT001
        proposal, fields = self.of(place)
        if proposal is not None:
            fields |= {"check": "bias", "passed": passed}
            self.both(who, "ReportCheck", fields, lambda: self.plain.report(proposal, passed=passed))

    def cancel(self, who: str, place: int) -> None:
        proposal, fields = self.of(place)
        if proposal is not None:
            self.both(who, "CancelPromotion", fields, lambda: self.plain.cancel(proposal))

    def override(self, who: str, place: int) -> None:
        """Override any proposal of a version, also one that is not open."""
        known = [each for each in self.plain.proposals if each.version is not None]
        if known:
            proposal = known[-1 - place % len(known)]
            fields = {"scope": proposal.scope, "number": proposal.number, "reason": "it is on fire"}
            self.both(who, "OverridePromotion", fields, lambda: self.plain.override(who, proposal))

    def revoke(self, who: str, model: str, number: int) -> None:
        fields = {"version": {"model": model, "number": number}, "reason": "it leaks"}
        self.both(who, "RevokeVersion", fields, lambda: self.plain.revoke(who, model, number))

    def move_alias(self, who: str, model: str, name: str, number: int) -> None:
        """Point an alias somewhere, roll it back, or delete it."""
        if number > 0:
            self.set_alias(who, model, name, number)
        else:
            (self.delete_alias if number else self.roll_back)(who, model, name)

    def set_alias(self, who: str, model: str, name: str, number: int) -> None:
        fields = {"version": {"model": model, "number": number}, "alias": name}
        self.both(who, "SetAlias", fields, lambda: self.plain.set_alias(model, name, number))

    def delete_alias(self, who: str, model: str, name: str) -> None:
        fields = {"model": model, "alias": name}
        self.both(who, "DeleteAlias", fields, lambda: self.plain.delete_alias(model, name))

    def roll_back(self, who: str, model: str, name: str) -> None:
        """Go back to where the server says, which must be allowed."""
        moved = self.answer(who, "RollbackAlias", {"model": model, "alias": name})
        if moved is None:
            return
        self.plain.require_unprotected(model, ("alias", name))
        assert self.plain.aliases[model, name] != moved.alias.number
        self.plain.set_alias(model, name, moved.alias.number)

    def delete_or_undelete(self, who: str, model: str, number: int) -> None:
        fields = {"version": {"model": model, "number": number}}
        version = self.plain.versions.get((model, number))
        if version is not None and version.deleted:
            self.both(who, "UndeleteVersion", fields, lambda: self.plain.undelete(model, number))
        else:
            self.both(who, "DeleteVersion", fields, lambda: self.plain.delete(model, number))

    def bring_back(self, who: str, to: Target, name: str) -> None:
        """Let a version be deleted while a policy comes, and bring it back into its stage."""
        for _, (kind, stage), number in list(self.plain.standing()):
            if (kind, stage) == to and (MODELS[0], number) in self.plain.versions:
                self.delete_or_undelete(who, MODELS[0], number)
                self.set_policy("user:wim", "default", name, Draft(to, count=1), ["user:ann", "user:eve"])
                self.delete_or_undelete(who, MODELS[0], number)

    def change_roles(self, who: str, scope: str, members: set[str], which: int) -> None:
        """Give or take the role of an approver, or change the group."""
        if which == 0 and (who, scope) in self.plain.approvers:
            self.plain.approvers.discard((who, scope))
            self.people_change("RevokeRole", {"subject": who, "role": "ROLE_APPROVER", "scope": scope})
        elif which == 1:
            self.plain.members = members
            fields = {"group": {"name": "risk", "members": sorted(members)}, "update_mask": "members"}
            self.people_change("UpdateGroup", fields)
        else:
            self.grant(who, scope)

    def grant(self, who: str, scope: str) -> None:
        self.plain.approvers.add((who, scope))
        self.people_change("GrantRole", {"subject": who, "role": "ROLE_APPROVER", "scope": scope})

    def people_change(self, rpc: str, fields: dict[str, Any]) -> None:
        self.run(self.people.ask("admin", rpc, fields))

    @invariant()
    def nothing_stands_where_it_must_not(self) -> None:
        found = self.run(self.database.read(state))
        assert found["versions"] == {
            key: (each.stage, each.deleted, bool(each.revoked), each.overridden)
            for key, each in self.plain.versions.items()
        }
        assert found["aliases"] == self.plain.aliases
        assert found["policies"] == {key: draft.target for key, (_, draft) in self.plain.policies.items()}
        assert found["promotions"] == [each.state for each in self.plain.proposals]

    @invariant()
    def the_state_is_the_fold_of_the_events(self) -> None:
        self.run(self.database.read(require_equal))

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()


def state(tx: Transaction) -> dict[str, Any]:
    """Read what stands where from the tables."""
    spaces = {row.id: row.name for row in select_all(tx, "namespaces")}
    names = {row.id: f"{spaces[row.namespace_id]}/{row.name}" for row in select_all(tx, "models")}
    marks = {row.id: json.loads(row.marks or "{}") for row in select_all(tx, "versions")}
    return {
        "versions": {
            (names[row.model_id], row.number): (
                *(row.stage, row.delete_time is not None),
                *("revocation" in marks[row.id], "override" in marks[row.id]),
            )
            for row in select_all(tx, "versions")
        },
        "aliases": {(names[row.model_id], row.name): row.number for row in select_all(tx, "aliases")},
        "policies": {
            (spaces[row.namespace_id], row.name): (row.target_kind, row.target_name)
            for row in select_all(tx, "policies")
        },
        "promotions": [
            row.state for row in sorted(select_all(tx, "promotions"), key=lambda row: row.create_sequence)
        ],
    }


@pytest.mark.timeout(600)
def test_whatever_people_do_nothing_stands_where_a_policy_forbids_it(
    location: str | Path, tmp_path: Path
) -> None:
    places_made = itertools.count()

    def machine() -> Governance:
        directory = tmp_path / f"data-{next(places_made)}"
        if isinstance(location, Path):
            directory.mkdir()
            shutil.copy(location, directory / "registry.db")
            return Governance(directory)
        empty(location)
        return Governance(directory, database=location)

    chosen = settings(
        max_examples=int(os.environ.get("GOVERNANCE_EXAMPLES", "10")),
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=chosen)
