"""The state is the fold of the events: after any sequence of mutations, on both databases."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import update

from steelyard_server import errors
from steelyard_server.core import (
    aliases,
    batches,
    copies,
    deletions,
    evaluations,
    garbage,
    model_deletions,
    models,
    namespaces,
    versions,
)
from steelyard_server.core.content import Dataset, File, Metric
from steelyard_server.core.models import Draft
from steelyard_server.core.origins import Origin
from steelyard_server.core.quotas import Quota
from steelyard_server.core.references import Reference
from steelyard_server.core.retention import Retention
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from tests.contracts.access_moves import AccessMoves
from tests.contracts.promotion_moves import PromotionMoves
from tests.contracts.registry import BLOB, FRAUD, act, build, by_alias, create, everything, number
from tests.contracts.stored import folded, require_equal, require_models, select_all

STEPS = 900
LARGE_LABELS = {f"key{index}": "x" * 4000 for index in range(12)}
LABELS: tuple[dict[str, str], ...] = ({}, {"team": "Größe 🦉"}, {"a": "b", "b": "B"}, LARGE_LABELS)
TEXTS = ("", "plain", "two\nlines and \u2028 é e\u0301 🦉", "x" * 60_000)
NAMES = ("fraud", "churn", "Straße")
NEW_NAMES = (*NAMES, "STRASSE", "Fraud", "日本")
CREATED = (*NAMES, *(f"new {index}" for index in range(5)))
SPACES = ("default", "default", "default", "other")
ALIASES = ("champion", "champion", "Champion")
KINDS = 41


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
class Player(AccessMoves, PromotionMoves):
    """Make one random mutation after the other; many are refused, and that is part of the game."""

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
        rest = [
            self.record_evaluation,
            self.import_evaluation,
            self.import_version,
            self.import_version,
            self.import_batch,
            self.import_batch,
            self.update_version,
            self.create_model,
            self.update_model,
            self.rename_model,
        ]
        spaces = [self.create_namespace, self.update_namespace, self.delete_namespace]
        ends = [self.delete_version, self.undelete_version, self.purge_version, self.copy_version]
        of_models = [self.delete_model, *(4 * [self.undelete_model]), self.purge_model]
        return [
            *often,
            *often,
            *rest,
            *(3 * [self.delete_alias]),
            *spaces,
            *ends,
            *ends,
            *of_models,
            self.collect_garbage,
            *self.access_moves(),
            *self.promotion_moves(),
        ]

    def model(self) -> str:
        return f"{self.dice.choice(SPACES)}/{self.dice.choice(NAMES)}"

    def draft(self) -> Draft:
        directions = self.dice.choice(({}, {"f1": "higher-is-better"}))
        owners = self.dice.choice(((), ("team risk",)))
        return Draft(self.text(), labels=self.labels(), owners=owners, metric_directions=directions)

    def reference(self) -> Reference:
        return number(self.dice.randrange(1, 6), model=self.model())

    def text(self) -> str:
        return self.dice.choice(TEXTS)

    def namespace(self) -> namespaces.Draft:
        """Choose what a namespace says of itself, with a quota that refuses little."""
        quota = Quota(self.dice.choice((0, 2**40)), self.dice.choice((0, 10**6)))
        retention = Retention(*(self.dice.choice((0, 10**9)) for _ in range(3)))
        return namespaces.Draft(self.text(), self.labels(), quota, retention)

    def labels(self) -> dict[str, str]:
        return self.dice.choice(LABELS)

    async def create_version(self) -> None:
        seed = self.dice.randrange(12)
        keys = {"semantic_version": f"1.0.{seed}", "idempotency_key": f"run {seed}"}
        draft = versions.Draft(self.text(), labels=self.labels(), **self.dice.choice(({}, keys)))
        await self.write(versions.create, model=self.model(), built=build(seed), draft=draft)

    async def update_version(self) -> None:
        reference = self.reference()
        changes = {"description": self.text(), "labels": self.labels()}
        mask = self.dice.choice((None, ("labels",), ("description", "labels")))
        await self.write(versions.modify, reference=reference, mask=mask, **changes)

    def imported(self, seed: int) -> versions.Draft:
        """Draft a version that keeps a number, one of those that are not left out often."""
        origin = Origin("steelyard", version=f"risk/fraud:{seed}", creator="grace", uid=f"uid {seed}")
        value = self.dice.choice((0, self.dice.randrange(1, 60)))
        words = {"description": self.text(), "labels": self.labels()}
        return versions.Draft(**words, origin=origin, number=value)

    async def import_version(self) -> None:
        seed = self.dice.randrange(20)
        await self.write(versions.create, model=self.model(), built=build(seed), draft=self.imported(seed))

    async def import_batch(self) -> None:
        seeds = [self.dice.randrange(10_000) for _ in range(self.dice.choice((1, 3, 40)))]
        drafts = [replace(self.imported(seed), number=0) for seed in seeds]
        # Texts of a whole batch have a limit.
        drafts = [replace(draft, description="few words", labels=LABELS[1]) for draft in drafts]
        wishes = [batches.Wish(build(seed), draft) for seed, draft in zip(seeds, drafts, strict=True)]
        await self.write(batches.create, model=self.model(), wishes=wishes)

    async def import_evaluation(self) -> None:
        uid = self.dice.choice(("here", "there"))
        origin = Origin("steelyard", creator="grace", uid=uid, create_time=7)
        draft = evaluations.Draft((Metric("f1", "newdata", "", 0.5),), evaluate_time=8, origin=origin)
        await self.write(evaluations.record, reference=self.reference(), draft=draft)

    async def record_evaluation(self) -> None:
        values = (0.5, math.nan, -0.0, math.inf)
        metrics = [
            Metric(name, "newdata", "", self.dice.choice(values)) for name in ("f1", "loss", "m" * 200)
        ]
        draft = evaluations.Draft(
            tuple(self.dice.sample(metrics, k=self.dice.randrange(1, 4))),
            self.dice.choice(((), (Dataset("newdata", digest=BLOB[0]),))),
            evaluate_time=self.dice.choice((None, 5, 6, 7)),
            uri=self.dice.choice(("", "https://runs/1")),
            report=self.dice.choice((None, File("report 🦉.html", BLOB[0], BLOB[1], role="doc"))),
            description=self.text(),
        )
        reference = self.reference()
        await self.write(evaluations.record, reference=reference, draft=draft)

    async def set_alias(self) -> None:
        reference = self.reference()
        await self.write(aliases.put, reference=reference, name=self.dice.choice(ALIASES))

    async def roll_back(self) -> None:
        await self.write(aliases.rollback, model=self.model(), name=self.dice.choice(ALIASES))

    async def delete_alias(self) -> None:
        await self.write(aliases.remove, model=self.model(), name=self.dice.choice(ALIASES))

    async def delete_version(self) -> None:
        await self.write(deletions.remove, reference=self.reference())

    async def undelete_version(self) -> None:
        await self.write(deletions.restore, reference=self.reference())

    async def purge_version(self) -> None:
        await self.write(deletions.purge, reference=self.reference())

    async def copy_version(self) -> None:
        source = self.reference()
        await self.write(copies.copy, source=source, model=self.model())

    async def delete_model(self) -> None:
        await self.write(model_deletions.remove, name=self.model())

    async def undelete_model(self) -> None:
        await self.write(model_deletions.restore, name=self.model())

    async def purge_model(self) -> None:
        """Of a model of its own, for the names of purged ones are never used again."""
        name = f"default/passing {self.dice.randrange(3)}"
        await self.write(models.create, name=name, draft=self.draft())
        await self.write(copies.copy, source=self.reference(), model=name)
        await self.write(model_deletions.remove, name=name)
        await self.write(model_deletions.purge, name=name)

    async def create_model(self) -> None:
        name = f"{self.dice.choice(SPACES)}/{self.dice.choice(CREATED)}"
        await self.write(models.create, name=name, draft=self.draft())

    async def update_model(self) -> None:
        await self.write(models.modify, name=self.model(), draft=self.draft(), mask=None)

    async def rename_model(self) -> None:
        await self.write(models.rename, name=self.model(), new_name=f"default/{self.dice.choice(NEW_NAMES)}")

    async def create_namespace(self) -> None:
        name = self.dice.choice(("other", "empty"))
        await self.write(namespaces.create, name=name, draft=self.namespace())

    async def update_namespace(self) -> None:
        name = self.dice.choice(("default", "other", "empty"))
        mask = self.dice.choice((None, ("quota",), ("labels", "quota.size_bytes", "retention")))
        await self.write(namespaces.modify, name=name, mask=mask, draft=self.namespace())

    async def collect_garbage(self) -> None:
        """Report a collection; it touches bookkeeping alone, so the fold has nothing else of it."""
        await self.write(garbage.report, outcome=garbage.Outcome(1, 2, 3, 4, 5, "sha256:6"))

    async def delete_namespace(self) -> None:
        await self.write(namespaces.remove, name=self.dice.choice(("other", "empty")))


@pytest.mark.parametrize("seed", [2, 5])
async def test_the_state_is_the_fold_of_the_events(board: Database, seed: int) -> None:
    player = Player(board, random.Random(seed))  # noqa: S311 - the same game each time
    for _ in range(STEPS):
        await player.play()
    await board.read(require_equal)

    assert len(set(player.done)) == KINDS, "The dice left out a kind of mutation; take another seed."
    assert len(set(player.refused)) > 4


async def test_the_state_is_the_fold_of_the_events_of_many_callers_at_once(board: Database) -> None:
    players = [Player(board, random.Random(seed)) for seed in range(8)]  # noqa: S311 - as above
    for _ in range(12):
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
