"""Deletes, undeletes, purges and copies from Python, blocking and awaited."""

from __future__ import annotations

from pathlib import Path

import pytest

import steelyard
from steelyard import errors, reasons
from tests.client.trees import MODEL, tree_of, write_tree
from tests.servers import ServerProcess


@pytest.fixture
def pushed(client: steelyard.Client, tmp_path: Path) -> steelyard.Client:
    """Push two versions of `fraud`."""
    model = write_tree(tmp_path / "model", MODEL)
    client.push("fraud", model, semantic_version="1.0.0")
    client.push("fraud", write_tree(model, {"config.json": b"{}"}))
    return client


def test_a_version_is_deleted_listed_brought_back_and_purged(pushed: steelyard.Client) -> None:
    before = pushed.get("fraud")
    rehearsed = pushed.versions.delete(before, validate_only=True)
    assert (rehearsed.number, rehearsed.etag) == (2, "")
    assert pushed.get("fraud") == before
    deleted = pushed.versions.delete("fraud:2", etag=before.etag, reason="bad data")
    assert deleted.delete_time is not None
    with pytest.raises(reasons.VersionDeleted) as refused:
        pushed.get("fraud:2")
    assert isinstance(refused.value, errors.NotFound)
    assert pushed.get("fraud").number == pushed.models.get("fraud").latest_number == 1
    assert [each.number for each in pushed.versions.list("fraud")] == [1]
    listed = list(pushed.versions.list("fraud", show_deleted=True))
    assert [each.delete_time for each in listed] == [None, deleted.delete_time]
    rehearsed = pushed.versions.undelete(deleted, validate_only=True)
    assert (rehearsed.delete_time, rehearsed.etag) == (None, "")
    assert [each.number for each in pushed.versions.list("fraud")] == [1]
    assert pushed.versions.undelete(deleted).delete_time is None
    with pytest.raises(reasons.NotDeleted):
        pushed.versions.purge("fraud:2")
    pushed.versions.delete("fraud@latest")
    assert pushed.versions.purge("fraud:2", validate_only=True).sequence == 0
    purged = pushed.versions.purge(deleted)
    assert (purged.number, purged.digest, purged.sequence > 0) == (2, before.digest, True)
    with pytest.raises(reasons.VersionNotFound):
        pushed.versions.undelete("fraud:2")


def test_a_version_in_use_names_its_aliases(pushed: steelyard.Client) -> None:
    pushed.aliases.set("fraud:1", "champion")
    with pytest.raises(reasons.VersionInUse) as refused:
        pushed.versions.delete("fraud:1.0.0")
    assert refused.value.metadata["aliases"] == "champion"
    with pytest.raises(reasons.ModelInUse):
        pushed.models.delete("fraud")


def test_what_is_deleted_must_be_named(pushed: steelyard.Client) -> None:
    for call in (pushed.versions.delete, pushed.versions.undelete, pushed.versions.purge):
        with pytest.raises(errors.InvalidArgument, match="names no version"):
            call("fraud")
    with pytest.raises(errors.InvalidArgument, match="names no version"):
        pushed.versions.copy("fraud", "copy")
    with pytest.raises(errors.InvalidArgument, match="names a version"):
        pushed.models.delete("fraud:1")


def test_a_model_is_deleted_listed_brought_back_and_purged(pushed: steelyard.Client) -> None:
    name = pushed.models.get("fraud").name
    assert pushed.models.delete("fraud", validate_only=True).delete_time is not None
    deleted = pushed.models.delete("fraud")
    with pytest.raises(reasons.ModelDeleted):
        pushed.get("fraud")
    with pytest.raises(reasons.NameDeleted):
        pushed.models.create("fraud")
    assert list(pushed.models.list()) == []
    assert list(pushed.models.list(show_deleted=True)) == [deleted]
    assert pushed.models.undelete("fraud", validate_only=True).delete_time is None
    assert list(pushed.models.list()) == []
    assert pushed.models.undelete("fraud").delete_time is None
    assert pushed.get("fraud").number == 2
    pushed.models.delete("fraud")
    assert pushed.models.purge("fraud", validate_only=True).sequence == 0
    purged = pushed.models.purge("fraud")
    assert (purged.name, purged.last_number) == (name, 2)
    with pytest.raises(reasons.NameRetired):
        pushed.models.create("fraud")


def test_a_push_of_deleted_content_says_which_version_has_it(
    pushed: steelyard.Client, tmp_path: Path
) -> None:
    pushed.versions.delete("fraud:2")
    with pytest.raises(reasons.ContentDeleted) as refused:
        pushed.push("fraud", tmp_path / "model")
    assert refused.value.metadata["number"] == "2"
    pushed.versions.undelete("fraud:2")
    assert not pushed.push("fraud", tmp_path / "model").created


def test_a_copy_is_pulled_like_any_version_and_knows_its_origin(
    pushed: steelyard.Client, tmp_path: Path
) -> None:
    pushed.models.create("copy")
    rehearsed = pushed.versions.copy("fraud:1", "copy", validate_only=True)
    assert (rehearsed.created, rehearsed.version.number) == (True, 0)
    made = pushed.versions.copy("fraud:1", "copy", semantic_version="2.0.0")
    source = pushed.get("fraud:1")
    assert (made.created, made.version.digest) == (True, source.digest)
    assert made.version.origin is not None
    assert (made.version.origin.version, made.version.origin.create_time) == (str(source), source.create_time)
    assert made.version.import_time == made.version.create_time
    assert source.origin is None
    assert source.import_time is None
    assert not pushed.versions.copy(source, "copy").created
    pushed.pull("copy:2.0.0", tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == MODEL


async def test_all_of_it_can_be_awaited(shared: ServerProcess, pushed: steelyard.Client) -> None:
    namespace = pushed.models.get("fraud").name.partition("/")[0]
    async with steelyard.AsyncClient(shared.address, namespace=namespace) as client:
        await client.models.create("copy")
        assert (await client.versions.copy("fraud:1", "copy")).created
        await client.versions.delete("fraud:1")
        assert (await client.versions.undelete("fraud:1")).number == 1
        await client.versions.delete("fraud:1")
        assert (await client.versions.purge("fraud:1")).number == 1
        numbers = [each.number async for each in client.versions.list("fraud", show_deleted=True)]
        assert numbers == [2]
        await client.models.delete("copy")
        assert (await client.models.undelete("copy")).delete_time is None
        await client.models.delete("copy")
        assert len([each async for each in client.models.list(show_deleted=True)]) == 2
        assert (await client.models.purge("copy")).last_number == 1
