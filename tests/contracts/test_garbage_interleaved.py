"""Uploads, versions, ends, copies and collections at hostile times: nothing needed is lost, all garbage goes.

The steps are those of the server, on a store on disk and both databases; Hypothesis chooses their order.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from steelyard_server.blobs.claims import Claims
from steelyard_server.blobs.local import LocalStore
from steelyard_server.db.database import open_database
from steelyard_server.maintenance.runs import Stop
from steelyard_server.maintenance.storage import Storage
from tests.api.uploads import digest_of
from tests.contracts.ends import copy, end_model, end_versions
from tests.contracts.garbage_game import CONTENTS, COPIES, SCRIPTS, Game, state
from tests.contracts.registry import end_leases, number
from tests.contracts.turns import StepDatabase, StepStorage, Turns
from tests.databases import empty

FOREVER = 1_000_000
# Blobs that namespaces name when these are done, of a version of one that was there before.
NAMED = {"copy": 2, "delete": 1, "push and end": 1, "evaluate": 2}
QUICK = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    # A game takes long, and to make one smaller takes hundreds; what was drawn is printed as it is.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)

callers = st.lists(st.tuples(st.sampled_from(SCRIPTS), st.sampled_from(CONTENTS)), min_size=1, max_size=5)
collections = st.lists(st.sampled_from([0, FOREVER]), min_size=1, max_size=2)


@contextmanager
def fresh(location: Any, migrated_file: Path) -> Iterator[tuple[Any, Path]]:
    """Make an empty database of this kind, and a directory for the store, for one game."""
    with tempfile.TemporaryDirectory() as name:
        if isinstance(location, Path):
            yield Path(shutil.copy(migrated_file, Path(name) / "registry.db")), Path(name)
        else:
            empty(location)
            yield location, Path(name)


@asynccontextmanager
async def begun(location: Any, root: Path) -> AsyncIterator[Game]:
    """Begin a game."""
    database = await open_database(location)
    turns = Turns()
    steps: Any = StepDatabase(database, turns)
    try:
        with closing(LocalStore(root / "blobs")) as store, ThreadPoolExecutor(2) as threads:
            storage = StepStorage(steps, store, Claims(), threads, Stop())
            game = Game(database, store, storage, steps, turns)
            await game.begin()
            yield game
    finally:
        await database.close()


async def play(
    location: Any, root: Path, *, scripts: list[tuple[str, bytes]], trashes: list[int], data: st.DataObject
) -> None:
    async with begun(location, root) as game:

        async def collect_all() -> None:
            for trash_seconds in trashes:
                await game.collect(trash_seconds=trash_seconds)

        actors = {f"{index} {name}": game.script(name, blob) for index, (name, blob) in enumerate(scripts)}
        await game.turns.play(
            {"collector": collect_all(), **actors},
            choose=lambda names: data.draw(st.sampled_from(names)),
            check=game.check,
        )
        await end_everything(game)
        assert await game.database.read(state) == ({}, set(), set())
        assert list_files(root / "blobs") == []


async def end_everything(game: Game) -> None:
    """Let nothing be needed any more, and collect."""
    await game.database.write(end_versions)
    await game.database.write(end_leases)
    await collect_whole(game)


async def collect_whole(game: Game) -> None:
    """Collect in one go, without turns."""
    storage = game.storage
    whole = Storage(game.database, game.store, storage.claims, storage.threads, storage.stop)
    await game.collect(trash_seconds=0, storage=whole)


def list_files(root: Path) -> list[str]:
    """List bytes of blobs, wherever they are, and notes of damage."""
    folders = ("sha256", "trash", "damaged")
    return [path.name for folder in folders for path in (root / folder).rglob("*") if path.is_file()]


@pytest.mark.timeout(300)
@QUICK
@given(scripts=callers, trashes=collections, data=st.data())
def test_in_any_order_of_steps_nothing_needed_is_lost_and_all_garbage_goes(
    location: Any,
    migrated_file: Path,
    scripts: list[tuple[str, bytes]],
    trashes: list[int],
    data: st.DataObject,
) -> None:
    with fresh(location, migrated_file) as (database, root):
        asyncio.run(play(database, root, scripts=scripts, trashes=trashes, data=data))


async def test_a_collection_lets_a_namespace_hold_no_longer_what_only_another_one_names(
    location: Any, tmp_path: Path
) -> None:
    async with begun(location, tmp_path) as game:
        await copy(game.database, number(1), COPIES)
        await end_model(game.database, COPIES)
        _, named, held = await game.database.read(state)
        assert len(held) == 2
        await collect_whole(game)
        assert await game.database.read(state) == ({digest_of(CONTENTS[0]): len(CONTENTS[0])}, named, named)


async def play_against_a_collector(game: Game, name: str, data: bytes, *, turn: int, whole: bool) -> None:
    """Let a user begin after so many steps of the collector, and go on to the end, or in turns with it."""
    taken: list[str] = []

    def choose(names: Any) -> str:
        first = len(taken) < turn or (not whole and taken[-1:] == ["user"])
        wanted = "collector" if first else "user"
        taken.append(wanted if wanted in names else str(names[0]))
        return taken[-1]

    users = {"collector": game.collect(trash_seconds=0), "user": game.script(name, data)}
    await game.turns.play(users, choose=choose, check=game.check)


@pytest.mark.parametrize("turn", range(26))
@pytest.mark.parametrize("whole", [True, False], ids=["in one go", "in turns"])
async def test_an_upload_at_any_moment_brings_a_condemned_blob_back(
    location: Any, tmp_path: Path, *, turn: int, whole: bool
) -> None:
    async with begun(location, tmp_path) as game:
        await game.database.write(end_versions)
        await play_against_a_collector(game, "upload", CONTENTS[0], turn=turn, whole=whole)
        live, _, held = await game.database.read(state)
        assert ("default", digest_of(CONTENTS[0])) in held
        assert digest_of(CONTENTS[0]) in live


@pytest.mark.parametrize("turn", range(8))
async def test_a_verification_that_is_overtaken_by_a_collection_finds_nothing_wrong(
    location: Any, tmp_path: Path, turn: int
) -> None:
    """It goes on after so many of its steps only when the collection is over."""
    taken: list[str] = []

    def choose(names: Any) -> str:
        wanted = "verify" if len(taken) < turn else "collector"
        taken.append(wanted if wanted in names else str(names[0]))
        return taken[-1]

    async with begun(location, tmp_path) as game:
        await game.database.write(end_versions)
        users = {"collector": game.collect(trash_seconds=0), "verify": game.script("verify", CONTENTS[0])}
        await game.turns.play(users, choose=choose, check=game.check)
        assert list_files(tmp_path / "blobs") == []


@pytest.mark.parametrize("turn", range(0, 26, 4))
@pytest.mark.parametrize("name", NAMED)
async def test_whatever_becomes_of_versions_during_a_collection_what_one_names_stays(
    location: Any, tmp_path: Path, *, turn: int, name: str
) -> None:
    """What is named when all leases are over survives one more collection."""
    async with begun(location, tmp_path) as game:
        await play_against_a_collector(game, name, CONTENTS[1], turn=turn, whole=False)
        _, before, _ = await game.database.read(state)
        game.promised.clear()
        await game.database.write(end_leases)
        await collect_whole(game)
        _, after, held = await game.database.read(state)
        assert before == after == held
        assert len(before) == NAMED[name]
        await game.check()
