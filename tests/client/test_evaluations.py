"""Evaluations and comparisons by the client: values are typed, reports go up and come down verified."""

from __future__ import annotations

import asyncio
import math
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

import steelyard
from steelyard import errors, reasons
from tests.client.trees import MODEL, write_tree
from tests.servers import ServerProcess

TIME = datetime(2026, 10, 1, 12, 0, 0, 5, tzinfo=UTC)


@pytest.fixture
def model(client: steelyard.Client, tmp_path: Path) -> str:
    """Push two versions of `fraud`; return its full name."""
    client.models.create("fraud", metric_directions={"precision": "higher-is-better"})
    directory = write_tree(tmp_path / "model", MODEL)
    first = client.push(
        "fraud", directory, metrics={"precision@holdout": 0.9}, parameters={"depth": 4, "on": True}
    )
    write_tree(directory, {"config.json": b"{}", "new.txt": b"new"})
    client.push("fraud", directory, metrics={"precision@holdout": 0.8}, parameters={"depth": 4.0, "on": True})
    return first.version.model


def test_an_evaluation_is_recorded_and_listed(client: steelyard.Client, model: str) -> None:
    recorded = client.evaluations.record(
        "fraud:1",
        {"precision@newdata[region=EU]": 0.9, "loss": math.nan},
        datasets=[steelyard.Dataset("newdata", version="7")],
        evaluate_time=TIME,
        uri="https://runs/7",
        description="monthly",
    )
    (listed,) = client.evaluations.list("fraud:1")
    assert listed.message == recorded.message
    assert (recorded.model, recorded.number, recorded.evaluate_time) == (model, 1, TIME)
    assert recorded.metrics["precision@newdata[region=EU]"] == 0.9
    assert math.isnan(recorded.metrics["loss"])
    assert recorded.datasets == (steelyard.Dataset("newdata", version="7"),)
    assert (recorded.uri, recorded.description, recorded.report) == ("https://runs/7", "monthly", None)
    assert recorded.superseded == frozenset()
    assert recorded.evaluator.id == "ada"


def test_a_dataset_that_no_metric_was_measured_on_is_refused(client: steelyard.Client, model: str) -> None:
    """It would change what counts although it was mistyped, and nothing can take it back."""
    datasets = [steelyard.Dataset("nw", version="7")]
    for metrics, near in (
        ({"precision@new": 0.9, "loss": 1}, "; did you mean 'new'?"),
        ({"loss": 1}, "; write name@nw"),
    ):
        with pytest.raises(errors.InvalidArgument, match=re.escape(f"No metric was measured on 'nw'{near}")):
            client.evaluations.record("fraud:1", metrics, datasets=datasets)
    assert list(client.evaluations.list("fraud:1")) == []


def test_times_of_other_zones_are_the_same_moments(client: steelyard.Client, model: str) -> None:
    elsewhere = TIME.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert client.evaluations.record("fraud:1", {"a": 1}, evaluate_time=elsewhere).evaluate_time == TIME
    with pytest.raises(errors.InvalidArgument, match="no time zone"):
        client.evaluations.record("fraud:1", {"a": 1}, evaluate_time=TIME.replace(tzinfo=None))


def test_a_late_arrival_says_that_it_does_not_count(client: steelyard.Client, model: str) -> None:
    client.evaluations.record("fraud:1", {"a": 1, "b": 1})
    late = client.evaluations.record("fraud:1", {"a": 2, "c": 2}, evaluate_time=TIME - timedelta(days=999))
    assert late.superseded == {"a"}


def test_a_report_goes_up_and_comes_down_verified(
    client: steelyard.Client, model: str, tmp_path: Path
) -> None:
    for name, data in (("report.html", b"<p>" * 500_000), ("empty.txt", b"")):
        write_tree(tmp_path, {name: data})
        recorded = client.evaluations.record("fraud:1", {"a": 1}, report=tmp_path / name)
        assert recorded.report is not None
        assert (recorded.report.path, recorded.report.role) == (name, "doc" if data else "other")
        found = client.evaluations.get("fraud:1", recorded.uid)
        assert client.evaluations.read_report(found) == data


def test_what_is_no_report_is_refused(client: steelyard.Client, model: str, tmp_path: Path) -> None:
    for path, error in (
        (tmp_path / "nothing", errors.LocalFileError),
        (tmp_path, errors.InvalidArgument),
    ):
        with pytest.raises(error):
            client.evaluations.record("fraud:1", {"a": 1}, report=path)
    without = client.evaluations.record("fraud:1", {"a": 1})
    with pytest.raises(reasons.FileNotFound):
        client.evaluations.read_report(without)
    with pytest.raises(reasons.EvaluationNotFound):
        client.evaluations.get("fraud:2", without.uid)
    assert len(list(client.evaluations.list("fraud:1"))) == 1


def test_a_version_must_be_named_to_be_evaluated(client: steelyard.Client, model: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="names no version"):
        client.evaluations.record("fraud", {"a": 1})
    with pytest.raises(reasons.FieldRequired):
        client.evaluations.record("fraud:1", {})


def test_versions_are_compared(client: steelyard.Client, model: str) -> None:
    client.evaluations.record("fraud:2", {"precision@newdata": 0.7})
    found = client.compare(["fraud:1", client.get("fraud:2")])

    trained, evaluated = found.metrics
    assert (trained.metric, trained.values, trained.best) == ("precision@holdout", (0.9, 0.8), (True, False))
    assert (trained.direction, trained.evaluated, trained.dataset_mismatch) == (
        "higher-is-better",
        False,
        False,
    )
    assert (evaluated.metric, evaluated.values, evaluated.evaluated) == (
        "precision@newdata",
        (None, 0.7),
        True,
    )
    (depth,) = found.parameters
    assert (depth.name, depth.values, [type(value) for value in depth.values]) == (
        "depth",
        (4, 4.0),
        [int, float],
    )
    assert [(each.path, each.change) for each in found.files] == [
        ("config.json", "changed"),
        ("new.txt", "added"),
    ]
    assert found.files[1].files[0] is None
    assert (found.file_totals[1].added_bytes, found.file_totals[1].changed_bytes) == (3, 2)
    assert found.omitted == {}
    assert [str(version) for version in found.versions] == [f"{model}:1", f"{model}:2"]
    assert found.names == (":1", ":2")


def test_metrics_to_compare_are_named_by_their_text(client: steelyard.Client, model: str) -> None:
    client.evaluations.record("fraud:1", {'"top@5"@holdout': 0.5, "recall": 0.4})
    refs = ["fraud:1", "fraud:2"]
    assert [each.metric for each in client.compare(refs, metrics=['"top@5"']).metrics] == ['"top@5"@holdout']
    assert client.compare(refs, metrics=["precision@other"]).metrics == ()
    with pytest.raises(errors.InvalidArgument, match="names no metric"):
        client.compare(refs, metrics=["a[b]"])


def test_what_cannot_be_compared_is_an_error_by_its_reason(client: steelyard.Client, model: str) -> None:
    for refs, error in (
        ([], reasons.OutOfBounds),
        (["fraud:1"], reasons.OutOfBounds),
        (["fraud:2", "fraud"], reasons.DuplicateKey),
        (["fraud:1", "default/fraud:1"], reasons.ResourceMismatch),
        (["fraud:1", "fraud@nobody"], reasons.AliasNotFound),
    ):
        with pytest.raises(error):
            client.compare(refs)


def test_the_same_calls_can_be_awaited(shared: ServerProcess, client: steelyard.Client, model: str) -> None:
    source = Path(__file__)
    text = source.read_bytes()

    async def job() -> None:
        async with steelyard.AsyncClient(shared.address) as other:
            recorded = await other.evaluations.record(f"{model}:1", {"a": 1}, report=source)
            assert [each.uid async for each in other.evaluations.list(f"{model}:1")] == [recorded.uid]
            assert await other.evaluations.read_report(recorded) == text
            compared = await other.compare([f"{model}:1", f"{model}:2"])
            assert [each.metric for each in compared.metrics] == ["precision@holdout", "a"]

    asyncio.run(job())
