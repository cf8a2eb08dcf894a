"""Evaluations and comparisons over the wire: reports are read back, and every answer is bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from steelyard_server.api.pages import Pages
from steelyard_server.limits import LIMITS
from tests.api.calls import Refused, call
from tests.api.uploads import digest_of, put
from tests.servers import Running

MODEL = "default/fraud"
ONE = {"model": MODEL, "number": 1}
REPORT = b"<h1>report</h1>" * 50_000


async def create(running: Running, *, data: bytes = b"1", **content: Any) -> None:
    file = {"path": "model", "digest": await put(running.channel, data), "size_bytes": len(data)}
    await call(running.channel, "CreateVersion", {"model": MODEL, "content": {"files": [file], **content}})


@pytest.fixture
async def fraud(running: Running) -> Running:
    """Make a model with one version."""
    await call(
        running.channel,
        "CreateModel",
        {"name": MODEL, "metricDirections": {"f1": "METRIC_DIRECTION_HIGHER_IS_BETTER"}},
    )
    await create(running)
    return running


def metric(value: float | str = 0.5, name: str = "f1", **place: str) -> dict[str, Any]:
    return {"name": name, "value": value, **place}


async def record(running: Running, *metrics: dict[str, Any], version: Any = ONE, **fields: Any) -> Any:
    evaluation = {"metrics": list(metrics) or [metric()], **fields}
    answer = await call(running.channel, "RecordEvaluation", {"version": version, "evaluation": evaluation})
    return answer.evaluation


async def compare(running: Running, *numbers: int, **fields: Any) -> Any:
    versions = [{"model": MODEL, "number": number} for number in numbers]
    answer = await call(
        running.channel, "CompareVersions", {"namespace": "default", "versions": versions, **fields}
    )
    assert answer.ByteSize() <= LIMITS.page_bytes
    assert answer.sequence > 0
    return answer.comparison


async def test_what_was_recorded_is_listed_with_who_recorded_it(fraud: Running) -> None:
    answer = await call(
        fraud.channel,
        "RecordEvaluation",
        {
            "version": {"model": MODEL, "alias": "latest"},
            "evaluation": {
                "metrics": [metric("NaN", dataset="new", slice="region=EU")],
                "datasets": [{"name": "new", "version": "7"}],
                "evaluateTime": "2024-01-02T03:04:05.000006Z",
                "uri": "https://runs/7",
                "description": "again",
            },
            "reason": "monthly",
        },
        metadata=(("steelyard-actor", "service:evaluator"),),
    )
    (listed,) = (await call(fraud.channel, "ListEvaluations", {"version": ONE})).evaluations

    assert listed == answer.evaluation
    assert answer.sequence == listed.sequence > 0
    assert (listed.model, listed.number, listed.evaluator.id) == (MODEL, 1, "service:evaluator")
    assert listed.evaluate_time.ToJsonString() == "2024-01-02T03:04:05.000006Z"
    assert (listed.datasets[0].version, listed.uri, listed.description) == ("7", "https://runs/7", "again")
    assert not listed.HasField("report")


async def test_a_repeated_request_is_answered_alike_and_recorded_once(fraud: Running) -> None:
    request = {
        "version": ONE,
        "evaluation": {"metrics": [metric()]},
        "requestId": "6f1c2c34-8a5e-4b1e-9f63-0d0c1f6a5d11",
    }
    answers = await asyncio.gather(*(call(fraud.channel, "RecordEvaluation", request) for _ in range(20)))
    assert len({answer.SerializeToString() for answer in answers}) == 1
    assert len((await call(fraud.channel, "ListEvaluations", {"version": ONE})).evaluations) == 1
    request["evaluation"] = {"metrics": [metric(0.6)]}
    with pytest.raises(Refused, match="REQUEST_ID_REUSED"):
        await call(fraud.channel, "RecordEvaluation", request)


async def test_a_report_is_read_back_whole_and_in_part(fraud: Running) -> None:
    report = {"path": "r/report.html", "digest": await put(fraud.channel, REPORT), "size_bytes": len(REPORT)}
    recorded = await record(fraud, report=report)
    request = {"version": ONE, "evaluation": recorded.uid}
    header, *rest = await call(fraud.channel, "ReadFile", request)
    assert b"".join(message.data for message in rest) == REPORT
    assert (header.header.file.path, header.header.number) == ("r/report.html", 1)
    assert header.header.file == recorded.report
    _, part = await call(fraud.channel, "ReadFile", {**request, "offset": 3, "length": 6})
    assert part.data == REPORT[3:9]


async def test_what_is_no_report_is_refused(fraud: Running) -> None:
    recorded = await record(fraud)
    for fields, code, reason in (
        ({"evaluation": recorded.uid}, "NOT_FOUND", "FILE_NOT_FOUND"),
        ({"evaluation": "nothing"}, "NOT_FOUND", "EVALUATION_NOT_FOUND"),
        ({"evaluation": recorded.uid, "path": "model"}, "INVALID_ARGUMENT", "RESOURCE_MISMATCH"),
    ):
        with pytest.raises(Refused) as refused:
            await call(fraud.channel, "ReadFile", {"version": ONE, **fields})
        assert (refused.value.code, refused.value.reason) == (code, reason)


async def test_pages_of_evaluations_stay_with_the_version_and_within_their_limit(fraud: Running) -> None:
    metrics = [metric(0.1, name=f"{index:04}" + "m" * 200) for index in range(1000)]
    recorded = [(await record(fraud, *metrics)).uid for _ in range(6)]
    await record(fraud, metric(1), evaluateTime="1600-01-01T00:00:00Z")
    request: dict[str, Any] = {"version": {"model": MODEL, "alias": "latest"}, "pageSize": 1000}
    found, token, sizes = [], "", []
    while True:
        page = await call(fraud.channel, "ListEvaluations", {**request, "pageToken": token})
        sizes.append(page.ByteSize())
        found += page.evaluations
        if not (token := page.next_page_token):
            break
        await create(fraud, data=b"later %d" % len(sizes))
    assert [each.uid for each in found[:-1]] == recorded[::-1]
    assert {each.number for each in found} == {1}
    assert len(sizes) > 1
    assert max(sizes) <= LIMITS.page_bytes


@pytest.mark.parametrize(
    "text",
    ["", "1", "1/2", "1/2/x", "0/1/1", f"1/{1 << 64}/1", f"1/1/{1 << 63}", "-1/1/1", "1/1/1/1", "١/1/1"],
)
async def test_a_page_token_that_names_no_place_is_refused(fraud: Running, text: str) -> None:
    epoch = (await call(fraud.channel, "GetServerInfo")).epoch
    token = Pages(epoch).encode(("evaluations", MODEL, "number", 1), text)
    with pytest.raises(Refused, match="PAGE_TOKEN_INVALID"):
        await call(fraud.channel, "ListEvaluations", {"version": ONE, "pageToken": token})


async def test_a_comparison_has_what_differs_and_leaves_out_what_does_not(fraud: Running) -> None:
    schema = {"inputs": [{"name": "x", "type": "float32", "shape": ["-1", "4"]}]}
    source = {"commit": "abc", "repository": "https://code"}
    for data, value in ((b"2", 0.4), (b"3", 0.6)):
        await create(
            fraud,
            data=data,
            metrics=[metric(value, dataset="x")],
            parameters=[{"name": "depth", "integer": len(str(value))}, {"name": "eta", "real": value}],
            schema=schema,
            source=source,
            datasets=[{"name": "x", "role": "test", "digest": digest_of(b"x")}],
        )
    await record(fraud, metric(0.7), version={"model": MODEL, "number": 2})
    found = await compare(fraud, 2, 3)

    trained, evaluated = found.metrics
    assert [each.value for each in trained.values] == [0.4, 0.6]
    assert [each.best for each in trained.values] == [False, True]
    assert [each.HasField("value") for each in evaluated.values] == [True, False]
    assert (trained.evaluated, evaluated.evaluated, evaluated.values[0].best) == (False, True, False)
    assert [(each.name, [value.real for value in each.values]) for each in found.parameters] == [
        ("eta", [0.4, 0.6])
    ]
    (file,) = found.files
    assert (file.path, file.change, [each.digest for each in file.files]) == (
        "model",
        3,
        [digest_of(b"2"), digest_of(b"3")],
    )
    assert [each.path for each in file.files] == ["", ""]
    assert found.file_totals[1].changed_bytes == 1
    assert not found.schema_fields
    assert not found.datasets
    assert found.versions[0].content.source.commit == "abc"
    assert not found.versions[0].content.metrics
    assert not found.omitted.ListFields()


async def test_only_the_metrics_asked_for_are_compared(fraud: Running) -> None:
    for data in (b"2", b"3"):
        await create(
            fraud,
            data=data,
            metrics=[metric(1, name="a"), metric(2, name="b"), metric(3, name="b", dataset="x")],
        )
    found = await compare(fraud, 2, 3, metrics=[{"name": "b", "dataset": "x"}])
    assert [(each.name, each.dataset) for each in found.metrics] == [("b", "x")]


async def test_a_comparison_that_does_not_fit_says_how_much_is_left_out(fraud: Running) -> None:
    long = "p" * 150
    for number in range(2, 7):
        await create(
            fraud,
            data=b"data %d" % number,
            parameters=[{"name": f"{index:04}{long}", "text": f"{number}" * 120} for index in range(1500)],
            metrics=[metric(number, name=f"{index:03}{long}") for index in range(200)],
        )
    found = await compare(fraud, *range(2, 7))
    assert len(found.metrics) == 200
    assert found.omitted.metrics == 0
    assert 1500 > len(found.parameters) > 1000
    assert found.omitted.parameters == 1500 - len(found.parameters)
    assert found.omitted.files == 1 - len(found.files)
    assert [each.name for each in found.parameters] == sorted(each.name for each in found.parameters)


async def test_versions_whose_labels_alone_do_not_fit_are_refused(fraud: Running) -> None:
    labels = {f"key{index}": "x" * 4000 for index in range(15)}
    for number in range(2, 21):
        await create(fraud, data=b"data %d" % number)
        await call(
            fraud.channel, "UpdateVersion", {"version": {"model": MODEL, "number": number}, "labels": labels}
        )
    with pytest.raises(Refused) as refused:
        await compare(fraud, *range(1, 21))
    assert (refused.value.reason, refused.value.fields) == ("LIMIT_EXCEEDED", ["versions"])
    assert len((await compare(fraud, *range(1, 11))).versions) == 10
