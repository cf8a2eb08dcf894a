"""Imports and the history over the wire: what is answered, and what is refused with which field."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest

from steelyard_server.limits import LIMITS
from tests.api.calls import Refused, call
from tests.api.uploads import put
from tests.servers import Running

MODEL = "default/fraud"
ORIGIN = {
    "system": "steelyard",
    "uri": "urn:uuid:1",
    "version": "risk/fraud:7",
    "creator": "grace",
    "uid": "there",
    "createTime": "2024-01-02T03:04:05.000006Z",
}


@pytest.fixture
async def fraud(running: Running) -> Running:
    """Make an empty model, and upload a blob."""
    await call(running.channel, "CreateModel", {"name": MODEL})
    await put(running.channel, b"bytes")
    return running


def wish(seed: int, number: int = 0, **fields: Any) -> dict[str, Any]:
    digest = "sha256:" + hashlib.sha256(b"bytes").hexdigest()
    files = [{"path": f"f{seed}", "digest": digest, "size_bytes": 5}]
    return {"content": {"files": files}, "origin": ORIGIN, "number": number, **fields}


async def batch(running: Running, *requests: dict[str, Any], **fields: Any) -> Any:
    return await call(
        running.channel, "BatchCreateVersions", {"model": MODEL, "requests": requests, **fields}
    )


async def test_one_version_is_imported_with_all_that_is_stated_of_it(fraud: Running) -> None:
    created = await call(fraud.channel, "CreateVersion", wish(1, 7, model=MODEL))
    found = await call(fraud.channel, "GetVersion", {"version": {"model": MODEL, "number": 7}})

    assert created.created
    assert found.version == created.version
    origin = found.version.origin
    assert (origin.system, origin.uri, origin.version) == ("steelyard", "urn:uuid:1", "risk/fraud:7")
    assert (origin.creator, origin.uid) == ("grace", "there")
    assert origin.create_time.ToJsonString() == ORIGIN["createTime"]
    assert found.version.import_time == found.version.create_time


async def test_a_batch_is_rehearsed_then_made_and_made_once(fraud: Running) -> None:
    wishes = [wish(1, 3), wish(2), wish(3, 9, model=MODEL)]
    rehearsed = await batch(fraud, *wishes, validate_only=True)
    assert [(each.number, each.uid, each.created) for each in rehearsed.versions] == [
        (3, "", True),
        (4, "", True),
        (9, "", True),
    ]
    assert rehearsed.sequence == 0
    request_id = str(uuid.uuid4())
    made = await batch(fraud, *wishes, request_id=request_id)
    again = await batch(fraud, *wishes, request_id=request_id)
    known = await batch(fraud, *wishes)

    assert again == made
    assert [each.digest for each in made.versions] == [each.digest for each in rehearsed.versions]
    assert [each.created for each in known.versions] == [False] * 3
    assert [each.uid for each in known.versions] == [each.uid for each in made.versions]
    assert known.sequence == made.sequence > 0


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"requests": []}, "FIELD_REQUIRED", "requests"),
    ({"requests": [wish(1), wish(2, model="default/other")]}, "RESOURCE_MISMATCH", "requests[1].model"),
    ({"requests": [wish(1, validate_only=True)]}, "RESOURCE_MISMATCH", "requests[0]"),
    ({"requests": [wish(1, reason="why")]}, "RESOURCE_MISMATCH", "requests[0]"),
    ({"requests": [wish(1, request_id=str(uuid.uuid4()))]}, "RESOURCE_MISMATCH", "requests[0]"),
    ({"requests": [wish(1), wish(2, number=-1)]}, "OUT_OF_BOUNDS", "requests[1].number"),
    ({"requests": [wish(1), wish(2, origin={"system": ""})]}, "FIELD_REQUIRED", "requests[1].origin.system"),
    (
        {"requests": [wish(1)], "reason": "r" * 4097},
        "TOO_LONG",
        "reason",
    ),
    ({"requests": [wish(1)] * 41}, "LIMIT_EXCEEDED", "requests"),
    ({"requests": [wish(1, digest="sha256:" + "0" * 64)]}, "DIGEST_MISMATCH", "requests[0].digest"),
]


@pytest.mark.parametrize(("request_fields", "reason", "field"), REFUSED)
async def test_a_bad_batch_is_refused_with_its_field(
    fraud: Running, request_fields: dict[str, Any], reason: str, field: str
) -> None:
    before = (await call(fraud.channel, "GetServerInfo")).sequence
    with pytest.raises(Refused) as refused:
        await call(fraud.channel, "BatchCreateVersions", {"model": MODEL, **request_fields})
    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", reason)
    assert refused.value.fields == [field]
    assert (await call(fraud.channel, "GetServerInfo")).sequence == before


async def test_a_time_that_is_none_is_refused(fraud: Running) -> None:
    origin = ORIGIN | {"createTime": "0001-01-01T00:00:00Z"}
    assert (await batch(fraud, wish(1, origin=origin))).versions[0].created
    with pytest.raises(Refused) as refused:
        await call(
            fraud.channel,
            "RecordEvaluation",
            {
                "version": {"model": MODEL, "number": 1},
                "evaluation": {"metrics": [{"name": "f1"}], "origin": ORIGIN},
            },
        )
    assert refused.value.fields == ["evaluation.evaluate_time"]


async def test_an_imported_evaluation_is_answered_with_its_origin_and_not_doubled(fraud: Running) -> None:
    await batch(fraud, wish(1))
    request = {
        "version": {"model": MODEL, "number": 1},
        "evaluation": {
            "metrics": [{"name": "f1", "value": 0.5}],
            "origin": ORIGIN,
            "evaluateTime": ORIGIN["createTime"],
        },
    }
    first, second = [await call(fraud.channel, "RecordEvaluation", request) for _ in range(2)]
    (listed,) = (await call(fraud.channel, "ListEvaluations", {"version": request["version"]})).evaluations

    assert (first.created, second.created) == (True, False)
    assert listed == first.evaluation == second.evaluation
    assert (listed.origin.uid, listed.origin.creator) == ("there", "grace")
    assert listed.evaluator.id != "grace"
    request["evaluation"]["metrics"][0]["value"] = 0.25  # type: ignore[index]
    with pytest.raises(Refused) as refused:
        await call(fraud.channel, "RecordEvaluation", request)
    assert (refused.value.code, refused.value.reason) == ("ALREADY_EXISTS", "EVALUATION_ALREADY_EXISTS")


async def test_events_come_in_pages_with_texts_and_are_the_bytes_that_were_hashed(fraud: Running) -> None:
    await batch(fraud, wish(1), wish(2, description="words 🦉"), reason="moved house")
    await call(fraud.channel, "CreateModel", {"name": "default/other"})
    token, found = "", []
    while not found or token:
        request = {"scope": MODEL, "pageSize": 1, "pageToken": token}
        page = await call(fraud.channel, "ListEvents", request)
        found += page.events
        token = page.next_page_token

    assert [event.action for event in found] == ["model.create", "version.import"]
    told = json.loads(found[1].content)
    texts = {text.name: text for text in found[1].texts}
    assert {name: text.text for name, text in texts.items()} == {
        "reason": "moved house",
        "changes.1.description": "words 🦉",
    }
    digest = hashlib.sha256(texts["reason"].salt + b"moved house").hexdigest()
    assert told["reason"] == f"sha256:{digest}"
    assert int(told["sequence"]) == found[1].sequence
    assert told["time"] == found[1].time.ToJsonString().replace("Z", "").ljust(26, "0") + "Z"
    assert page.sequence > found[1].sequence


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"scope": "default/none"}, "MODEL_NOT_FOUND"),
        ({"scope": "none"}, "RESERVED_NAME"),
        ({"scope": "nowhere"}, "NAMESPACE_NOT_FOUND"),
        ({"scope": MODEL, "pageToken": "Zm9v"}, "PAGE_TOKEN_INVALID"),
        ({"scope": MODEL, "pageSize": -1}, "PAGE_SIZE_INVALID"),
    ],
)
async def test_a_bad_question_for_events_is_refused(
    fraud: Running, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused) as refused:
        await call(fraud.channel, "ListEvents", fields)
    assert refused.value.reason == reason


async def test_a_page_of_events_stays_within_its_limit(fraud: Running) -> None:
    text = "é" * 32_768
    for first in range(0, 40, 7):
        wishes = [wish(first + index, description=text[: 32_768 - index]) for index in range(7)]
        await batch(fraud, *wishes)
    found, token = 0, ""
    while not found or token:
        page = await call(fraud.channel, "ListEvents", {"scope": MODEL, "pageSize": 1000, "pageToken": token})
        assert page.ByteSize() <= LIMITS.page_bytes
        found, token = found + len(page.events), page.next_page_token
    assert found == 7
