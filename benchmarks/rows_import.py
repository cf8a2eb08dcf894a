"""Imports of bundles with many small versions, on both databases."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import sample, servers
from benchmarks.measure import STEELYARD, Goal, Row, Run, child
from benchmarks.servers import Served
from steelyard import Client
from steelyard.v1 import content_pb2
from steelyard.v1 import version_service_pb2 as pb

POSTGRESQL = "Steelyard on PostgreSQL"
GOAL_PER_SECOND = 500
BATCH = 40
# An evaluation takes a call of its own, and several times as long as a version.
EVALUATED = 20


def import_(run: Run) -> Row:
    """Measure an import into a new model, from the first byte of the bundle to the last alias."""
    count = run.choose(10_000, 1_000)
    with ExitStack() as stack:
        bundle = _bundle(run, count=count)
        url = stack.enter_context(servers.postgresql())
        subjects = {
            STEELYARD: _importing(
                stack.enter_context(servers.steelyard(run.directory())), bundle, count=count
            ),
            POSTGRESQL: _importing(
                stack.enter_context(servers.steelyard(run.directory(), database=url)), bundle, count=count
            ),
        }
        samples = run.in_turn(subjects)
    goals = tuple(
        Goal(
            f"{what}: at least {GOAL_PER_SECOND}/s",
            samples[name].median,
            GOAL_PER_SECOND,
            at_least=True,
            unit="/s",
        )
        for name, what in ((STEELYARD, "SQLite"), (POSTGRESQL, "PostgreSQL"))
    )
    notes = (
        f"each version has 3 files, which all share, and 3 metrics; one in {EVALUATED} has an evaluation",
        "the check of the bundle is in the time",
        "PostgreSQL runs without fsync",
    )
    return Row(f"import {count:,} versions", "versions/s", samples, goals, notes)


def _bundle(run: Run, *, count: int) -> Path:
    """Export a model of *count* versions from a registry that is thrown away."""
    directory, random_ = run.directory(), random.Random(0)  # noqa: S311 - any numbers will do
    tree = directory / "model"
    tree.mkdir()
    for path in sample.FILES:
        (tree / path).write_text(path)
    run.say(f"making a bundle of {count:,} versions")
    home = run.directory()
    with servers.steelyard(home) as served, Client(served.address, cache_dir=home / "cache") as client:
        files = client.push(sample.MODEL, tree).version.message.content.files
        for start in range(1, count, BATCH):
            requests = [
                pb.CreateVersionRequest(
                    content=content_pb2.Content(
                        files=files,
                        metrics=[
                            content_pb2.Metric(name=each, value=random_.random()) for each in sample.METRICS
                        ],
                    )
                )
                for _ in range(min(BATCH, count - start))
            ]
            client.versions.batch_create(sample.MODEL, requests)
        for number in range(EVALUATED, count + 1, EVALUATED):
            client.evaluations.record(f"{sample.MODEL}:{number}", {"auc@new": random_.random()})
        return client.export_bundle(sample.MODEL, directory / "many.bundle").path


def _importing(served: Served, bundle: Path, *, count: int) -> Callable[[], float]:
    rounds = itertools.count()

    def import_once() -> float:
        """Return versions per second."""
        into, cache = f"default/round-{next(rounds)}", str(bundle.parent / "cache")
        job = {"do": "import_bundle", "path": str(bundle), "into": into, "cache": cache}
        done = child("client_job", address=served.address, **job)
        assert done["created"] == count
        return count / float(done["seconds"])

    return import_once


ROWS: dict[str, Callable[[Run], Row]] = {"import": import_}
