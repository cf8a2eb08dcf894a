"""The state is the fold of the events: after any sequence of mutations, on both databases."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from steelyard_server import errors
from steelyard_server.core import aliases, models, namespaces, requests, versions
from steelyard_server.core.models import Draft
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Row, Transaction
from steelyard_server.history.act import Act, RequestKey
from tests.contracts.fold import Fold, State, fold
from tests.contracts.registry import FRAUD, act, build, by_alias, create, everything, number

STEPS = 150
LARGE_LABELS = {f"key{index}": "x" * 4000 for index in range(12)}
LABELS: tuple[dict[str, str], ...] = ({}, {"team": "Größe 🦉"}, {"a": "b", "b": "B"}, LARGE_LABELS)
TEXTS = ("", "plain", "two\nlines and \u2028 é e\u0301 🦉", "x" * 60_000)
NAMES = ("fraud", "churn", "Straße")
NEW_NAMES = (*NAMES, "STRASSE", "Fraud", "日本")
SPACES = ("default", "default", "default", "other")
ALIASES = ("champion", "champion", "Champion")
KINDS = 11
MODEL_STATE = ("name", "description", "labels", "owners", "metric_directions", "creator")
VERSION_STATE = ("digest", "description", "labels", "stage", "creator")


@pytest.fixture
async def board(registry: Database) -> Database:
    """Make all models of the game, with two versions each."""
    for name in NAMES[1:]:
        await registry.write(models.create, act(), name=f"default/{name}", draft=Draft())
    for name in NAMES:
        for seed in (1, 2):
            await create(registry, seed, model=f"default/{name}")
    return registry


@dataclass
class Player:
    """Make one random mutation after the other; many are refused, and that is part of the game."""

    database: Database
    dice: random.Random
    done: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    async def play(self) -> None:
        """Try one mutation."""
        move = self.dice.choice(self.moves())
        try:
            await move()
            self.done.append(move.__name__)
        except errors.RegistryError as error:
            self.refused.append(error.reason)

    def moves(self) -> list[Callable[[], Awaitable[Any]]]:
        """Return what can be tried; versions and aliases more often than the rest."""
        often = [self.create_version, self.create_version, self.set_alias, self.set_alias, self.roll_back]
        rest = [self.update_version, self.create_model, self.update_model, self.rename_model]
        spaces = [self.create_namespace, self.update_namespace, self.delete_namespace]
        return [*often, *rest, self.delete_alias, *spaces]

    async def write(self, use_case: Any, **arguments: Any) -> Any:
        """Write as a random caller, some of the time with a reason or a request id."""
        why = act(self.dice.choice(("ada", "grace")), reason=self.dice.choice(("", "because 🦉")))
        if self.dice.random() < 0.5:
            return await self.database.write(use_case, why, **arguments)
        key = RequestKey("Rpc", str(uuid.UUID(int=self.dice.getrandbits(8))), "sha256:1")
        why = Act(why.caller, why.reason, key)
        return await self.database.write(requests.once, why, use_case, lambda _: b"", **arguments)

    def model(self) -> str:
        return f"{self.dice.choice(SPACES)}/{self.dice.choice(NAMES)}"

    def draft(self) -> Draft:
        directions = self.dice.choice(({}, {"f1": "higher-is-better"}))
        owners = self.dice.choice(((), ("team risk",)))
        return Draft(self.text(), labels=self.labels(), owners=owners, metric_directions=directions)

    def text(self) -> str:
        return self.dice.choice(TEXTS)

    def labels(self) -> dict[str, str]:
        return self.dice.choice(LABELS)

    async def create_version(self) -> None:
        seed = self.dice.randrange(12)
        keys = {"semantic_version": f"1.0.{seed}", "idempotency_key": f"run {seed}"}
        draft = versions.Draft(self.text(), labels=self.labels(), **self.dice.choice(({}, keys)))
        await self.write(versions.create, model=self.model(), built=build(seed), draft=draft)

    async def update_version(self) -> None:
        reference = number(self.dice.randrange(1, 4), model=self.model())
        changes = {"description": self.text(), "labels": self.labels()}
        mask = self.dice.choice((None, ("labels",), ("description", "labels")))
        await self.write(versions.modify, reference=reference, mask=mask, **changes)

    async def set_alias(self) -> None:
        reference = number(self.dice.randrange(1, 4), model=self.model())
        await self.write(aliases.put, reference=reference, name=self.dice.choice(ALIASES))

    async def roll_back(self) -> None:
        await self.write(aliases.rollback, model=self.model(), name=self.dice.choice(ALIASES))

    async def delete_alias(self) -> None:
        await self.write(aliases.remove, model=self.model(), name=self.dice.choice(ALIASES))

    async def create_model(self) -> None:
        await self.write(models.create, name=self.model(), draft=self.draft())

    async def update_model(self) -> None:
        await self.write(models.modify, name=self.model(), draft=self.draft(), mask=None)

    async def rename_model(self) -> None:
        await self.write(models.rename, name=self.model(), new_name=f"default/{self.dice.choice(NEW_NAMES)}")

    async def create_namespace(self) -> None:
        name = self.dice.choice(("other", "empty"))
        await self.write(namespaces.create, name=name, description=self.text(), labels=self.labels())

    async def update_namespace(self) -> None:
        name = self.dice.choice(("default", "other", "empty"))
        changes = {"description": self.text(), "labels": self.labels()}
        await self.write(namespaces.modify, name=name, mask=None, **changes)

    async def delete_namespace(self) -> None:
        await self.write(namespaces.remove, name=self.dice.choice(("other", "empty")))


def folded(tx: Transaction) -> Fold:
    """Fold all that is stored of the history."""
    texts = {
        (row.sequence, row.name): (bytes(row.salt), row.content) for row in select_all(tx, "event_texts")
    }
    events = [bytes(row.content) for row in select_all(tx, "events")]
    return fold(events, texts=texts)


def select_all(tx: Transaction, name: str) -> list[Row]:
    table = tables.Base.metadata.tables[name]
    return tx.all(select(table).order_by(*table.primary_key.columns))


def written(value: Any) -> Any:
    """Read a column as events write it: JSON parsed, an absent text empty."""
    if isinstance(value, str) and value[:1] in {"{", "["}:
        return json.loads(value)
    return "" if value is None else value


def time_of(microseconds: int) -> str:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def state_of(row: Row, names: tuple[str, ...]) -> dict[str, Any]:
    times = {name: time_of(getattr(row, name)) for name in ("create_time", "update_time")}
    return {name: written(getattr(row, name)) for name in names} | times | {"sequence": row.sequence}


def part(states: dict[str, State], names: set[str]) -> dict[str, State]:
    return {uid: {name: state[name] for name in names} for uid, state in states.items()}


def require_equal(tx: Transaction) -> None:
    """Demand that all tables of registry state say what the fold of the events says."""
    history = folded(tx)
    (head,) = select_all(tx, "registry")
    assert (head.sequence, head.uid) == (history.sequence, history.registry)
    assert time_of(head.event_time) == history.time
    restores = sorted((state["sequence"], uid) for uid, state in history.of_kind("epoch").items())
    # The first epoch is not in the history: it came with the registry.
    assert not restores or head.epoch == restores[-1][1]
    for check in (require_namespaces, require_models, require_versions, require_aliases, require_requests):
        check(tx, history)


def require_namespaces(tx: Transaction, history: Fold) -> None:
    stored = {
        row.uid: state_of(row, ("name", "description", "labels")) for row in select_all(tx, "namespaces")
    }
    assert stored
    assert stored == part(history.of_kind("namespace"), set(next(iter(stored.values()))))


def require_models(tx: Transaction, history: Fold) -> None:
    space = {row.id: row.name for row in select_all(tx, "namespaces")}
    names: dict[int, set[str]] = {}
    for row in select_all(tx, "model_names"):
        names.setdefault(row.model_id, set()).add(f"{space[row.namespace_id]}/{row.name}")
    numbers = [(each["model"], int(each["number"])) for each in history.of_kind("version").values()]
    rows = select_all(tx, "models")
    stored = {
        row.uid: state_of(row, MODEL_STATE)
        | {
            "namespace": space[row.namespace_id],
            "former_names": sorted(names[row.id] - {f"{space[row.namespace_id]}/{row.name}"}),
        }
        for row in rows
    }
    assert stored == part(history.of_kind("model"), set(next(iter(stored.values()))))
    for row in rows:
        assert row.last_number == max((number for uid, number in numbers if uid == row.uid), default=0)


def require_versions(tx: Transaction, history: Fold) -> None:
    uids = {row.id: row.uid for row in select_all(tx, "models")}
    stored = {
        row.uid: state_of(row, (*VERSION_STATE, "semantic_version", "idempotency_key"))
        | {"model": uids[row.model_id], "number": str(row.number)}
        for row in select_all(tx, "versions")
    }
    assert stored
    assert stored == part(history.of_kind("version"), set(next(iter(stored.values()))))


def require_aliases(tx: Transaction, history: Fold) -> None:
    uids = {row.id: row.uid for row in select_all(tx, "models")}
    stored = {
        row.uid: state_of(row, ("name",)) | {"model": uids[row.model_id], "number": str(row.number)}
        for row in select_all(tx, "aliases")
    }
    names = {"name", "model", "number", "create_time", "update_time", "sequence"}
    assert stored == part(history.of_kind("alias"), names)
    digests = {
        (each["model"], each["number"]): each["digest"] for each in history.of_kind("version").values()
    }
    for each in history.of_kind("alias").values():
        assert each["digest"] == digests[each["model"], each["number"]]
    moves = [
        (row.sequence, uids[row.model_id], row.name, row.action, row.to_number)
        for row in select_all(tx, "alias_moves")
    ]
    assert sorted(moves) == history.moves


def require_requests(tx: Transaction, history: Fold) -> None:
    """A remembered request that changed something is in the event of that change."""
    stored = {(row.principal, row.method, row.request_id): row.digest for row in select_all(tx, "requests")}
    assert history.requests.items() <= stored.items()


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_state_is_the_fold_of_the_events(board: Database, seed: int) -> None:
    player = Player(board, random.Random(seed))  # noqa: S311 - the same game each time
    for _ in range(STEPS):
        await player.play()
    await board.read(require_equal)

    assert len(set(player.done)) == KINDS, "The dice left out a kind of mutation; take another seed."
    assert len(set(player.refused)) > 4


async def test_the_state_is_the_fold_of_the_events_of_many_callers_at_once(board: Database) -> None:
    players = [Player(board, random.Random(seed)) for seed in range(8)]  # noqa: S311 - as above
    for _ in range(8):
        await asyncio.gather(*(player.play() for player in players))
    await board.read(require_equal)
    assert sum(len(player.done) for player in players) > 20


async def test_a_use_case_that_fails_leaves_neither_state_nor_event(
    registry: Database,
) -> None:
    await create(registry, 1)
    before = await registry.read(everything)

    def create_and_fail(tx: Transaction) -> None:
        versions.create(tx, act(), model=FRAUD, built=build(2), draft=versions.Draft(description="text"))
        aliases.put(tx, act(), reference=by_alias("latest"), name="champion")
        raise errors.AliasChanged("It failed at last.")

    with pytest.raises(errors.AliasChanged):
        await registry.write(create_and_fail)
    assert await registry.read(everything) == before
    assert (await create(registry, 3))[2] == before["registry"][0][3] + 1
    await registry.read(require_equal)


async def test_time_never_goes_back_when_the_clock_does(registry: Database) -> None:
    ahead = 4_000_000_000_000_000
    await registry.write(lambda tx: tx.run(update(tables.registry).values(event_time=ahead), {}))
    created, _, _ = await create(registry, 1)
    again, _, _ = await create(registry, 2)

    assert (created.create_time, again.create_time) == (ahead, ahead)
    await registry.read(folded)


async def test_a_large_state_is_bound_by_a_salted_hash_and_can_be_erased(registry: Database) -> None:
    largest = {f"key{index}": "x" * 4090 for index in range(15)}
    draft = Draft("y" * 65_536, labels=largest, owners=[f"{index}" + "o" * 240 for index in range(64)])
    await registry.write(models.modify, act(reason="r" * 4096), name=FRAUD, draft=draft, mask=None)
    events = await registry.read(lambda tx: select_all(tx, "events"))

    assert len(events[-1].content) < 1024
    await registry.read(require_models_only)


def require_models_only(tx: Transaction) -> None:
    require_models(tx, folded(tx))
