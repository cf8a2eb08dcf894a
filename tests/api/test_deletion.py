"""Ends and copies over the wire: once for a request id, never in a rehearsal, seen at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from tests.api.calls import Refused, call
from tests.api.uploads import digest_of, put
from tests.servers import Running

FRAUD = "default/fraud"
DATA = b"weights"


def version(number: int, model: str = FRAUD) -> dict[str, Any]:
    return {"version": {"model": model, "number": number}}


def request(seed: int, **fields: Any) -> dict[str, Any]:
    """Make a CreateVersion request whose content differs for each *seed*."""
    file = {"path": "a.bin", "digest": digest_of(DATA), "sizeBytes": len(DATA)}
    content = {"files": [file], "parameters": [{"name": "seed", "integer": seed}]}
    return {"model": FRAUD, "content": content} | fields


@pytest_asyncio.fixture
async def channel(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    """Make a model with three versions."""
    await call(running.channel, "CreateModel", {"name": FRAUD})
    await put(running.channel, DATA)
    for seed in range(3):
        await call(running.channel, "CreateVersion", request(seed))
    yield running.channel


async def sequence(channel: grpc.aio.Channel) -> int:
    found: int = (await call(channel, "GetServerInfo")).sequence
    return found


async def reason_of(channel: grpc.aio.Channel, rpc: str, fields: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        await call(channel, rpc, fields)
    return refused.value.code, refused.value.reason


async def test_a_version_is_deleted_brought_back_and_purged(channel: grpc.aio.Channel) -> None:
    before = (await call(channel, "GetVersion", version(3))).version
    deleted = await call(channel, "DeleteVersion", version(3) | {"etag": before.etag, "reason": "bad data"})
    assert deleted.version.delete_time.ToMicroseconds() >= before.create_time.ToMicroseconds()
    assert (deleted.version.digest, deleted.version.etag) == (before.digest, str(deleted.sequence))
    for rpc, fields in (
        ("GetVersion", {}),
        ("GetManifest", {}),
        ("ListFiles", {}),
        ("ReadFile", {"path": "a.bin"}),
        ("ReadFiles", {"paths": ["a.bin"]}),
        ("UpdateVersion", {"description": "x"}),
        ("SetAlias", {"alias": "champion"}),
        ("DeleteVersion", {}),
    ):
        assert await reason_of(channel, rpc, version(3) | fields) == ("NOT_FOUND", "VERSION_DELETED"), rpc
    assert (await call(channel, "GetModel", {"name": FRAUD})).model.latest_number == 2
    restored = await call(channel, "UndeleteVersion", version(3))
    assert not restored.version.HasField("delete_time")
    assert (await call(channel, "GetVersion", version(3))).version == restored.version
    await call(channel, "DeleteVersion", version(3))
    purged = await call(channel, "PurgeVersion", version(3))
    assert (purged.number, purged.digest, purged.sequence) == (3, before.digest, await sequence(channel))
    assert await reason_of(channel, "GetVersion", version(3)) == ("NOT_FOUND", "VERSION_NOT_FOUND")
    assert (await call(channel, "CreateVersion", request(2))).version.number == 4


async def test_a_remembered_answer_is_forgotten_before_a_delete_is_acknowledged(
    channel: grpc.aio.Channel,
) -> None:
    newest = {"version": {"model": FRAUD, "alias": "latest"}}
    for rpc, expected in (("DeleteVersion", 2), ("UndeleteVersion", 3), ("DeleteVersion", 2)):
        for _ in range(2):
            await call(channel, "GetVersion", newest)
        await call(channel, rpc, version(3))
        assert (await call(channel, "GetVersion", newest)).version.number == expected
    for number in (1, 2):
        await call(channel, "GetVersion", version(number))
    await call(channel, "DeleteModel", {"name": FRAUD})
    for number in (1, 2):
        assert (await reason_of(channel, "GetVersion", version(number)))[1] == "MODEL_DELETED"
    await call(channel, "UndeleteModel", {"name": FRAUD})
    assert (await call(channel, "GetVersion", version(1))).version.number == 1


async def test_a_model_is_deleted_brought_back_and_purged(channel: grpc.aio.Channel) -> None:
    await call(channel, "RenameModel", {"name": FRAUD, "newName": "default/scam"})
    deleted = await call(channel, "DeleteModel", {"name": FRAUD})
    assert deleted.model.HasField("delete_time")
    assert deleted.model.former_names == [FRAUD]
    assert await reason_of(channel, "GetModel", {"name": FRAUD}) == ("NOT_FOUND", "MODEL_DELETED")
    assert await reason_of(channel, "CreateModel", {"name": FRAUD}) == ("FAILED_PRECONDITION", "NAME_DELETED")
    assert not (await call(channel, "ListModels", {"namespace": "default"})).models
    listed = await call(channel, "ListModels", {"namespace": "default", "showDeleted": True})
    deleted.model.ClearField("former_names")
    assert list(listed.models) == [deleted.model]
    restored = await call(channel, "UndeleteModel", {"name": FRAUD})
    assert (await call(channel, "GetModel", {"name": FRAUD})).model == restored.model
    await call(channel, "DeleteModel", {"name": FRAUD})
    purged = await call(channel, "PurgeModel", {"name": FRAUD})
    assert (purged.name, purged.last_number) == ("default/scam", 3)
    assert not (await call(channel, "ListModels", {"namespace": "default", "showDeleted": True})).models
    for name in (FRAUD, "default/scam"):
        assert await reason_of(channel, "GetModel", {"name": name}) == ("NOT_FOUND", "MODEL_NOT_FOUND")
        code, reason = await reason_of(channel, "CreateModel", {"name": name})
        assert (code, reason) == ("FAILED_PRECONDITION", "NAME_RETIRED")


async def test_a_version_is_copied_into_another_namespace_and_its_bytes_are_read_there(
    channel: grpc.aio.Channel,
) -> None:
    await call(channel, "CreateNamespace", {"name": "other"})
    await call(channel, "CreateModel", {"name": "other/copy"})
    source = (await call(channel, "GetVersion", version(2))).version
    wish = {"source": {"model": FRAUD, "number": 2}, "model": "other/copy", "semanticVersion": "1.0.0"}
    copied = await call(channel, "CopyVersion", wish)
    made = copied.version

    assert copied.created
    assert (made.model, made.number, made.digest) == ("other/copy", 1, source.digest)
    assert (made.origin.system, made.origin.version) == ("steelyard", f"{FRAUD}:2")
    assert made.origin.create_time.ToMicroseconds() == source.create_time.ToMicroseconds()
    assert made.import_time == made.create_time
    assert (await call(channel, "GetVersion", version(1, "other/copy"))).version == made
    answers = await call(channel, "ReadFile", version(1, "other/copy") | {"path": "a.bin"})
    assert b"".join(answer.data for answer in answers) == DATA
    again = await call(channel, "CopyVersion", wish)
    assert (again.created, again.version, again.sequence) == (False, made, await sequence(channel))


MUTATIONS: list[tuple[str, dict[str, Any]]] = [
    ("DeleteVersion", version(3)),
    ("UndeleteVersion", version(2)),
    ("PurgeVersion", version(2)),
    ("CopyVersion", {"source": {"model": FRAUD, "number": 1}, "model": "default/churn"}),
    ("DeleteModel", {"name": "default/churn"}),
    ("UndeleteModel", {"name": "default/gone"}),
    ("PurgeModel", {"name": "default/gone"}),
]


@pytest_asyncio.fixture
async def prepared(channel: grpc.aio.Channel) -> grpc.aio.Channel:
    """Make something for each mutation to do."""
    await call(channel, "DeleteVersion", version(2))
    for name in ("default/churn", "default/gone"):
        await call(channel, "CreateModel", {"name": name})
    await call(channel, "DeleteModel", {"name": "default/gone"})
    return channel


@pytest.mark.parametrize(("rpc", "fields"), MUTATIONS, ids=[rpc for rpc, _ in MUTATIONS])
async def test_many_calls_with_one_request_id_happen_once(
    prepared: grpc.aio.Channel, rpc: str, fields: dict[str, Any]
) -> None:
    begin = await sequence(prepared)
    wish = fields | {"requestId": str(uuid.uuid4()), "reason": "why"}
    answers = await asyncio.gather(*(call(prepared, rpc, wish) for _ in range(30)))
    late = await call(prepared, rpc, wish)

    assert all(answer == answers[0] for answer in (*answers, late))
    assert await sequence(prepared) == answers[0].sequence == begin + 1
    assert (await reason_of(prepared, rpc, wish | {"reason": "other"}))[1] == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(("rpc", "fields"), MUTATIONS, ids=[rpc for rpc, _ in MUTATIONS])
async def test_a_rehearsal_answers_what_would_be_and_changes_nothing(
    prepared: grpc.aio.Channel, rpc: str, fields: dict[str, Any]
) -> None:
    begin = await sequence(prepared)
    rehearsed = await call(prepared, rpc, fields | {"validateOnly": True, "requestId": str(uuid.uuid4())})
    assert (await sequence(prepared), rehearsed.sequence) == (begin, 0)
    done = await call(prepared, rpc, fields)
    assert done.sequence == await sequence(prepared) == begin + 1
    for answer in (rehearsed, done):
        answer.sequence = 0
        for resource in ("version", "model"):
            if resource in answer.DESCRIPTOR.fields_by_name:
                cleared = getattr(answer, resource)
                for field in ("etag", "uid", "number", "create_time", "update_time", "import_time"):
                    if rpc == "CopyVersion" or field == "etag":
                        cleared.ClearField(field)
                cleared.ClearField("delete_time")
    assert rehearsed == done


@pytest.mark.parametrize(
    "rpc",
    [f"{verb}{noun}" for verb in ("Delete", "Undelete", "Purge") for noun in ("Version", "Model")],
)
async def test_a_rehearsal_is_refused_as_the_act_would_be(channel: grpc.aio.Channel, rpc: str) -> None:
    await call(channel, "SetAlias", version(1) | {"alias": "champion"})
    fields = {"name": FRAUD} if rpc.endswith("Model") else version(1)
    refused = [await reason_of(channel, rpc, fields | {"validateOnly": wish}) for wish in (True, False)]
    assert refused[0] == refused[1]
    assert refused[0][0] == "FAILED_PRECONDITION"


async def test_a_page_token_belongs_to_a_list_with_or_without_deleted_versions(
    channel: grpc.aio.Channel,
) -> None:
    fields = {"model": FRAUD, "pageSize": 1}
    token = (await call(channel, "ListVersions", fields)).next_page_token
    assert token
    other = fields | {"pageToken": token, "showDeleted": True}
    assert (await reason_of(channel, "ListVersions", other))[1] == "PAGE_TOKEN_INVALID"
    await call(channel, "DeleteVersion", version(2))
    follows = await call(channel, "ListVersions", fields | {"pageToken": token})
    assert [each.number for each in follows.versions] == [3]


async def test_a_page_of_files_of_a_version_that_is_purged_meanwhile_is_not_found(
    channel: grpc.aio.Channel,
) -> None:
    file = {"digest": digest_of(DATA), "sizeBytes": len(DATA)}
    content = {"files": [{"path": path, **file} for path in ("a", "b", "c")]}
    await call(channel, "CreateVersion", {"model": FRAUD, "content": content})
    fields = {"version": {"model": FRAUD, "alias": "latest"}, "pageSize": 1}
    token = (await call(channel, "ListFiles", fields)).next_page_token
    await call(channel, "DeleteVersion", version(4))
    follows = fields | {"pageToken": token}
    assert (await reason_of(channel, "ListFiles", follows))[1] == "VERSION_DELETED"
    await call(channel, "PurgeVersion", version(4))
    assert (await reason_of(channel, "ListFiles", follows))[1] == "VERSION_NOT_FOUND"
