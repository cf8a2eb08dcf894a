"""No answer is larger than what it promises, whatever was stored, and none fails without a reason."""

from __future__ import annotations

from typing import Any

import pytest

from steelyard_server.limits import LIMITS
from tests.api.calls import Refused, call
from tests.api.uploads import put
from tests.servers import Running

MODEL = "default/fraud"


async def create(running: Running, *, data: bytes, model: str = MODEL, **content: Any) -> None:
    file = {"path": f"f{data.decode()}", "digest": await put(running.channel, data), "size_bytes": len(data)}
    await call(running.channel, "CreateVersion", {"model": model, "content": {"files": [file], **content}})


async def test_a_page_of_models_with_long_owners_stays_within_its_limit(running: Running) -> None:
    owners = [f"{index:03}" + "ö" * 240 for index in range(64)]
    for index in range(60):
        await call(running.channel, "CreateModel", {"name": f"default/m{index}", "owners": owners})
    token, found = "", 0
    while True:
        request = {"namespace": "default", "page_size": 1000, "page_token": token}
        page = await call(running.channel, "ListModels", request)
        assert page.ByteSize() <= LIMITS.page_bytes
        found += len(page.models)
        if not (token := page.next_page_token):
            break
    assert found == 60


async def test_a_page_of_versions_with_long_keys_and_aliases_stays_within_its_limit(running: Running) -> None:
    model = "default/" + "日" * LIMITS.model_name_characters
    await call(running.channel, "CreateModel", {"name": model})
    digest = await put(running.channel, b"bytes")
    for index in range(500):
        content = {"files": [{"path": f"f{index}", "digest": digest, "size_bytes": 5}]}
        key = f"{index:04}" + "k" * (LIMITS.text_bytes - 4)
        await call(
            running.channel, "CreateVersion", {"model": model, "content": content, "idempotency_key": key}
        )
    for index in range(LIMITS.aliases_count):
        alias = f"a{index:03}" + "a" * (LIMITS.name_characters - 4)
        await call(
            running.channel,
            "SetAlias",
            {"version": {"model": model, "number": index % 400 + 1}, "alias": alias},
        )
    token, found = "", 0
    while found == 0 or token:
        page = await call(
            running.channel, "ListVersions", {"model": model, "page_size": 1000, "page_token": token}
        )
        assert page.ByteSize() <= LIMITS.page_bytes
        found, token = found + len(page.versions), page.next_page_token
    assert found == 500


async def test_versions_that_are_too_large_together_are_refused_with_a_reason(running: Running) -> None:
    await call(running.channel, "CreateModel", {"name": MODEL})
    metrics = [{"name": f"{index:04}" + "m" * 200, "value": 1} for index in range(1500)]
    for data in (b"1", b"2", b"3", b"4", b"5"):
        await create(running, data=data, metrics=metrics)
    wanted = [{"model": MODEL, "number": number} for number in range(1, 6)]

    with pytest.raises(Refused) as refused:
        await call(running.channel, "BatchGetVersions", {"namespace": "default", "versions": wanted})
    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "LIMIT_EXCEEDED")
    found = await call(running.channel, "BatchGetVersions", {"namespace": "default", "versions": wanted[:2]})
    assert [version.number for version in found.versions] == [1, 2]


async def test_a_model_has_a_bounded_number_of_aliases(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "aliases_count", 2)
    await call(running.channel, "CreateModel", {"name": MODEL})
    await create(running, data=b"1")
    one = {"model": MODEL, "number": 1}
    for alias in ("a", "b", "a"):
        await call(running.channel, "SetAlias", {"version": one, "alias": alias})
    with pytest.raises(Refused, match="LIMIT_EXCEEDED"):
        await call(running.channel, "SetAlias", {"version": one, "alias": "c"})
    await call(running.channel, "DeleteAlias", {"model": MODEL, "alias": "a"})
    await call(running.channel, "SetAlias", {"version": one, "alias": "c"})


async def test_an_answer_that_no_message_holds_is_refused_with_a_reason(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "message_bytes", 100)
    with pytest.raises(Refused) as refused:
        await call(running.channel, "GetServerInfo")
    assert (refused.value.code, refused.value.reason) == ("RESOURCE_EXHAUSTED", "QUERY_TOO_EXPENSIVE")


async def test_the_pages_of_files_are_of_one_version_although_the_alias_moves(running: Running) -> None:
    await call(running.channel, "CreateModel", {"name": MODEL})
    digest = await put(running.channel, b"bytes")
    for letter in "fg":
        files = [{"path": f"{letter}{index}", "digest": digest, "size_bytes": 5} for index in range(3)]
        await call(running.channel, "CreateVersion", {"model": MODEL, "content": {"files": files}})
        if letter == "f":
            latest = {"version": {"model": MODEL, "alias": "latest"}, "page_size": 2}
            first = await call(running.channel, "ListFiles", latest)
    second = await call(running.channel, "ListFiles", {**latest, "page_token": first.next_page_token})
    assert [file.path for page in (first, second) for file in page.files] == ["f0", "f1", "f2"]
    assert second.number == 1


async def test_a_negative_minimum_sequence_is_refused_every_time(running: Running) -> None:
    await call(running.channel, "CreateModel", {"name": MODEL})
    await create(running, data=b"1")
    request = {"version": {"model": MODEL, "number": 1}}
    for _ in range(2):
        await call(running.channel, "GetVersion", request)
        with pytest.raises(Refused, match="OUT_OF_BOUNDS"):
            await call(running.channel, "GetVersion", {**request, "minimum_sequence": -1})


async def test_an_alias_is_answered_as_it_stood_before_a_later_delete(running: Running) -> None:
    await call(running.channel, "CreateModel", {"name": MODEL})
    for data in (b"1", b"2"):
        await create(running, data=data)
    times = []
    for number in (1, 2):
        version = {"model": MODEL, "number": number}
        moved = await call(running.channel, "SetAlias", {"version": version, "alias": "champion"})
        times.append(moved.alias.update_time.ToJsonString())
    await call(running.channel, "DeleteAlias", {"model": MODEL, "alias": "champion"})
    deleted = await call(running.channel, "ListAliasMoves", {"model": MODEL, "alias": "champion"})

    for number, time in enumerate(times, start=1):
        asked = {"model": MODEL, "alias": "champion", "read_time": time}
        assert (await call(running.channel, "GetAlias", asked)).alias.number == number
    asked["read_time"] = deleted.moves[0].move_time.ToJsonString()
    with pytest.raises(Refused, match="ALIAS_NOT_FOUND"):
        await call(running.channel, "GetAlias", asked)
