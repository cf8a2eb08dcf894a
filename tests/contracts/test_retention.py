"""Retention: exactly what no rule keeps goes, in small steps, and what is pointed to meanwhile stays."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from steelyard_server import errors
from steelyard_server.core import aliases, expiry, namespaces, reviews, versions
from steelyard_server.core.policy_drafts import Draft
from steelyard_server.core.retention import Retention
from steelyard_server.core.targets import Target
from steelyard_server.db import tables
from steelyard_server.db.database import Database, open_database
from steelyard_server.limits import LIMITS
from tests.contracts.ends import add_model, delete, delete_model, numbers, put
from tests.contracts.promoting import PRODUCTION, Board
from tests.contracts.registry import FRAUD, act, create, everything, found, number, rows
from tests.contracts.retention_game import SECOND, AgedModel, Clock, Game, due, let_go, rule, set_clock
from tests.contracts.stored import require_equal
from tests.databases import empty

NAMES = (FRAUD, "default/second")
LATER = 10**9

# What happens, to which model, to which version or for how many seconds.
moves = st.lists(
    st.tuples(
        st.sampled_from(
            [*(2 * ["create", "wait", "delete"]), "undelete", "point", "promote", "promote", "end"]
        ),
        st.sampled_from(NAMES),
        st.integers(1, 5),
    ),
    min_size=4,
    max_size=25,
)
# A version whose time is over in a model whose time is not.
ENDED_IN_TWO_STEPS = [
    (move, FRAUD, value)
    for move, value in (("create", 1), ("create", 1), ("delete", 1), ("wait", 5), ("end", 1))
]
rules = st.builds(Retention, st.integers(0, 4), st.integers(0, 6), st.integers(0, 6))


@contextmanager
def fresh(location: Any, migrated_file: Path) -> Iterator[Any]:
    """Make an empty database of this kind for one game."""
    with tempfile.TemporaryDirectory() as name:
        if isinstance(location, Path):
            yield Path(shutil.copy(migrated_file, Path(name) / "registry.db"))
        else:
            empty(location)
            yield location


async def play(
    location: Any, clock: Clock, script: list[tuple[str, str, int]], given_rule: Retention
) -> None:
    database = await open_database(location)
    try:
        await found(database)
        game = Game(database, clock)
        game.plain = {FRAUD: AgedModel()}
        await game.add(NAMES[1])
        for move, name, value in script:
            await getattr(game, move)(name, value)
        await rule(database, given_rule)
        await compare(game, given_rule)
    finally:
        await database.close()


async def compare(game: Game, given_rule: Retention) -> None:
    """Let go what is to go, and demand that it is what the plain rule says, the rehearsal too."""
    database, now = game.database, game.clock.now
    expected = {
        name: (model.expired(given_rule, now=now), model.over(given_rule, now=now))
        for name, model in game.plain.items()
    }
    before = await database.read(everything)
    wanted = await due(database, now=now)
    assert await database.read(everything) == before
    assert {each.model: (each.is_over, each.deleted, each.purged) for each in wanted} == {
        name: (model.is_over(given_rule, now=now), *map(len, expected[name]))
        for name, model in game.plain.items()
        if any(expected[name]) or model.is_over(given_rule, now=now)
    }
    game.clock.go_on(1)
    await let_go(database, *game.plain, now=now)
    assert await due(database, now=now) == []
    for name, model in game.plain.items():
        expired, over = expected[name]
        if model.deleted is None:
            kept = sorted(set(model.versions) - over)
            assert await numbers(database, model=name, show_deleted=True) == kept
            assert await numbers(database, model=name) == sorted(set(model.live) - expired)
            made, _, _ = await create(database, 1000, model=name)
            assert made.number == max(model.versions, default=0) + 1, "A number was used again."
        elif model.is_over(given_rule, now=now):
            with pytest.raises(errors.ModelNotFound):
                await create(database, 1000, model=name)
        else:
            with pytest.raises(errors.ModelDeleted):
                await create(database, 1000, model=name)
    await database.read(require_equal)


@pytest.mark.timeout(300)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(script=moves, given_rule=rules)
@example(script=ENDED_IN_TWO_STEPS, given_rule=Retention(purge_after_seconds=3))
def test_exactly_what_the_rule_says_goes(
    location: Any, migrated_file: Path, script: list[tuple[str, str, int]], given_rule: Retention
) -> None:
    with fresh(location, migrated_file) as database, pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(play(database, set_clock(monkeypatch), script, given_rule))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Move the clock of the history by hand."""
    return set_clock(monkeypatch)


async def test_the_last_ones_stay_and_so_does_what_an_alias_points_to(
    clock: Clock, registry: Database
) -> None:
    for seed in range(6):
        await create(registry, seed)
    await put(registry, "champion", 2)
    await rule(registry, Retention(keep_versions_count=2))

    (step,) = await let_go(registry, FRAUD, now=clock.now, reason="monthly")
    assert step.deleted_versions == 3
    assert await numbers(registry) == [2, 5, 6]
    event = json.loads((await registry.read(rows, tables.events))[-1][2])
    assert (event["action"], event["actor"]["id"], len(event["changes"])) == ("version.delete", "tender", 3)
    assert int(event["sequence"]) == step.sequence


async def test_the_newest_version_stays_however_old_it_is(clock: Clock, registry: Database) -> None:
    for seed in range(3):
        await create(registry, seed)
    await delete(registry, 3)
    clock.go_on(LATER)
    await rule(registry, Retention(keep_seconds=1))

    await let_go(registry, FRAUD, now=clock.now)
    assert await numbers(registry) == [2]


async def test_a_version_stays_when_either_number_keeps_it(clock: Clock, registry: Database) -> None:
    for seed in range(4):
        await create(registry, seed)
        clock.go_on(10)
    await rule(registry, Retention(keep_versions_count=1, keep_seconds=25))

    await let_go(registry, FRAUD, now=clock.now)
    assert await numbers(registry) == [3, 4]
    await let_go(registry, FRAUD, now=clock.now + 5 * SECOND)
    assert await numbers(registry) == [4]


async def test_what_a_run_deletes_it_does_not_purge(clock: Clock, registry: Database) -> None:
    for seed in range(3):
        await create(registry, seed)
    await rule(registry, Retention(keep_versions_count=1, purge_after_seconds=1))
    now = clock.now
    clock.go_on(60)

    await let_go(registry, FRAUD, now=now)
    assert await numbers(registry, show_deleted=True) == [1, 2, 3]
    assert await numbers(registry) == [3]
    await let_go(registry, FRAUD, now=clock.now)
    assert await numbers(registry, show_deleted=True) == [1, 2, 3], "The window has just begun."
    await let_go(registry, FRAUD, now=clock.now + SECOND)
    assert await numbers(registry, show_deleted=True) == [3]


async def test_a_rule_that_was_lifted_meanwhile_lets_nothing_go(clock: Clock, registry: Database) -> None:
    for seed in range(3):
        await create(registry, seed)
    await rule(registry, Retention(keep_versions_count=1))
    assert [each.deleted for each in await due(registry, now=clock.now)] == [2]
    await rule(registry, Retention())

    assert await let_go(registry, FRAUD, "default/missing", "missing/model", now=clock.now) == []
    assert await registry.read(namespaces.next_with_retention, after_name="") is None


async def test_many_versions_go_in_steps_of_at_most_a_hundred(clock: Clock, registry: Database) -> None:
    for seed in range(206):
        await create(registry, seed)
    await rule(registry, Retention(keep_versions_count=1, purge_after_seconds=1))

    deleted = await let_go(registry, FRAUD, now=clock.now)
    assert sum(step.deleted_versions for step in deleted) == 205
    assert max(step.deleted_versions for step in deleted) <= 100
    purged = await let_go(registry, FRAUD, now=clock.now + LATER * SECOND)
    assert sum(step.purged_versions for step in purged) == 205
    assert max(step.purged_versions for step in purged) <= 100
    assert await numbers(registry, show_deleted=True) == [206]
    await registry.read(require_equal)


async def test_versions_with_much_text_go_in_events_that_hold_them(clock: Clock, registry: Database) -> None:
    for seed in range(12):
        labels = {f"label{each}": "x" * 4000 for each in range(1 if seed % 2 else 3)}
        await create(registry, seed, labels=labels, description="d" * 60_000)
    await rule(registry, Retention(keep_versions_count=1))

    steps = await let_go(registry, FRAUD, now=clock.now)
    assert len(steps) > 1
    assert await numbers(registry) == [12]
    await registry.read(require_equal)


async def test_a_large_model_is_purged_in_steps_and_its_names_stay(
    clock: Clock, registry: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "STEP_FILES", 4)
    for seed in range(10):
        await create(registry, seed)
    await delete(registry, 2)
    clock.go_on(5)
    await delete_model(registry)
    await rule(registry, Retention(purge_after_seconds=10))
    (model,) = await due(registry, now=clock.now + 10 * SECOND)
    assert (model.is_over, model.deleted, model.purged) == (True, 0, 10)

    assert await let_go(registry, FRAUD, now=clock.now + 9 * SECOND) == [], "It can be undeleted still."
    steps = await let_go(registry, FRAUD, now=clock.now + 10 * SECOND)
    assert [step.purged_versions for step in steps] == [4, 4, 2]
    assert [step.purged_models for step in steps] == [0, 0, 1]
    with pytest.raises(errors.ModelNotFound):
        await create(registry, 1)
    with pytest.raises(errors.NameRetired):
        await add_model(registry, FRAUD)
    await registry.read(require_equal)


async def test_namespaces_with_a_rule_are_found_one_after_the_other(registry: Database) -> None:
    for name in ("a", "b", "c"):
        draft = namespaces.Draft(retention=Retention(purge_after_seconds=1) if name != "b" else Retention())
        await registry.write(namespaces.create, act(), name=name, draft=draft)

    names, name = [], ""
    while (space := await registry.read(namespaces.next_with_retention, after_name=name)) is not None:
        names.append(name := space.name)
    assert names == ["a", "c"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keep_versions_count", -1),
        ("keep_seconds", -1),
        ("keep_seconds", LIMITS.retention_seconds + 1),
        ("purge_after_seconds", LIMITS.retention_seconds + 1),
    ],
)
async def test_a_rule_out_of_bounds_is_refused(registry: Database, field: str, value: int) -> None:
    with pytest.raises(errors.OutOfBounds) as error:
        await rule(registry, Retention(**{field: value}))
    assert error.value.field == f"namespace.retention.{field}"


async def test_the_longest_times_and_largest_numbers_keep_everything(registry: Database) -> None:
    for seed in range(3):
        await create(registry, seed)
    await delete(registry, 1)
    for given_rule in (
        Retention(2**63 - 1, 0, LIMITS.retention_seconds),
        Retention(0, LIMITS.retention_seconds, 0),
    ):
        await rule(registry, given_rule)
        assert await due(registry, now=1_700_000_000 * SECOND) == []


async def test_what_is_in_a_stage_or_proposed_stays_until_it_is_not(registry: Database) -> None:
    for seed in range(5):
        await create(registry, seed)
    board = Board(registry)
    await board.promote(act(), 1, Target("stage", "staging"))
    await board.promote(act(), 2, Target("stage", "archived"))
    await board.set_policy(Draft(PRODUCTION, outside_checks=("load",)))
    waiting = await board.promote(act(), 3)
    await rule(registry, Retention(keep_versions_count=1))
    now = waiting.promotion.create_time + SECOND

    assert [each.deleted for each in await due(registry, now=now)] == [2]
    await let_go(registry, FRAUD, now=now)
    assert await numbers(registry) == [1, 3, 5]
    await registry.write(reviews.cancel, act(), scope=FRAUD, number=waiting.promotion.number)
    await let_go(registry, FRAUD, now=now)
    assert await numbers(registry) == [1, 5]
    await registry.read(require_equal)


async def test_an_alias_that_is_set_meanwhile_keeps_its_version(registry: Database) -> None:
    """Whoever comes second sees the first: the alias is refused, or its version stays."""
    names = [f"default/m{index}" for index in range(12)]
    for name in names:
        await add_model(registry, name)
        for seed in range(3):
            await create(registry, seed, model=name)
    await rule(registry, Retention(keep_versions_count=1))
    now = (await registry.read(versions.get, reference=number(3, model=names[-1]))).create_time + SECOND

    def point(name: str) -> Any:
        return registry.write(aliases.put, act(), reference=number(1, model=name), name="champion")

    def end(name: str) -> Any:
        return registry.write(expiry.let_go, act(), model=name, now=now)

    wishes = [
        wish(name) for index, name in enumerate(names) for wish in ((point, end), (end, point))[index % 2]
    ]
    ended = await asyncio.gather(*wishes, return_exceptions=True)
    failures = [each for each in ended if isinstance(each, BaseException)]
    assert all(isinstance(each, errors.VersionDeleted) for each in failures), failures
    assert len(failures) < len(names)
    pointed = 0
    for name in names:
        live = await numbers(registry, model=name)
        listed, _ = await registry.read(aliases.page, model=name)
        assert live == ([1, 3] if listed else [3])
        pointed += len(listed)
    assert pointed == len(names) - len(failures)
