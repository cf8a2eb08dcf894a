"""Evaluations are appended, and of several measures of one metric the newest counts, on both databases."""

from __future__ import annotations

import asyncio
import itertools
import math
import uuid
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from steelyard_server import errors
from steelyard_server.core import aliases, blobs, evaluations, models, namespaces, requests, versions
from steelyard_server.core.content import Dataset, File, Metric
from steelyard_server.core.evaluations import Draft, Evaluation
from steelyard_server.db import tables
from steelyard_server.db.database import Database
from steelyard_server.history import events
from steelyard_server.history.act import RequestKey
from steelyard_server.limits import LIMITS
from tests.contracts.registry import BLOB, FRAUD, act, by_alias, create, everything, number

SECOND = 1_000_000
# A moment well before now.
THEN = 1_700_000_000 * SECOND
REPORT = File("report.html", BLOB[0], size_bytes=BLOB[1], role="doc")
ELSEWHERE = ("sha256:" + "e" * 64, 3)


@pytest.fixture
async def measured(registry: Database) -> Database:
    """Add a version to measure."""
    await create(registry, 1)
    return registry


def metric(value: float, name: str = "precision", dataset: str = "newdata", slice_: str = "") -> Metric:
    return Metric(name, dataset, slice_, value)


async def record(
    database: Database, *metrics: Metric, target: int = 1, at: int | None = None, **draft: Any
) -> Evaluation:
    """Record metrics that were measured *at* seconds after THEN, or now."""
    time = None if at is None else THEN + at * SECOND
    recorded: evaluations.Recorded = await database.write(
        evaluations.record,
        act("eve"),
        reference=number(target),
        draft=Draft(metrics or (metric(0.5),), evaluate_time=time, **draft),
    )
    return recorded.evaluation


async def counting(database: Database) -> dict[str, str]:
    """Return the measures that count, by metric."""
    rows = await database.read(lambda tx: tx.all(select(tables.evaluated_metrics)))
    return {f"{row.name}@{row.dataset}[{row.slice}]": row.value_text for row in rows}


async def listed(database: Database, *, page_size: int = 0) -> list[Evaluation]:
    found: list[Evaluation] = []
    before, more = None, True
    while more:
        page, more, _ = await database.read(
            evaluations.page, reference=number(1), before=before, page_size=page_size
        )
        found += page
        before = (found[-1].evaluate_time, found[-1].sequence) if found else None
    return found


async def test_an_evaluation_is_kept_as_it_was_recorded(measured: Database) -> None:
    metrics = (metric(0.9), metric(-0.0, slice_="region=EU"), metric(math.inf, name="loss", dataset=""))
    recorded = await record(
        measured,
        *metrics,
        at=5,
        datasets=(Dataset("newdata", version="7", uri="s3://new", digest=BLOB[0], role="live"),),
        uri="https://runs/7",
        report=REPORT,
        description="two\nlines",
    )
    (found,) = await listed(measured)

    assert found == recorded
    assert (found.model, found.number, found.evaluate_time) == (FRAUD, 1, THEN + 5 * SECOND)
    assert found.metrics == metrics
    assert math.copysign(1, found.metrics[1].value) == -1
    assert (found.report, found.uri, found.description) == (REPORT, "https://runs/7", "two\nlines")
    assert found.evaluator["id"] == "eve"
    assert found.superseded == ()
    assert found.create_time > found.evaluate_time


async def test_the_version_itself_does_not_change(measured: Database) -> None:
    before = await measured.read(versions.get, reference=number(1))
    await record(measured)
    assert await measured.read(versions.get, reference=number(1)) == before


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))), ids=str)
async def test_the_newest_measure_counts_in_whatever_order_they_are_recorded(
    measured: Database, order: tuple[int, ...]
) -> None:
    for time in order:
        await record(measured, metric(time / 10), at=time)
    assert await counting(measured) == {"precision@newdata[]": "0.3"}
    found = await listed(measured)
    assert [each.metrics[0].value for each in found] == [0.3, 0.2, 0.1]
    assert [each.superseded for each in found] == [(), (0,), (0,)]


async def test_of_two_measures_of_one_moment_the_later_recorded_counts(measured: Database) -> None:
    for value in (0.9, 0.1):
        await record(measured, metric(value), at=1)
    assert await counting(measured) == {"precision@newdata[]": "0.1"}
    assert [each.metrics[0].value for each in await listed(measured)] == [0.1, 0.9]


async def test_a_late_arrival_says_which_of_its_measures_do_not_count(measured: Database) -> None:
    await record(measured, metric(0.9), at=9)
    late = await record(measured, metric(0.5, name="recall"), metric(0.1), at=1)
    assert late.superseded == (1,)
    assert await counting(measured) == {"precision@newdata[]": "0.9", "recall@newdata[]": "0.5"}


async def test_metric_dataset_and_slice_together_are_what_is_superseded(measured: Database) -> None:
    first = (metric(1.0), metric(2.0, slice_="a"), metric(3.0, dataset="other"), metric(4.0, dataset=""))
    await record(measured, *first, at=1)
    await record(measured, metric(5.0, slice_="a"), at=2)
    assert sorted((await counting(measured)).values()) == ["1", "3", "4", "5"]
    assert [each.superseded for each in await listed(measured)] == [(), (1,)]


async def test_versions_do_not_supersede_each_other(measured: Database) -> None:
    await create(measured, 2)
    await record(measured, metric(0.1), at=1)
    await record(measured, metric(0.9), target=2, at=2)
    rows = await measured.read(lambda tx: tx.all(select(tables.evaluated_metrics)))
    assert sorted((row.number, row.value) for row in rows) == [(1, 0.1), (2, 0.9)]


async def test_columns_are_those_that_both_databases_compare_alike(measured: Database) -> None:
    values = {"nan": math.nan, "minus zero": -0.0, "infinity": -math.inf}
    await record(measured, *(metric(value, name=name) for name, value in values.items()))
    rows = await measured.read(lambda tx: tx.all(select(tables.evaluated_metrics)))

    assert {row.name: (row.value, row.value_text) for row in rows} == {
        "nan": (None, "NaN"),
        "minus zero": (0.0, "-0"),
        "infinity": (-math.inf, "-Infinity"),
    }
    assert all(math.copysign(1, row.value) == 1 for row in rows if row.value == 0)


async def test_a_number_supersedes_nan_and_nan_a_number(measured: Database) -> None:
    for time, value in enumerate((math.nan, 0.5, math.nan)):
        await record(measured, metric(value), at=time)
        assert await counting(measured) == {"precision@newdata[]": "NaN" if math.isnan(value) else "0.5"}


async def test_of_many_recorded_at_once_the_newest_counts_and_all_are_kept(measured: Database) -> None:
    times = [7, 3, 29, 1, 30, 12, 5, 28, 30, 2, 17, 30, 9, 22, 11, 4]
    recorded = await asyncio.gather(*(record(measured, metric(time), at=time) for time in times))
    newest = max(recorded, key=lambda each: (each.evaluate_time, each.sequence))
    rows = await measured.read(lambda tx: tx.all(select(tables.evaluated_metrics)))

    assert [row.evaluation_id for row in rows] == [newest.id]
    found = await listed(measured)
    assert [each.sequence for each in found if not each.superseded] == [newest.sequence]
    assert sorted(each.uid for each in found) == sorted(each.uid for each in recorded)
    assert found == sorted(found, key=lambda each: (each.evaluate_time, each.sequence), reverse=True)


async def test_a_request_that_is_repeated_is_recorded_once(measured: Database) -> None:
    key = RequestKey("RecordEvaluation", str(uuid.uuid4()), "sha256:1")

    async def retry() -> bytes:
        draft = Draft((metric(0.5),))
        answer: bytes = await measured.write(
            requests.once,
            replace(act(), request=key),
            evaluations.record,
            lambda each: each.evaluation.uid.encode(),
            reference=number(1),
            draft=draft,
        )
        return answer

    answers = await asyncio.gather(*(retry() for _ in range(8)))
    assert [each.uid.encode() for each in await listed(measured)] == [answers[0]]
    assert set(answers) == {answers[0]}


REFUSED: list[tuple[dict[str, Any], type[errors.RegistryError], str]] = [
    ({"metrics": ()}, errors.FieldRequired, "evaluation.metrics"),
    ({"metrics": (metric(1), metric(2))}, errors.DuplicateKey, "evaluation.metrics"),
    ({"metrics": (metric(1, name=""),)}, errors.FieldRequired, "evaluation.metrics[0].name"),
    ({"metrics": (metric(1, dataset="", slice_="a"),)}, errors.FieldRequired,
     "evaluation.metrics[0].dataset"),
    ({"datasets": (Dataset("a", digest="md5:1"),)}, errors.DigestInvalid, "evaluation.datasets[0].digest"),
    ({"datasets": (Dataset("a"), Dataset("a"))}, errors.DuplicateKey, "evaluation.datasets"),
    ({"uri": "a\nb"}, errors.ControlCharacters, "evaluation.uri"),
    ({"description": "a\0b"}, errors.ControlCharacters, "evaluation.description"),
    ({"report": replace(REPORT, path="../a")}, errors.InvalidFilePath, "evaluation.report.path"),
    ({"report": replace(REPORT, digest="")}, errors.DigestInvalid, "evaluation.report.digest"),
    ({"report": replace(REPORT, size_bytes=-1)}, errors.OutOfBounds, "evaluation.report.size_bytes"),
    ({"report": replace(REPORT, size_bytes=8)}, errors.SizeMismatch, "evaluation.report.size_bytes"),
    ({"report": replace(REPORT, uri="s3://a")}, errors.InvalidText, "evaluation.report.uri"),
    ({"report": replace(REPORT, digest=ELSEWHERE[0])}, errors.BlobMissing, ""),
    ({"metrics": tuple(metric(1, name=f"{n:03}" + "m" * 240, slice_="s" * 240) for n in range(1200))},
     errors.LimitExceeded, "evaluation.metrics"),
]  # fmt: skip


@pytest.mark.parametrize(("draft", "error", "field"), REFUSED)
async def test_what_is_wrong_is_refused_with_its_field_and_nothing_is_recorded(
    measured: Database, draft: dict[str, Any], error: type[errors.RegistryError], field: str
) -> None:
    before = await measured.read(everything)
    with pytest.raises(error) as refused:
        await measured.write(
            evaluations.record,
            act(),
            reference=number(1),
            draft=Draft(**({"metrics": (metric(1),)} | draft)),
        )
    assert refused.value.field == field
    assert await measured.read(everything) == before


async def test_a_report_that_only_another_namespace_holds_is_missing_here(measured: Database) -> None:
    await measured.write(namespaces.create, act(), name="other")
    await measured.write(blobs.record, namespace="other", blobs=[ELSEWHERE])
    with pytest.raises(errors.BlobMissing) as refused:
        await record(measured, report=File("a", ELSEWHERE[0], size_bytes=ELSEWHERE[1]))
    assert refused.value.metadata == {"namespace": "default", "count": "1", "digests": ELSEWHERE[0]}


async def test_a_report_is_found_by_its_evaluation_and_its_version_alone(measured: Database) -> None:
    await create(measured, 2)
    recorded = await record(measured, report=REPORT)
    without = await record(measured)
    found = await measured.read(
        evaluations.find_report, reference=number(1), evaluation=recorded.uid, offset=BLOB[1]
    )
    assert found == (REPORT, 1, recorded.digest)
    for target, uid, error in (
        (2, recorded.uid, errors.EvaluationNotFound),
        (1, "nothing", errors.EvaluationNotFound),
        (1, without.uid, errors.FileNotFound),
    ):
        with pytest.raises(error):
            await measured.read(evaluations.find_report, reference=number(target), evaluation=uid)
    with pytest.raises(errors.OffsetOutOfRange):
        await measured.read(
            evaluations.find_report, reference=number(1), evaluation=recorded.uid, offset=BLOB[1] + 1
        )


async def test_the_future_is_refused_beyond_the_difference_of_clocks(measured: Database) -> None:
    now = (await record(measured)).create_time
    soon = await record(measured, metric(1), at=(now - THEN) // SECOND + LIMITS.clock_seconds - 5)
    assert soon.evaluate_time > soon.create_time
    with pytest.raises(errors.TimestampInvalid, match="here it is"):
        await measured.write(
            evaluations.record,
            act(),
            reference=number(1),
            draft=Draft((metric(1),), evaluate_time=now + (LIMITS.clock_seconds + 600) * SECOND),
        )


async def test_without_a_time_it_was_measured_when_it_was_recorded(measured: Database) -> None:
    recorded = await record(measured)
    assert recorded.evaluate_time == recorded.create_time


async def test_the_metrics_of_all_evaluations_of_a_version_are_bounded(
    measured: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "evaluated_metrics_count", 3)
    await record(measured, metric(1, name="a"), metric(1, name="b"))
    await record(measured, metric(2, name="a"), metric(1, name="c"))
    before = await measured.read(everything)
    with pytest.raises(errors.LimitExceeded):
        await record(measured, metric(1, name="d"))
    assert await measured.read(everything) == before


async def test_pages_follow_each_other_while_others_are_recorded(measured: Database) -> None:
    for time in (1, 2, 2, 2, 3, 4, 4):
        await record(measured, at=time)
    expected = [each.uid for each in await listed(measured)]

    found: list[str] = []
    before, more = None, True
    while more:
        page, more, _ = await measured.read(evaluations.page, reference=number(1), before=before, page_size=2)
        found += [each.uid for each in page]
        before = (page[-1].evaluate_time, page[-1].sequence)
        await record(measured, at=10 + len(found))
    assert found == expected


async def test_an_evaluation_goes_to_the_version_that_an_alias_means_now(measured: Database) -> None:
    await create(measured, 2)
    await measured.write(aliases.put, act(), reference=number(2), name="champion")
    await measured.write(models.rename, act(), name=FRAUD, new_name="default/scam")
    recorded = await measured.write(
        evaluations.record, act(), reference=by_alias("champion"), draft=Draft((metric(1),))
    )
    found = recorded.evaluation
    assert (found.model, found.number) == ("default/scam", 2)
    for reference, error in (
        (number(3), errors.VersionNotFound),
        (by_alias("nobody"), errors.AliasNotFound),
        (number(1, model="default/none"), errors.ModelNotFound),
    ):
        with pytest.raises(error):
            await measured.write(evaluations.record, act(), reference=reference, draft=Draft((metric(1),)))


async def test_a_time_before_1970_is_kept(measured: Database) -> None:
    old = -62_135_596_800 * SECOND
    recorded = await record(measured, metric(1), at=(old - THEN) // SECOND)
    assert events.time_text(recorded.evaluate_time).startswith("0001-01-01")
    assert (await listed(measured))[0].evaluate_time == old
