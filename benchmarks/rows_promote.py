"""Promotions through a policy that wants no approval, beside moves of an alias that none protects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import steelyard
from benchmarks import fill_promoted, servers
from benchmarks.measure import STEELYARD, Row, Run, at_most, child
from benchmarks.sample import MODEL, PROTECTED
from benchmarks.servers import Served

POSTGRESQL = "Steelyard on PostgreSQL"
MOVE, MOVE_ON_POSTGRESQL = "an alias move", "an alias move on PostgreSQL"
GOAL_MS = 5


def promote(run: Run) -> Row:
    """Measure how much longer a promotion takes than a move of an alias, for one caller."""
    with ExitStack() as stack:
        sqlite = _served(run, stack, database="")
        other = _served(run, stack, database=stack.enter_context(servers.postgresql()))
        subjects = {
            STEELYARD: partial(_promote_ms, run, sqlite),
            MOVE: partial(_move_ms, run, sqlite),
            POSTGRESQL: partial(_promote_ms, run, other),
            MOVE_ON_POSTGRESQL: partial(_move_ms, run, other),
        }
        samples = run.in_turn(subjects)
    pairs = (("SQLite", STEELYARD, MOVE), ("PostgreSQL", POSTGRESQL, MOVE_ON_POSTGRESQL))
    goals = tuple(
        at_most(
            GOAL_MS,
            "ms",
            samples[longer].median - samples[shorter].median,
            what=f"{name}, beyond an alias move:",
        )
        for name, longer, shorter in pairs
    )
    notes = (
        f"each sample is the p50 of one caller; the checks are {', '.join(fill_promoted.CHECKS.values())}",
        "every promotion passes and moves the alias; PostgreSQL runs without fsync, for both",
    )
    title = "promote a version with three checks and no approvals (durable), p50"
    return Row(title, "ms", samples, goals, notes)


def _served(run: Run, stack: ExitStack, *, database: str) -> Served:
    directory = run.directory()
    run.say(f"filling {'PostgreSQL' if database else 'SQLite'}")
    location: str | Path = database or directory / "registry.db"
    asyncio.run(fill_promoted.fill(location, directory=directory))
    profile = run.profile("promote")
    return stack.enter_context(servers.steelyard(directory, database=database, profile=profile))


def _promote_ms(run: Run, served: Served) -> float:
    with steelyard.Client(served.address) as client:
        there = client.versions.get(f"{MODEL}@{PROTECTED}").number
    return _p50_ms(run, served, call="promote", after=there)


def _move_ms(run: Run, served: Served) -> float:
    return _p50_ms(run, served, call="alias")


def _p50_ms(run: Run, served: Served, **job: Any) -> float:
    seconds = run.choose(4, 1)
    usual = {"model": MODEL, "callers": 1, "seconds": seconds, "floor": False}
    return float(child("load", address=served.address, **usual, **job)["p50_ms"])


ROWS: dict[str, Callable[[Run], Row]] = {"promote": promote}
