"""Filters and orders over the wire: a wrong one says where, a hostile one gets no further, pages go on."""

# ruff: noqa: E501  one row of a table on one line

from __future__ import annotations

from typing import Any

import pytest

from steelyard_server.limits import LIMITS
from tests.api.calls import Refused, call
from tests.api.uploads import put
from tests.servers import Running

FRAUD = "default/fraud"
MEGABYTE = 1_000_000
BAD = [
    ("unknown field", "ListVersions", {"filter": "nmber = 1"}, "FILTER_INVALID"),
    ("unknown field of models", "ListModels", {"filter": "stage = a"}, "FILTER_INVALID"),
    ("unknown order", "ListVersions", {"order_by": "nmber"}, "ORDER_BY_INVALID"),
    ("order of several values", "ListModels", {"order_by": "owners"}, "ORDER_BY_INVALID"),
    ("unbalanced", "ListVersions", {"filter": "(number = 1"}, "FILTER_INVALID"),
    ("over-deep", "ListVersions", {"filter": "(" * 40 + "a" + ")" * 40}, "FILTER_INVALID"),
    ("NUL", "ListVersions", {"filter": "a\u0000"}, "FILTER_INVALID"),
    ("filter of 1 MB", "ListVersions", {"filter": "a" * MEGABYTE}, "TOO_LONG"),
    ("filter of 1 MB of models", "ListModels", {"filter": "(" * MEGABYTE}, "TOO_LONG"),
    ("order of 1 MB", "ListVersions", {"order_by": "a," * (MEGABYTE // 2)}, "TOO_LONG"),
    ("token of 1 MB", "ListVersions", {"page_token": "a" * MEGABYTE}, "PAGE_TOKEN_INVALID"),
    ("compared with NaN", "ListVersions", {"filter": "metrics.a = NaN"}, "FILTER_INVALID"),
    ("ambiguous metric", "ListVersions", {"filter": "metrics.auc > 0"}, "METRIC_AMBIGUOUS"),
    ("ambiguous order", "ListVersions", {"model": "default/-", "order_by": "metrics.auc"}, "METRIC_AMBIGUOUS"),
    ("ambiguous evaluation", "ListVersions", {"filter": "evaluations.f1 > 0"}, "METRIC_AMBIGUOUS"),
    ("half a name", "ListVersions", {"model": "-"}, "INVALID_RESOURCE_NAME"),
    ("no such namespace", "ListVersions", {"model": "nowhere/-"}, "NAMESPACE_NOT_FOUND"),
    ("all models, one asked for", "GetModel", {"name": "default/-"}, "RESERVED_NAME"),
    ("all models, created", "CreateModel", {"name": "default/-"}, "RESERVED_NAME"),
]  # fmt: skip
SCOPES = {"ListVersions": {"model": FRAUD}, "ListModels": {"namespace": "default"}}


def measured(name: str, *at: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "dataset": dataset, "value": value} for dataset, value in at]


async def create(running: Running, data: bytes, **content: Any) -> None:
    file = {"path": "model", "digest": await put(running.channel, data), "size_bytes": len(data)}
    await call(running.channel, "CreateVersion", {"model": FRAUD, "content": {"files": [file], **content}})


async def evaluate(running: Running, number: int, metrics: list[dict[str, Any]]) -> None:
    version = {"model": FRAUD, "number": number}
    request = {"version": version, "evaluation": {"metrics": metrics}}
    await call(running.channel, "RecordEvaluation", request)


async def end(running: Running, number: int) -> None:
    version = {"model": FRAUD, "number": number}
    for rpc in ("DeleteVersion", "PurgeVersion"):
        await call(running.channel, rpc, {"version": version})


async def listed(running: Running, *, scope: str = FRAUD, **query: Any) -> list[int]:
    """List the numbers of all pages."""
    found, token = list[int](), ""
    while not found or token:
        request = {"model": scope, "page_token": token, **query}
        answer = await call(running.channel, "ListVersions", request)
        found += [version.number for version in answer.versions]
        if not (token := answer.next_page_token):
            break
    return found


@pytest.fixture
async def registry(running: Running) -> Running:
    """Make a model of three versions with metrics of several datasets, and one without."""
    await call(running.channel, "CreateModel", {"name": FRAUD})
    await create(running, b"1", metrics=measured("auc", ("holdout", 0.5), ("test", 0.7)))
    await create(running, b"2", metrics=measured("auc", ("holdout", "NaN")))
    await create(running, b"3", metrics=measured("auc", ("holdout", 0.9)))
    await create(running, b"4")
    await evaluate(running, 1, measured("f1", ("new", 0.8), ("old", "Infinity")))
    await evaluate(running, 2, measured("f1", ("new", "NaN")))
    await evaluate(running, 3, measured("f1", ("new", 0.6)))
    return running


async def test_what_is_wrong_is_refused_with_its_reason(registry: Running) -> None:
    for name, rpc, fields, reason in BAD:
        with pytest.raises(Refused) as refused:
            await call(registry.channel, rpc, SCOPES.get(rpc, {}) | fields)
        assert refused.value.reason == reason, name
        assert len(refused.value.metadata["grpc-status-details-bin"]) < 4096, name
    assert await listed(registry) == [1, 2, 3, 4]


async def test_an_error_says_where_and_what_was_expected(registry: Running) -> None:
    with pytest.raises(Refused) as refused:
        await call(registry.channel, "ListVersions", {"model": FRAUD, "filter": "number = 1 AND nmber = 2"})
    assert dict(refused.value.info.metadata) == {
        "field": "filter",
        "column": "16",
        "expected": "perhaps number",
    }
    assert refused.value.fields == ["filter"]

    with pytest.raises(Refused) as refused:
        await call(registry.channel, "ListVersions", {"model": FRAUD, "order_by": "number, metrics.auc desc"})
    choices = "metrics.auc@holdout, metrics.auc@test"
    assert dict(refused.value.info.metadata) == {"field": "order_by", "column": "9", "choices": choices}


async def test_a_metric_that_is_nan_comes_last_and_one_that_is_infinite_does_not(registry: Running) -> None:
    for page_size in (1, 2, 50):
        for order, wanted in (
            ("metrics.auc@holdout", [1, 3, 2, 4]),
            ("metrics.auc@holdout desc", [3, 1, 4, 2]),
            ("evaluations.f1@new, number", [3, 1, 2, 4]),
            ("evaluations.f1@new desc", [1, 3, 4, 2]),
            ("evaluations.f1@old desc, number", [1, 2, 3, 4]),
        ):
            assert await listed(registry, order_by=order, page_size=page_size) == wanted, order
    assert await listed(registry, filter="evaluations.f1@old > 1e308") == [1]
    assert await listed(registry, filter="metrics.auc@holdout:*") == [1, 2, 3]
    assert await listed(registry, filter="metrics.auc@holdout > 0 OR metrics.auc@holdout <= 0") == [1, 3]


@pytest.mark.parametrize("order", ["", "number desc", "metrics.auc@holdout", "evaluations.f1@new desc"])
async def test_pages_go_on_after_a_purge_of_what_they_have_come_to(registry: Running, order: str) -> None:
    whole = await listed(registry, order_by=order)
    request = {"model": FRAUD, "order_by": order, "page_size": 2}
    first = await call(registry.channel, "ListVersions", request)
    for version in first.versions:
        await end(registry, version.number)
    rest = await listed(registry, order_by=order)
    request["page_token"] = first.next_page_token
    following = await call(registry.channel, "ListVersions", request)
    assert [version.number for version in following.versions] == whole[2:] == rest
    await end(registry, whole[2])
    await call(registry.channel, "DeleteModel", {"name": FRAUD})
    for rpc, reason in (("PurgeModel", "MODEL_DELETED"), ("GetServerInfo", "MODEL_NOT_FOUND")):
        with pytest.raises(Refused) as refused:
            await call(registry.channel, "ListVersions", request)
        assert refused.value.reason == reason
        await call(registry.channel, rpc, {"name": FRAUD} if rpc == "PurgeModel" else {})


async def test_a_token_of_another_query_is_refused(registry: Running) -> None:
    await call(registry.channel, "CreateModel", {"name": "default/other"})
    fields = {"namespace": "default", "page_size": 1, "filter": "-nothing", "order_by": "name"}
    token = (await call(registry.channel, "ListModels", fields)).next_page_token
    for change in ({"filter": ""}, {"order_by": "name desc"}, {"namespace": "other"}, {"show_deleted": True}):
        with pytest.raises(Refused, match="PAGE_TOKEN_INVALID"):
            await call(registry.channel, "ListModels", {**fields, **change, "page_token": token})
    assert (await call(registry.channel, "ListModels", fields | {"page_token": token})).models


async def test_a_page_with_the_longest_token_stays_within_its_limit(registry: Running) -> None:
    name = "{:02}" + "日" * (LIMITS.key_characters - 2)
    metrics = [
        {"name": f"m{each}", "dataset": name.format(each), "slice": name.format(each), "value": 1}
        for each in range(60)
    ]
    labels = {f"l{each}": "x" * 4000 for each in range(10)}
    for place in range(30):
        data = f"long {place}".encode()
        file = {"path": "model", "digest": await put(registry.channel, data), "size_bytes": len(data)}
        content = {"files": [file], "metrics": metrics if place == 0 else []}
        request = {"model": FRAUD, "content": content, "labels": labels}
        await call(registry.channel, "CreateVersion", request)
    text = " AND ".join(f"NOT metrics.m{each} < 0" for each in range(60))
    page = await call(registry.channel, "ListVersions", {"model": FRAUD, "filter": text, "page_size": 1000})
    assert len(page.next_page_token) > 100_000
    assert LIMITS.page_bytes // 2 < page.ByteSize() <= LIMITS.page_bytes
    assert await listed(registry, filter=text, page_size=1000) == list(range(1, 35))
