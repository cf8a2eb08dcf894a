"""What a call with ``validate_only`` answers is what would be, without what only a commit gives."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.calls import Refused, call
from tests.api.uploads import put
from tests.servers import Running

MODEL = "default/fraud"


@pytest.fixture
async def request_fields(running: Running) -> dict[str, Any]:
    await call(running.channel, "CreateModel", {"name": MODEL})
    file = {"path": "a.bin", "digest": await put(running.channel, b"bytes"), "size_bytes": 5}
    return {"model": MODEL, "content": {"files": [file]}}


async def sequence(running: Running) -> int:
    found: int = (await call(running.channel, "GetServerInfo")).sequence
    return found


async def test_a_new_version_has_no_number_yet(running: Running, request_fields: dict[str, Any]) -> None:
    before = await sequence(running)
    rehearsed = await call(running.channel, "CreateVersion", request_fields | {"validate_only": True})

    version = rehearsed.version
    assert (rehearsed.created, rehearsed.sequence, version.number, version.uid) == (True, 0, 0, "")
    assert (version.etag, version.HasField("create_time"), version.stage) == ("", False, "development")
    assert await sequence(running) == before
    created = await call(running.channel, "CreateVersion", request_fields)
    assert created.version.digest == version.digest


async def test_what_would_be_set_on_existing_content_has_no_etag_yet(
    running: Running, request_fields: dict[str, Any]
) -> None:
    created = await call(running.channel, "CreateVersion", request_fields)
    named = request_fields | {"semantic_version": "1.0.0", "validate_only": True}
    rehearsed = await call(running.channel, "CreateVersion", named)

    version = rehearsed.version
    assert (rehearsed.created, rehearsed.sequence) == (False, 0)
    assert (version.number, version.uid, version.semantic_version) == (1, created.version.uid, "1.0.0")
    assert (version.etag, version.HasField("update_time")) == ("", False)


async def test_an_alias_that_is_not_set_yet_has_no_etag(
    running: Running, request_fields: dict[str, Any]
) -> None:
    await call(running.channel, "CreateVersion", request_fields)
    before = await sequence(running)
    wanted = {"version": {"model": MODEL, "number": 1}, "alias": "champion"}
    rehearsed = await call(running.channel, "SetAlias", wanted | {"validate_only": True})

    alias = rehearsed.alias
    assert (rehearsed.sequence, alias.name, alias.number) == (0, "champion", 1)
    assert (alias.uid, alias.etag, alias.HasField("create_time"), alias.HasField("update_time")) == (
        *("", ""),
        *(False, False),
    )
    assert await sequence(running) == before
    made = await call(running.channel, "SetAlias", wanted | {"must_not_exist": True})
    assert made.alias.digest == alias.digest


async def test_what_would_be_refused_is_refused_and_a_rollback_is_only_told(
    running: Running, request_fields: dict[str, Any]
) -> None:
    for path in ("a.bin", "b.bin"):
        files = [file | {"path": path} for file in request_fields["content"]["files"]]
        await call(running.channel, "CreateVersion", request_fields | {"content": {"files": files}})
    for number in (1, 2):
        wanted = {"version": {"model": MODEL, "number": number}, "alias": "champion"}
        await call(running.channel, "SetAlias", wanted)
    before = await sequence(running)
    stale = {"version": {"model": MODEL, "number": 1}, "alias": "champion", "etag": "1"}
    with pytest.raises(Refused, match="ABORTED ALIAS_CHANGED"):
        await call(running.channel, "SetAlias", stale | {"validate_only": True})
    back = {"model": MODEL, "alias": "champion", "validate_only": True}
    rehearsed = await call(running.channel, "RollbackAlias", back)

    assert (rehearsed.sequence, rehearsed.alias.number, rehearsed.alias.etag) == (0, 1, "")
    assert await sequence(running) == before
    current = await call(running.channel, "GetAlias", {"model": MODEL, "alias": "champion"})
    assert current.alias.number == 2


async def test_existing_content_is_answered_as_it_stands(
    running: Running, request_fields: dict[str, Any]
) -> None:
    created = await call(running.channel, "CreateVersion", request_fields)
    rehearsed = await call(running.channel, "CreateVersion", request_fields | {"validate_only": True})

    assert (rehearsed.created, rehearsed.sequence) == (False, created.sequence)
    assert rehearsed.version == created.version


async def test_a_copy_has_neither_number_nor_times_yet(
    running: Running, request_fields: dict[str, Any]
) -> None:
    await call(running.channel, "CreateVersion", request_fields)
    await call(running.channel, "CreateModel", {"name": "default/copy"})
    wish = {"source": {"model": MODEL, "number": 1}, "model": "default/copy"}
    rehearsed = await call(running.channel, "CopyVersion", wish | {"validate_only": True})

    version = rehearsed.version
    assert (rehearsed.created, rehearsed.sequence, version.number, version.uid) == (True, 0, 0, "")
    times = ("create_time", "update_time", "import_time")
    assert (version.etag, [time for time in times if version.HasField(time)]) == ("", [])
    assert version.origin.version == f"{MODEL}:1"
    assert (await call(running.channel, "CopyVersion", wish)).version.HasField("import_time")
