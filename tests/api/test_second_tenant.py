"""A second tenant, who knows names, uids, digests and page tokens of the first, learns nothing from them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from steelyard.v1 import blob_service_pb2
from tests.api.calls import Refused
from tests.api.logins import People, bearer
from tests.api.uploads import UploadStream, digest_of
from tests.servers import running_server

WEIGHTS = b"weights of the first tenant"
DIGEST = digest_of(WEIGHTS)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[People]:
    async with running_server(tmp_path_factory.mktemp("tenants") / "data", auth="tokens") as running:
        found = People(running)
        for space in ("first", "second"):
            await found.ask("admin", "CreateNamespace", {"name": space})
            await found.add(space, writer=space)
        await found.add("guest", writer="first/open")
        for name in ("model", "open", "third"):
            await found.ask("first", "CreateModel", {"name": f"first/{name}"})
        await found.ask("second", "CreateModel", {"name": "second/model"})
        await upload(found, "first", "first")
        for name in ("model", "open"):
            await found.ask("first", "CreateVersion", content(f"first/{name}", parameter=name))
        yield found


def content(model: str, *, parameter: str = "", digest: str = DIGEST) -> dict[str, Any]:
    file = {"path": "w.bin", "digest": digest, "sizeBytes": str(len(WEIGHTS))}
    parameters = [{"name": "p", "text": parameter}] if parameter else []
    return {"model": model, "content": {"files": [file], "parameters": parameters}}


async def upload(people: People, who: str, namespace: str, data: bytes = WEIGHTS) -> Any:
    """Send one blob in one message."""
    message = blob_service_pb2.WriteBlobsRequest(data=data, finish={})
    header = message.header
    header.namespace, header.size_bytes, header.digest = namespace, len(data), digest_of(data)
    header.from_start = True
    return await people.send(who, "WriteBlobs", message.SerializeToString())


async def refused(people: People, who: str, rpc: str, fields: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(Refused) as error:
        await people.ask(who, rpc, fields)
    return error.value.reason, error.value.message


def version(model: str, number: int = 1) -> dict[str, Any]:
    return {"model": model, "number": number}


async def test_bytes_of_another_namespace_are_not_there_for_who_knows_their_digest(people: People) -> None:
    blobs = [{"digest": DIGEST, "sizeBytes": str(len(WEIGHTS))}]
    missing = await people.ask("second", "FindMissingBlobs", {"namespace": "second", "blobs": blobs})
    assert [(each.digest, each.held_bytes) for each in missing.missing] == [(DIGEST, 0)]
    reason, _ = await refused(people, "second", "CreateVersion", content("second/model"))
    assert reason == "BLOB_MISSING"


async def test_nobody_uploads_to_a_namespace_in_which_they_may_not_write(people: People) -> None:
    told = []
    for namespace in ("first", "absent"):
        with pytest.raises(Refused) as error:
            await upload(people, "second", namespace)
        told.append((error.value.reason, error.value.message.replace(namespace, "")))
    assert told[0] == told[1]
    assert told[0][0] == "PERMISSION_MISSING"


async def test_a_copy_needs_the_bytes_of_the_source_and_says_nothing_of_it(people: People) -> None:
    told = []
    for source in ("first/model", "first/absent", "absent/model"):
        fields = {"source": version(source), "model": "second/model"}
        reason, message = await refused(people, "second", "CopyVersion", fields)
        told.append((reason, message.replace(source, "")))
    assert set(told) == {told[0]}
    assert told[0][0] == "PERMISSION_MISSING"


async def test_a_page_token_of_another_gives_no_right(people: People) -> None:
    first = await people.ask("first", "ListModels", {"namespace": "first", "pageSize": 1})
    assert first.next_page_token
    fields = {"namespace": "first", "pageSize": 1, "pageToken": first.next_page_token}
    reason, _ = await refused(people, "second", "ListModels", fields)
    assert reason == "PERMISSION_MISSING"
    # Who may see one model goes on behind where the other was, and sees it only.
    rest = await people.ask("guest", "ListModels", fields)
    assert [each.name for each in rest.models] == ["first/open"]
    spaces = await people.ask("admin", "ListNamespaces", {"pageSize": 1})
    listed = await people.ask("second", "ListNamespaces", {"pageToken": spaces.next_page_token})
    assert [each.name for each in listed.namespaces] == ["second"]


async def test_lists_have_nothing_of_others(people: People) -> None:
    assert [each.name for each in (await people.ask("second", "ListNamespaces")).namespaces] == ["second"]
    assert [each.name for each in (await people.ask("guest", "ListNamespaces")).namespaces] == ["first"]
    models = await people.ask("guest", "ListModels", {"namespace": "first"})
    assert [each.name for each in models.models] == ["first/open"]
    versions = await people.ask("guest", "ListVersions", {"model": "first/-"})
    assert {each.model for each in versions.versions} == {"first/open"}
    for rpc, fields in (
        ("ListModels", {"namespace": "second"}),
        ("ListVersions", {"model": "second/-"}),
        ("ListEvents", {"scope": "first"}),
        ("GetNamespace", {"name": "second"}),
    ):
        assert (await refused(people, "guest", rpc, fields))[0] == "PERMISSION_MISSING"


@pytest.mark.parametrize("rpc", ["BatchGetVersions", "CompareVersions"])
async def test_every_version_that_is_named_must_be_readable(people: People, rpc: str) -> None:
    told = []
    for name in ("model", "absent"):
        fields = {"namespace": "first", "versions": [version("first/open"), version(f"first/{name}")]}
        reason, message = await refused(people, "guest", rpc, fields)
        told.append((reason, message.replace(name, "")))
    assert told[0] == told[1]
    assert told[0][0] == "PERMISSION_MISSING"
    both = [version("first/open"), version("first/model")]
    await people.ask("first", rpc, {"namespace": "first", "versions": both})


async def test_ancestors_that_the_caller_may_not_read_stay_unseen(people: People) -> None:
    base = await people.ask("first", "CreateVersion", content("first/third", parameter="base"))
    for name in ("left", "right"):
        fields = content("first/open", parameter=name)
        fields["content"]["parents"] = [
            {"digest": base.version.digest, "relation": "PARENT_RELATION_FINE_TUNED_FROM"}
        ]
        await people.ask("first", "CreateVersion", fields)
    fields = {"namespace": "first", "versions": [version("first/open", 2), version("first/open", 3)]}
    seen = await people.ask("first", "CompareVersions", fields)
    assert [each.uri for each in seen.comparison.shared_ancestors] == ["first/third:1"]
    hidden = await people.ask("guest", "CompareVersions", fields)
    assert [each.uri for each in hidden.comparison.shared_ancestors] == [""]


async def test_a_stream_of_uploads_ends_when_the_permission_does(people: People) -> None:
    await people.add("leaving", writer="second")
    metadata = bearer(people.tokens["leaving"])
    stream = UploadStream(people.running.channel, metadata=metadata)
    await stream.begin(size_bytes=2, namespace="second", digest=digest_of(b"ab"))
    assert (await stream.answer()).ready.offset == 0
    await stream.send(data=b"ab", finish={})
    assert (await stream.answer()).finished.size_bytes == 2

    await people.grant("leaving", "writer", "second", rpc="RevokeRole")

    await stream.begin(size_bytes=2, namespace="second", digest=digest_of(b"cd"))
    with pytest.raises(Refused) as error:
        await stream.accepted()
    assert error.value.reason == "PERMISSION_MISSING"


async def test_a_remembered_answer_is_not_given_to_who_lost_the_permission(people: People) -> None:
    await people.add("former", viewer="first")
    for who in ("first", "former", "former"):
        await people.ask(who, "GetVersion", {"version": version("first/model")})

    await people.grant("former", "viewer", "first", rpc="RevokeRole")

    assert (await refused(people, "former", "GetVersion", {"version": version("first/model")}))[0] == (
        "PERMISSION_MISSING"
    )
