"""Aliases: compare-and-set, history, and a rollback that walks back and never forward."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from steelyard_server import errors
from steelyard_server.core import aliases, versions
from steelyard_server.core.pointers import Alias
from steelyard_server.core.references import Reference
from steelyard_server.db.database import Database
from tests.contracts.registry import FRAUD, act, by_alias, create, everything, number

NAME: dict[str, Any] = {"model": FRAUD, "name": "champion"}


@pytest.fixture
async def five(registry: Database) -> Database:
    """Add five versions to the registry."""
    for seed in range(5):
        await create(registry, seed)
    return registry


async def put(database: Database, target: int, **options: Any) -> Alias:
    alias, _ = await database.write(aliases.put, act(), reference=number(target), name="champion", **options)
    return alias


async def rollback(database: Database, **options: Any) -> int:
    alias, _ = await database.write(aliases.rollback, act(), **NAME, **options)
    return alias.number


async def points_to(database: Database) -> int:
    return (await database.read(aliases.get, **NAME)).number


async def test_an_alias_points_to_one_version_and_is_shown_by_it(five: Database) -> None:
    alias = await put(five, 2)
    version = await five.read(versions.get, reference=by_alias("champion"))

    assert (alias.number, alias.digest) == (version.number, version.digest) == (2, version.digest)
    assert version.aliases == ["champion"]
    assert (await five.read(versions.get, reference=number(1))).aliases == ()


async def test_a_set_to_where_it_points_already_is_no_move(five: Database) -> None:
    first = await put(five, 2)
    before = await five.read(everything)
    assert replace(await put(five, 2), id=0) == first
    assert await five.read(everything) == before


async def test_of_many_that_saw_the_same_etag_one_moves_it(five: Database) -> None:
    first = await put(five, 1)
    moves = (put(five, target, etag=str(first.sequence)) for target in (2, 3, 4, 5))
    results = await asyncio.gather(*moves, return_exceptions=True)

    (winner,) = (result for result in results if isinstance(result, Alias))
    assert [type(result) for result in results].count(errors.AliasChanged) == 3
    assert await points_to(five) == winner.number


async def test_of_many_that_want_the_first_set_one_gets_it(five: Database) -> None:
    sets = (put(five, target, must_not_exist=True) for target in (1, 2, 3, 4))
    results = await asyncio.gather(*sets, return_exceptions=True)

    (winner,) = (result for result in results if isinstance(result, Alias))
    refused = [result for result in results if isinstance(result, errors.AliasChanged)]
    assert [error.metadata["number"] for error in refused] == [str(winner.number)] * 3


Refused = tuple[Callable[..., Any], dict[str, Any], type[errors.RegistryError]]
SET, BACK, REMOVE, MOVES = aliases.put, aliases.rollback, aliases.remove, aliases.moves
BOTH = errors.EtagInvalid
REFUSED: list[Refused] = [
    (SET, {"reference": number(9), "name": "champion"}, errors.VersionNotFound),
    (SET, {"reference": number(1, model="default/none"), "name": "x"}, errors.ModelNotFound),
    (SET, {"reference": by_alias("nobody"), "name": "x"}, errors.AliasNotFound),
    (SET, {"reference": number(1), "name": "latest"}, errors.ReservedName),
    (SET, {"reference": number(1), "name": "Latest"}, errors.ReservedName),
    (SET, {"reference": number(1), "name": "v2"}, errors.InvalidName),
    (SET, {"reference": number(1), "name": "nobody", "etag": "1"}, errors.AliasNotFound),
    (SET, {"reference": number(3), "name": "champion", "etag": "1"}, errors.AliasChanged),
    (SET, {"reference": number(3), "name": "champion", "etag": "x"}, errors.EtagInvalid),
    (SET, {"reference": number(3), "name": "champion", "etag": "1", "must_not_exist": True}, BOTH),
    (SET, {"reference": number(2), "name": "champion", "must_not_exist": True}, errors.AliasChanged),
    (BACK, {"model": FRAUD, "name": "champion"}, errors.NoRollbackTarget),
    (BACK, {"model": FRAUD, "name": "nobody"}, errors.AliasNotFound),
    (BACK, {"model": FRAUD, "name": "latest"}, errors.ReservedName),
    (BACK, {"model": FRAUD, "name": "champion", "etag": "1"}, errors.AliasChanged),
    (REMOVE, {"model": FRAUD, "name": "nobody"}, errors.AliasNotFound),
    (REMOVE, {"model": FRAUD, "name": "latest"}, errors.ReservedName),
    (REMOVE, {"model": FRAUD, "name": "champion", "etag": "1"}, errors.AliasChanged),
]  # fmt: skip


async def test_a_refused_move_changes_nothing(five: Database) -> None:
    await put(five, 2)
    before = await five.read(everything)
    for use_case, arguments, error in REFUSED:
        with pytest.raises(error):
            await five.write(use_case, act(), **arguments)
    assert await five.read(everything) == before


async def test_a_rollback_goes_one_set_back_and_a_second_one_further(five: Database) -> None:
    for target in (1, 2, 3):
        await put(five, target)

    assert [await rollback(five), await rollback(five)] == [2, 1]
    with pytest.raises(errors.NoRollbackTarget):
        await rollback(five)
    assert await points_to(five) == 1


async def test_a_set_after_a_rollback_goes_back_to_what_the_rollback_restored(five: Database) -> None:
    for target in (1, 2, 3):
        await put(five, target)
    await rollback(five)
    await put(five, 5)

    assert [await rollback(five), await rollback(five)] == [2, 1]


async def test_a_rollback_does_not_reach_behind_a_delete(five: Database) -> None:
    await put(five, 1)
    await five.write(aliases.remove, act(), **NAME)
    alias = await put(five, 2, must_not_exist=True)

    with pytest.raises(errors.NoRollbackTarget) as refused:
        await rollback(five)
    assert refused.value.metadata == {"model": FRAUD, "alias": "champion"}
    assert alias.number == 2


async def test_every_move_is_in_the_history_with_who_and_why(five: Database) -> None:
    why = act("grace", reason="better recall")
    await put(five, 1)
    await five.write(aliases.put, why, reference=number(2), name="champion")
    await five.write(aliases.put, act(), reference=number(3), name="canary")
    await rollback(five)
    await five.write(aliases.remove, act(), **NAME)
    of_one, _ = await five.read(aliases.moves, **NAME)
    of_all, _ = await five.read(aliases.moves, model=FRAUD)

    assert [(move.action, move.from_number, move.to_number) for move in of_one] == [
        ("delete", 1, 0),
        ("rollback", 2, 1),
        ("set", 1, 2),
        ("set", 0, 1),
    ]
    assert (of_one[2].actor["id"], of_one[2].reason) == ("grace", "better recall")
    assert [move.alias for move in of_all] == ["champion", "champion", "canary", "champion", "champion"]
    times = [move.move_time for move in of_all]
    assert times == sorted(times, reverse=True)


async def test_pages_of_moves_follow_each_other(five: Database) -> None:
    for target in (1, 2, 3, 4, 5):
        await put(five, target)
    first, more = await five.read(aliases.moves, **NAME, page_size=3)
    rest, more_after = await five.read(aliases.moves, **NAME, page_size=3, after=first[-1].sequence)

    assert [move.to_number for move in first + rest] == [5, 4, 3, 2, 1]
    assert (more, more_after) == (True, False)


async def test_an_alias_can_be_read_as_it_was(five: Database) -> None:
    times = [(await put(five, target)).update_time for target in (1, 2)]
    await five.write(aliases.remove, act(), **NAME)

    for target, read_time in zip((1, 2), times, strict=True):
        then = await five.read(aliases.get, **NAME, read_time=read_time)
        listed, _ = await five.read(aliases.page, model=FRAUD, read_time=read_time)
        version = await five.read(versions.get, reference=by_alias("champion"), read_time=read_time)
        assert then.number == listed[0].number == version.number == target
    for never in (times[0] - 1, None):
        with pytest.raises(errors.AliasNotFound):
            await five.read(aliases.get, **NAME, read_time=never)


async def test_latest_is_the_newest_version_and_cannot_be_listed(five: Database) -> None:
    latest = await five.read(aliases.get, model=FRAUD, name="latest")
    await create(five, 6)

    assert latest.number == 5
    assert (await five.read(versions.get, reference=Reference(FRAUD, "alias", "latest"))).number == 6
    assert await five.read(aliases.page, model=FRAUD) == ([], False)
