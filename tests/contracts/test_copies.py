"""Copies: the same content in another model or namespace, with no bytes moved and no wall broken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import bindparam, select

from steelyard_server import errors
from steelyard_server.core import blobs, copies, files, manifest, namespaces, roles, versions
from steelyard_server.core.content import Content, File, Metric, Parameter
from steelyard_server.core.references import Reference
from steelyard_server.core.versions import Version
from steelyard_server.db import tables
from steelyard_server.db.database import Database
from steelyard_server.history import events
from steelyard_server.history.act import Act
from steelyard_server.history.caller import Caller, Rights
from tests.contracts.ends import add_model, copy, delete, delete_model, end, numbers, put, undelete
from tests.contracts.registry import BLOB, FRAUD, act, by_alias, create, everything, is_held, number, rows

SECOND = ("sha256:" + "5" * 64, 11)
COPY = "other/copy"
_M = tables.metrics.c
MEASURED = select(_M.model_id, _M.name, _M.dataset, _M.slice, _M.value, _M.value_text).where(
    _M.number == bindparam("number")
)


@pytest.fixture
async def source(registry: Database) -> Version:
    """Make a version with everything in it, and an empty model in another namespace."""
    await registry.write(namespaces.create, act(), name="other")
    await add_model(registry, COPY)
    await registry.write(blobs.record, namespace="default", blobs=[SECOND])
    content = Content(
        files=(
            *(File(path, *SECOND) for path in ("a", "b")),
            File("c", *BLOB),
            File("elsewhere", "", 0, uri="s3://bucket/key"),
        ),
        parameters=(Parameter("depth", 4),),
        metrics=(Metric("f1", "", "", 0.5), Metric("loss", "holdout", "", float("nan"))),
    )
    draft = versions.Draft("words", labels={"a": "b"}, semantic_version="1.0.0", idempotency_key="run 7")
    made = await registry.write(
        versions.create, act("grace"), model=FRAUD, built=manifest.build(content), draft=draft
    )
    return made.version


async def test_a_copy_has_the_content_and_words_of_its_source_and_nothing_else(
    registry: Database, source: Version
) -> None:
    await put(registry, "champion", 1)
    made, created, sequence = await copy(registry, by_alias("champion"), COPY)
    read = await registry.read(versions.get, reference=number(1, model=COPY))

    assert (created, sequence, made.number) == (True, made.sequence, 1)
    measured = await registry.read(lambda tx: tx.all(MEASURED, number=made.number))
    assert len(measured) == 2 * len(source.content.metrics)
    # By model, the values and their texts are the same; what no number is compares with nothing.
    assert len({row[1:] for row in measured}) == len(source.content.metrics)
    assert read.content.files == source.content.files
    assert str(read.content.metrics) == str(source.content.metrics)
    same = ("digest", "description", "labels", "file_count", "size_bytes")
    assert [getattr(read, name) for name in same] == [getattr(source, name) for name in same]
    assert (read.semantic_version, read.idempotency_key, read.aliases) == ("", "", ())
    assert (read.stage, read.creator["id"]) == ("development", "ada")
    assert read.import_time == read.create_time > source.create_time
    assert read.uid != source.uid
    (head,) = await registry.read(rows, tables.registry)
    assert read.origin == {
        "system": "steelyard",
        "uri": f"urn:uuid:{head[1]}",
        "version": f"{FRAUD}:1",
        "create_time": events.time_text(source.create_time),
        "creator": "grace",
        "uid": source.uid,
    }


async def test_a_copy_moves_no_bytes_and_its_namespace_holds_the_blobs(
    registry: Database, source: Version
) -> None:
    before = await registry.read(everything)
    await copy(registry, number(1), COPY)
    after = await registry.read(everything)

    assert (after["blobs"], after["manifests"]) == (before["blobs"], before["manifests"])
    for blob in (BLOB, SECOND):
        assert await is_held(registry, blob, namespace="other")
    assert len(after["holdings"]) == len(before["holdings"]) + 2
    assert len(after["events"]) == len(before["events"]) + 1
    await end(registry, 1)
    found, _, _ = await registry.read(files.find, reference=number(1, model=COPY), path="a")
    assert found.digest == SECOND[0]
    _, digest, _ = await registry.read(versions.read_manifest, reference=number(1, model=COPY))
    assert digest == source.digest


async def test_content_that_is_there_already_is_not_copied_again(registry: Database, source: Version) -> None:
    first, _, _ = await copy(registry, number(1), COPY)
    before = await registry.read(everything)
    again, created, _ = await copy(registry, Reference(FRAUD, "digest", source.digest), COPY)
    own, created_too, _ = await copy(registry, number(1), FRAUD)
    assert await registry.read(everything) == before
    assert (again.uid, created, own.uid, created_too) == (first.uid, False, source.uid, False)
    named, created, sequence = await copy(registry, number(1), COPY, semantic_version="2.0.0")
    assert (named.number, named.semantic_version, created, sequence) == (1, "2.0.0", False, named.sequence)
    with pytest.raises(errors.VersionAlreadyExists):
        await copy(registry, number(1), COPY, semantic_version="2.0.1")


async def test_a_copy_of_a_copy_says_where_it_was_last(registry: Database, source: Version) -> None:
    await copy(registry, number(1), COPY)
    await add_model(registry, "default/back")
    made, _, _ = await copy(registry, number(1, model=COPY), "default/back")
    assert made.origin is not None
    assert (made.origin["version"], made.origin["creator"]) == (f"{COPY}:1", "ada")
    assert made.digest == source.digest


REFUSED: list[tuple[Reference, str, dict[str, Any], type[errors.RegistryError]]] = [
    (number(9), COPY, {}, errors.VersionNotFound),
    (number(2), COPY, {}, errors.VersionDeleted),
    (by_alias("nobody"), COPY, {}, errors.AliasNotFound),
    (number(1, model="default/none"), COPY, {}, errors.ModelNotFound),
    (number(1, model="nowhere/none"), COPY, {}, errors.NamespaceNotFound),
    (number(1), "default/none", {}, errors.ModelNotFound),
    (number(1), "nowhere/none", {}, errors.NamespaceNotFound),
    (number(1), "copy", {}, errors.InvalidResourceName),
    (number(1), COPY, {"semantic_version": "1"}, errors.SemanticVersionInvalid),
    (number(1), COPY, {"semantic_version": "3.0.0"}, errors.SemanticVersionAlreadyExists),
    (number(1), "default/gone", {}, errors.ModelDeleted),
    (number(1, model="default/gone"), COPY, {}, errors.ModelDeleted),
    (number(3), COPY, {}, errors.ContentDeleted),
]


async def test_a_refused_copy_changes_nothing(registry: Database, source: Version) -> None:
    await create(registry, 2)
    await delete(registry, 2)
    await create(registry, 3)
    await registry.write(blobs.record, namespace="other", blobs=[BLOB])
    await create(registry, 9, model=COPY, semantic_version="3.0.0")
    await copy(registry, number(3), COPY)
    await delete(registry, 2, model=COPY)
    await add_model(registry, "default/gone")
    await delete_model(registry, "default/gone")
    before = await registry.read(everything)
    for reference, model, options, error in REFUSED:
        with pytest.raises(error):
            await copy(registry, reference, model, **options)
    assert await registry.read(everything) == before
    await undelete(registry, 2, model=COPY)
    _, created, _ = await copy(registry, number(3), COPY)
    assert not created


async def test_who_may_not_read_the_source_gets_no_copy_and_does_not_learn_what_is_there(
    registry: Database, source: Version
) -> None:
    # Reading metadata of the source, and writing here, is not enough.
    writer = {COPY: roles.ROLES["writer"], FRAUD: roles.ROLES["viewer"]}
    why = Act(Caller("user:ada", rights=Rights(0, expire_time=0, permissions=writer)))

    before = await registry.read(everything)
    for reference in (number(1), number(9), number(1, model="default/none")):
        with pytest.raises(errors.PermissionMissing) as refused:
            await registry.write(copies.copy, why, source=reference, model=COPY)
        assert refused.value.metadata["permission"] == "read-bytes"
    assert await registry.read(everything) == before


async def test_copies_both_ways_at_once_wait_for_each_other_and_not_for_ever(
    registry: Database, source: Version
) -> None:
    await registry.write(blobs.record, namespace="other", blobs=[BLOB])
    for seed in range(10, 20):
        await create(registry, seed, model=FRAUD)
        await create(registry, seed + 10, model=COPY)
    there = [copy(registry, number(value), COPY) for value in range(2, 12)]
    back = [copy(registry, number(value, model=COPY), FRAUD) for value in range(1, 11)]
    await asyncio.gather(*(wish for pair in zip(there, back, strict=True) for wish in pair))
    assert await numbers(registry, model=COPY) == list(range(1, 21))
    assert await numbers(registry) == list(range(1, 22))


async def test_a_copy_and_the_end_of_its_source_at_once_leave_a_whole_copy_or_none(
    registry: Database, source: Version
) -> None:
    for seed in range(6):
        await create(registry, seed + 50)
        value = seed + 2
        copied, _ = await asyncio.gather(
            copy(registry, number(value), COPY), end(registry, value), return_exceptions=True
        )
        if isinstance(copied, BaseException):
            assert isinstance(copied, errors.NotFound)
            continue
        reference = number(copied[0].number, model=COPY)
        _, digest, _ = await registry.read(versions.read_manifest, reference=reference)
        listed, _, _, _ = await registry.read(files.page, reference=reference)
        assert (digest, len(listed)) == (copied[0].digest, 1)
