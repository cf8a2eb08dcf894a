"""Models with versions of all ages, on a clock of the test, beside the rule of retention in plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from steelyard_server.core import expiry, model_deletions, namespaces, reviews
from steelyard_server.core.expiry import Due, Step
from steelyard_server.core.retention import Retention
from steelyard_server.core.targets import Target
from steelyard_server.db.database import Database
from steelyard_server.history import events
from tests.contracts.ends import add_model, delete, put, undelete
from tests.contracts.registry import act, create
from tests.contracts.registry import number as at

SECOND = 1_000_000


@dataclass
class Clock:
    """The clock of the history; it goes on only when it is told to."""

    now: int = 1_700_000_000 * SECOND

    def time_ns(self) -> int:
        return self.now * 1000

    def go_on(self, seconds: int) -> None:
        self.now += seconds * SECOND


@dataclass
class Aged:
    """A version: when it was created, and when it was deleted if it is."""

    created: int
    deleted: int | None = None


@dataclass
class AgedModel:
    """A model with its versions by number."""

    versions: dict[int, Aged] = field(default_factory=dict)
    aliases: set[int] = field(default_factory=set)
    staged: set[int] = field(default_factory=set)
    deleted: int | None = None

    @property
    def live(self) -> list[int]:
        return [number for number, each in self.versions.items() if each.deleted is None]

    def expired(self, rule: Retention, *, now: int) -> set[int]:
        """Say which versions the rule deletes."""
        if self.deleted is not None or not (rule.keep_versions_count or rule.keep_seconds):
            return set()
        newest = self.live[-max(rule.keep_versions_count, 1) :]
        old = {
            number
            for number, each in self.versions.items()
            if each.created + rule.keep_seconds * SECOND <= now
        }
        return (set(self.live) & old) - set(newest) - self.aliases - self.staged

    def over(self, rule: Retention, *, now: int) -> set[int]:
        """Say which versions the rule purges."""
        if self.is_over(rule, now=now):
            return set(self.versions)
        if self.deleted is not None:
            return set()
        return {number for number, each in self.versions.items() if _is_past(each.deleted, rule, now=now)}

    def is_over(self, rule: Retention, *, now: int) -> bool:
        """Say whether the rule purges the model."""
        return _is_past(self.deleted, rule, now=now)


def _is_past(deleted: int | None, rule: Retention, *, now: int) -> bool:
    if deleted is None or not rule.purge_after_seconds:
        return False
    return deleted + rule.purge_after_seconds * SECOND <= now


class Game:
    """Does to a database and to plain models the same."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.plain: dict[str, AgedModel] = {}
        self._seeds = 0

    async def add(self, name: str) -> None:
        self.plain[name] = AgedModel()
        await add_model(self.database, name)

    async def create(self, name: str, _: int) -> None:
        if self.plain[name].deleted is None:
            self._seeds += 1
            made, _, _ = await create(self.database, self._seeds, model=name)
            self.plain[name].versions[made.number] = Aged(self.clock.now)

    async def delete(self, name: str, number: int) -> None:
        model = self.plain[name]
        if model.deleted is None and number in model.live and number not in model.aliases:
            await delete(self.database, number, model=name)
            model.versions[number].deleted = self.clock.now

    async def undelete(self, name: str, number: int) -> None:
        model = self.plain[name]
        if model.deleted is None and number in model.versions and number not in model.live:
            await undelete(self.database, number, model=name)
            model.versions[number].deleted = None

    async def point(self, name: str, number: int) -> None:
        """Let an alias of its own point to a version."""
        model = self.plain[name]
        if model.deleted is None and number in model.live:
            await put(self.database, f"a{number}", number, model=name)
            model.aliases.add(number)

    async def promote(self, name: str, number: int) -> None:
        """Put a version into production, or archive it when it is there."""
        model = self.plain[name]
        if model.deleted is None and number in model.live:
            stage = "archived" if number in model.staged else "production"
            model.staged ^= {number}
            wanted = {"reference": at(number, model=name), "target": Target("stage", stage)}
            await self.database.write(reviews.propose, act(), **wanted)

    async def end(self, name: str, _: int) -> None:
        """Delete the model."""
        model = self.plain[name]
        if model.deleted is None and not model.aliases:
            await self.database.write(model_deletions.remove, act(), name=name)
            model.deleted = self.clock.now

    async def wait(self, _: str, seconds: int) -> None:
        self.clock.go_on(seconds)


async def rule(database: Database, given: Retention, *, namespace: str = "default") -> None:
    draft = namespaces.Draft(retention=given)
    await database.write(namespaces.modify, act(), name=namespace, draft=draft, mask=("retention",))


async def due(database: Database, *, now: int, namespace: str = "default") -> list[Due]:
    """Say what is to go, of all models."""
    space = await database.read(namespaces.get, name=namespace)
    found: list[Due] = []
    after_id = 0
    while True:
        some, after_id = await database.read(expiry.due, namespace=space, now=now, after_id=after_id)
        found += some
        if not after_id:
            return found


async def let_go(database: Database, *models: str, now: int, **why: Any) -> list[Step]:
    """Let all go that is to go of some models."""
    steps: list[Step] = []
    for model in models:
        while step := await database.write(expiry.let_go, act("tender", **why), model=model, now=now):
            steps.append(step)
    return steps


def set_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the history a clock that only the test moves."""
    clock = Clock()
    monkeypatch.setattr(events, "time", clock)
    return clock
