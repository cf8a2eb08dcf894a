"""The table of the game of governance: a real server with people, beside the rules in plain Python."""

from __future__ import annotations

import asyncio
import itertools
import json
import pickle
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from steelyard_server.db.database import Transaction
from tests.api.calls import Refused as RefusedCall
from tests.api.logins import People as Channel
from tests.api.test_second_tenant import upload
from tests.contracts import governance_calls as calls
from tests.contracts.governance_calls import Call, Place
from tests.contracts.governance_game import Rules
from tests.contracts.governance_nouns import OPEN, USUAL, Login, Model, Proposal, Refused
from tests.contracts.governance_people import BREAK_GLASS, People
from tests.contracts.stored import require_equal, select_all
from tests.servers import running_server

MODELS = ("default/fraud", "default/churn", "other/fraud")
FRAUD = MODELS[0]
PERSONS = ("user:wim", "user:ann", "user:eve", "user:tom")
CALLERS = (*PERSONS, "service:ci")
OVERRIDERS = ("user:tom", "service:ci")
ROOT = Login("admin", "user:admin")
REFUSALS = {"FAILED_PRECONDITION", "PERMISSION_DENIED", "NOT_FOUND", "ALREADY_EXISTS", "INVALID_ARGUMENT"}


class Clock:
    """A clock that can be moved on, and goes on by itself too."""

    moved = 0

    def time_ns(self) -> int:
        return time.time_ns() + self.moved * 1_000_000_000


class Table(RuleBasedStateMachine):
    """A server with people, beside the same in plain Python; calls go to both."""

    def __init__(self, directory: Path, *, clock: Clock, **options: Any) -> None:
        super().__init__()
        self.clock = clock
        clock.moved = 0
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        server = running_server(directory, auth="tokens", **options)
        running = self.run(self.stack.enter_async_context(server))
        self.database = running.server.database
        self.channel = Channel(running)
        self.plain = Rules(
            People({"user:ann", "user:tom"}),
            stages=dict.fromkeys(("default", "other"), USUAL),
            models={name: Model({name}) for name in MODELS},
        )
        self.turns = itertools.cycle((0, 1))
        self.counted = itertools.count(1)
        self.logins: dict[str, list[Login]] = {who: [] for who in CALLERS}
        self.found()

    def run(self, wish: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await wish

        return self.runner.run(awaited())

    def found(self) -> None:
        """Make namespaces, models and people, each with two tokens."""
        self.ask("CreateNamespace", {"name": "other"})
        for who, _ in itertools.product(CALLERS, (0, 1)):
            self.mint(ROOT, who)
        self.ask("CreateGroup", {"name": "risk", "members": sorted(self.plain.people.members)})
        for who in CALLERS:
            self.ask("GrantRole", {"subject": who, "role": "ROLE_ADMIN", "scope": ""})
        for who in OVERRIDERS:
            self.do(calls.grant(ROOT, who, "", role=BREAK_GLASS))
        for model in MODELS:
            self.ask("CreateModel", {"name": model})
        for space in ("default", "other"):
            self.run(upload(self.channel, "admin", space))

    def ask(self, rpc: str, fields: dict[str, Any], by: Login = ROOT) -> Any:
        """Ask something of the server only."""
        return self.run(self.channel.ask(by.key, rpc, fields))

    def mint(self, by: Login, who: str) -> Login:
        """Make a token for somebody."""
        made = self.ask("CreateToken", {"principal": who}, by)
        login = Login(f"{who}/{len(self.logins[who])}", who, by.persons)
        self.channel.tokens[login.key] = made.secret
        self.logins[who].append(login)
        return login

    def own(self, who: str) -> Login:
        """Return a token of somebody that the first admin made, each of two in turn."""
        return self.logins[who][next(self.turns)]

    def tried(self, rules: Rules, call: Call) -> tuple[str, Any, Rules]:
        """Return why the rules forbid a call, what they answer, and how they stand then."""
        # Ten times as fast as a deep copy.
        after: Rules = pickle.loads(pickle.dumps(rules))  # noqa: S301 - our own
        try:
            return "", call.rules(after), after
        except Refused as why:
            return str(why) or "refused", None, rules

    def do(self, call: Call) -> bool:
        """Do the same to both, and demand that both do it or both refuse it; return whether they did."""
        forbidden, expected, after = self.tried(self.plain, call)
        answer = self.run(self.answer(call))
        what = f"{call.rpc} {call.fields} of {call.by.key}"
        assert bool(forbidden) == (answer is None), f"{what}: {forbidden or 'refused'}"
        if isinstance(expected, tuple):
            assert (answer.created, answer.version.number) == expected
        self.plain = after
        return not forbidden

    async def answer(self, call: Call) -> Any:
        """Call the server; return None when it refuses for a reason that it has, not because it broke."""
        try:
            return await self.channel.ask(call.by.key, call.rpc, call.fields)
        except RefusedCall as error:
            if error.code not in REFUSALS:
                raise
            return None

    def race(self, one: Call, other: Call) -> None:
        """Send two calls at once; what comes of it must be what one order of them gives."""

        async def both() -> list[bool]:
            answers = await asyncio.gather(self.answer(one), self.answer(other))
            return [each is not None for each in answers]

        done = self.run(both())
        found = self.run(self.database.read(stored))
        possible = [self.in_turn(one, other), self.in_turn(other, one)]
        possible[1][0].reverse()
        fitting = [rules for did, rules in possible if did == done and told(rules) == found]
        assert fitting, (one, other, done, found, [(did, told(rules)) for did, rules in possible])
        self.plain = fitting[0]

    def in_turn(self, *listed: Call) -> tuple[list[bool], Rules]:
        rules, done = self.plain, []
        for each in listed:
            forbidden, _, rules = self.tried(rules, each)
            done.append(not forbidden)
        return done, rules

    def require_same(self) -> None:
        """Demand that the tables say what the rules say."""
        found, expected = self.run(self.database.read(stored)), told(self.plain)
        for name, each in expected.items():
            assert found[name] == each, (name, differing(found[name], each))

    def require_fold(self) -> None:
        self.run(self.database.read(require_equal))

    def pass_time(self, seconds: int) -> None:
        self.clock.moved += seconds
        self.plain.now += seconds

    def approve_in_turn(self, persons: list[str]) -> None:
        """Let persons approve the newest proposal while it is open."""
        place = self.plain.proposals[-1].place
        for who in persons:
            if self.plain.state(self.plain.find(place)) == OPEN:
                self.require_same()
                self.do(calls.approve(self.own(who), place))

    def at(self, place: int) -> Proposal | None:
        """Find a proposal that waits, counted from the last one, or else any."""
        known = self.plain.wanted()
        return known[-1 - place % len(known)] if known else None

    def last(self) -> Place:
        return self.plain.proposals[-1].place

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()


def differing(found: dict[Any, Any], expected: dict[Any, Any]) -> dict[Any, tuple[Any, Any]]:
    """Return what is otherwise, as it is and as it should be."""
    either = {key: (found.get(key), expected.get(key)) for key in found | expected}
    return {key: (one, other) for key, (one, other) in either.items() if one != other}


def told(rules: Rules) -> dict[str, Any]:
    """Say what stands where by the rules."""
    return {
        "versions": {
            key: (each.stage, each.deleted, bool(each.revoked), each.overridden)
            for key, each in rules.versions.items()
        },
        "aliases": rules.aliases,
        "policies": {key: draft.target for key, (_, draft) in rules.policies.items()},
        "promotions": {each.place: (each.state, each.ended) for each in rules.proposals},
        "approvals": {
            each.place: sorted((given.who, sorted(given.met)) for given in each.approvals)
            for each in rules.proposals
        },
        "models": {key: (each.names, each.deleted, each.purged) for key, each in rules.models.items()},
    }


def stored(tx: Transaction) -> dict[str, Any]:
    """Read what stands where from the tables."""
    spaces = {row.id: row.name for row in select_all(tx, "namespaces")}
    names: dict[int, set[str]] = {}
    for row in select_all(tx, "model_names"):
        names.setdefault(row.model_id, set()).add(f"{spaces[row.namespace_id]}/{row.name}")
    keys = {model: next(name for name in MODELS if name in given) for model, given in names.items()}

    def scope_of(row: Any) -> str:
        return keys[row.model_id] if row.model_id else spaces[row.namespace_id]

    marks = {row.id: json.loads(row.marks or "{}") for row in select_all(tx, "versions")}
    promotions = {(scope_of(row), row.number): row for row in select_all(tx, "promotions")}
    return {
        "versions": {
            (keys[row.model_id], row.number): (
                *(row.stage, row.delete_time is not None),
                *("revocation" in marks[row.id], "override" in marks[row.id]),
            )
            for row in select_all(tx, "versions")
        },
        "aliases": {(keys[row.model_id], row.name): row.number for row in select_all(tx, "aliases")},
        "policies": {
            (spaces[row.namespace_id], row.name): (row.target_kind, row.target_name)
            for row in select_all(tx, "policies")
        },
        "promotions": {place: (row.state, row.ended) for place, row in promotions.items()},
        "approvals": {place: standing(json.loads(row.content)) for place, row in promotions.items()},
        "models": {
            keys[row.id]: (names[row.id], row.delete_time is not None, row.purge_time is not None)
            for row in select_all(tx, "models")
        },
    }


def standing(content: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return who approved a promotion and did not take it back, and for which policies."""
    given = (each for each in content["reviews"] if each["verdict"] == "approve" and not each["withdrawn"])
    return sorted((each["reviewer"]["id"], sorted(each["policies"])) for each in given)
