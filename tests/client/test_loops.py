"""The client in programs that run an asyncio loop: blocking inside one, and awaited on one."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import steelyard
from steelyard import aio, aliases, errors, models, namespaces, reasons, versions
from steelyard.progress import Progress
from tests.client.trees import MIB, MODEL, large_file, tree_of, write_tree
from tests.servers import ServerProcess


@pytest_asyncio.fixture
async def waiting(shared: ServerProcess, client: steelyard.Client) -> AsyncIterator[steelyard.AsyncClient]:
    """Connect with asyncio, in the namespace of `client`."""
    namespace = client.models.create("first").name.partition("/")[0]
    async with steelyard.AsyncClient(shared.address, namespace=namespace) as connected:
        yield connected


async def test_the_blocking_client_works_inside_a_running_loop_as_in_a_notebook(
    client: steelyard.Client, tmp_path: Path
) -> None:
    client.push("fraud", write_tree(tmp_path / "model", MODEL))
    client.pull("fraud", tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == MODEL


async def test_a_version_goes_and_comes_back_and_has_aliases(
    waiting: steelyard.AsyncClient, tmp_path: Path
) -> None:
    directory = write_tree(tmp_path / "model", MODEL)
    pushed = await waiting.push("fraud", directory, metrics={"precision": 0.5}, alias="champion")
    assert pushed.created
    found = await waiting.get("fraud@champion")
    assert (found.number, found.metrics) == (1, {"precision": 0.5})
    await waiting.pull(found, tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == MODEL
    assert (await waiting.verify(found, tmp_path / "copy")).version == found
    assert await waiting.read(found, "config.json") == MODEL["config.json"]
    async with waiting.open(found, "weights.onnx") as chunks:
        assert b"".join([chunk async for chunk in chunks]) == MODEL["weights.onnx"]


async def test_models_are_created_read_listed_changed_and_renamed(waiting: steelyard.AsyncClient) -> None:
    await waiting.models.create("fraud", description="old")
    changed = await waiting.models.update("fraud", description="new")
    assert (await waiting.models.get("fraud")).description == changed.description == "new"
    await waiting.models.rename("fraud", "scam")
    assert [model.name.partition("/")[2] async for model in waiting.models.list()] == ["first", "scam"]
    found = waiting.models.list(filter="scam OR first", order_by="name desc")
    assert [model.name.partition("/")[2] async for model in found] == ["scam", "first"]


async def test_versions_are_listed_changed_and_read_in_a_batch(
    waiting: steelyard.AsyncClient, tmp_path: Path
) -> None:
    for number in range(3):
        await waiting.push("fraud", write_tree(tmp_path / str(number), {"a": bytes([number])}))
    numbers = [version.number async for version in waiting.versions.list("fraud", order_by="number desc")]
    assert numbers == [3, 2, 1]
    found = waiting.versions.list("-", filter="number > 1 AND model = fraud", order_by="number desc")
    assert [version.number async for version in found] == [3, 2]
    with pytest.raises(reasons.FilterInvalid) as refused:
        _ = [version async for version in waiting.versions.list("fraud", filter="nmber = 1")]
    assert refused.value.metadata["expected"] == "perhaps number"
    batch = await waiting.versions.batch_get(["fraud:2", "fraud:1"])
    assert [version.number for version in batch] == [2, 1]
    assert (await waiting.versions.update("fraud:2", labels={"a": "b"})).labels == {"a": "b"}
    assert (await waiting.versions.manifest("fraud:1")).digest == batch[1].digest
    assert [file.path async for file in waiting.versions.files("fraud")] == ["a"]
    content = (await waiting.get("fraud")).message.content
    content.files[0].digest = "sha256:" + "00" * 32
    with pytest.raises(reasons.BlobMissing):
        await waiting.versions.create("fraud", content)


async def test_aliases_are_moved_listed_rolled_back_and_deleted(
    waiting: steelyard.AsyncClient, tmp_path: Path
) -> None:
    for number in range(2):
        await waiting.push("fraud", write_tree(tmp_path / str(number), {"a": bytes([number])}))
        await waiting.aliases.set(f"fraud:{number + 1}", "champion")
    assert (await waiting.aliases.get("fraud", "champion")).number == 2
    assert (await waiting.aliases.rollback("fraud", "champion")).number == 1
    assert [(alias.name, alias.number) async for alias in waiting.aliases.list("fraud")] == [("champion", 1)]
    moves = [(move.action, move.to_number) async for move in waiting.aliases.moves("fraud")]
    assert moves == [("rollback", 1), ("set", 2), ("set", 1)]
    await waiting.aliases.delete("fraud", "champion")
    with pytest.raises(reasons.AliasNotFound):
        await waiting.get("fraud@champion")


async def test_namespaces_are_created_read_listed_changed_and_deleted(
    waiting: steelyard.AsyncClient, tmp_path: Path
) -> None:
    name = f"loop-{threading.get_ident()}-{id(tmp_path)}"
    await waiting.namespaces.create(name)
    await waiting.namespaces.update(name, labels={"a": "b"})
    assert (await waiting.namespaces.get(name)).labels == {"a": "b"}
    assert name in [namespace.name async for namespace in waiting.namespaces.list()]
    await waiting.namespaces.delete(name)
    with pytest.raises(errors.NotFound):
        await waiting.namespaces.get(name)


async def test_environments_are_created_read_listed_changed_and_deleted(
    waiting: steelyard.AsyncClient, tmp_path: Path
) -> None:
    name = f"loop-{threading.get_ident()}-{id(tmp_path)}"
    made = await waiting.environments.create(name, accepts=["production"])
    assert (made.accepts, made.creator.id) == (("production",), "ada")
    changed = await waiting.environments.update(name, accepts=(), labels={"a": "b"}, etag=made.etag)
    assert await waiting.environments.get(name) == changed
    assert (changed.accepts, changed.labels, changed.uid) == ((), {"a": "b"}, made.uid)
    with pytest.raises(reasons.EtagMismatch):
        await waiting.environments.update(name, description="x", etag=made.etag)
    assert name in [environment.name async for environment in waiting.environments.list()]
    await waiting.environments.delete(name)
    with pytest.raises(reasons.EnvironmentNotFound):
        await waiting.environments.get(name)


async def test_the_server_says_who_it_is_and_who_calls(waiting: steelyard.AsyncClient) -> None:
    assert (await waiting.server_info()).server_version
    assert (await waiting.who_am_i()).id == "ada"


@pytest.mark.parametrize(
    ("awaited", "blocking"),
    [
        (steelyard.AsyncClient, steelyard.Client),
        (aio.AsyncModels, models.Models),
        (aio.AsyncVersions, versions.Versions),
        (aio.AsyncAliases, aliases.Aliases),
        (aio.AsyncNamespaces, namespaces.Namespaces),
    ],
)
def test_every_call_of_the_blocking_client_can_be_awaited_with_the_same_arguments(
    awaited: type, blocking: type
) -> None:
    for name, method in inspect.getmembers(blocking, inspect.isfunction):
        if not name.startswith("_"):
            found = getattr(awaited, name)
            assert inspect.signature(found).parameters == inspect.signature(method).parameters
            assert found.__doc__


async def test_a_list_may_be_left_in_the_middle_and_is_longer_than_a_batch(
    waiting: steelyard.AsyncClient,
) -> None:
    await asyncio.gather(*(waiting.models.create(f"m{number:03}") for number in range(aio.BATCH + 5)))
    assert len([model async for model in waiting.models.list()]) == aio.BATCH + 6
    async for model in waiting.models.list():
        assert model.name.endswith("/first")
        break


async def test_the_loop_goes_on_while_a_transfer_runs_and_hears_of_its_progress(
    waiting: steelyard.AsyncClient, tmp_path: Path
) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=16)
    steps: list[Progress] = []
    threads = set()

    def show(progress: Progress) -> None:
        steps.append(progress)
        threads.add(threading.current_thread())

    push = asyncio.ensure_future(waiting.push("fraud", path, progress=show))
    async with asyncio.timeout(20):
        while not steps:
            await asyncio.sleep(0)
        heard_before_the_end = not push.done()
        await push
    assert heard_before_the_end
    assert threads == {threading.current_thread()}
    assert steps[-1].done_bytes == steps[-1].total_bytes == 16 * MIB


async def test_a_push_whose_task_is_cancelled_ends_and_can_go_on_later(
    waiting: steelyard.AsyncClient, tmp_path: Path
) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=64)
    steps: list[Progress] = []
    push = asyncio.ensure_future(waiting.push("fraud", path, progress=steps.append))
    async with asyncio.timeout(20):
        while not steps or steps[-1].done_bytes < 24 * MIB:
            await asyncio.sleep(0)
        push.cancel()
        with pytest.raises(asyncio.CancelledError):
            await push
        while any(thread.name.startswith("steelyard-transfer") for thread in threading.enumerate()):
            await asyncio.sleep(0)
    with pytest.raises(errors.NotFound):
        await waiting.models.get("fraud")
    pushed = await waiting.push("fraud", path)
    assert 0 < pushed.uploaded_bytes < 64 * MIB
    await waiting.verify("fraud")


async def test_many_calls_at_once_go_well(waiting: steelyard.AsyncClient, tmp_path: Path) -> None:
    directories = [write_tree(tmp_path / str(number), {"a": bytes([number])}) for number in range(8)]
    pushed = await asyncio.gather(*(waiting.push("fraud", directory) for directory in directories))
    assert sorted(each.version.number for each in pushed) == list(range(1, 9))
    assert sum(each.model_created for each in pushed) == 1
