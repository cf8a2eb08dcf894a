"""A bundle that was cut, changed or made up is refused before anything of it is used."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import steelyard
from steelyard import errors, reasons
from steelyard.bundle import archive
from tests.client.bundles.conftest import into
from tests.client.bundles.crafted import (
    Members,
    edited,
    header,
    index_of,
    members_of,
    with_content,
    with_manifest,
    write,
)
from tests.client.trees import write_tree
from tests.servers import ServerProcess

CHOSEN = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture(scope="module")
def small(shared: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a model with one version, an alias and an evaluation with a report."""
    directory = tmp_path_factory.mktemp("small")
    with steelyard.Client(
        shared.address, namespace="small", actor="ada", cache_dir=directory / "c"
    ) as client:
        client.namespaces.create("small")
        tree = write_tree(directory / "model", {"a": b"a", "b": b"bb"})
        client.push("fraud", tree, alias="champion", metrics={"f1": 0.5}, reason="first")
        report = write_tree(directory, {"report": b"report"}) / "report"
        client.evaluations.record("fraud:1", {"f1": 0.6}, report=report)
        return client.export_bundle("fraud", directory / "small.bundle").path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[steelyard.Client]:
    """Make a client of which no call can be answered."""
    with steelyard.Client("127.0.0.1:1", cache_dir=tmp_path_factory.mktemp("cache")) as client:
        yield client


@pytest.fixture
def members(small: Path) -> Members:
    return members_of(small)


def test_a_bundle_that_is_put_together_again_is_the_same(small: Path, tmp_path: Path) -> None:
    assert write(tmp_path / "again", members_of(small)).read_bytes() == small.read_bytes()


def test_it_can_be_looked_into_with_no_server_and_with_tar(small: Path, alone: steelyard.Client) -> None:
    summary = alone.read_bundle(small)
    assert (summary.models[0].name, summary.blob_count, summary.blob_bytes) == ("small/fraud", 3, 9)
    with tarfile.open(small) as tar:
        assert {member.type for member in tar.getmembers()} == {tarfile.REGTYPE}


@CHOSEN
@given(data=st.data())
def test_a_bundle_that_was_cut_at_any_byte_is_refused(
    small: Path, alone: steelyard.Client, tmp_path: Path, data: st.DataObject
) -> None:
    whole = small.read_bytes()
    edges = [each for block in range(0, len(whole), 512) for each in (block, block + 1, block + 511)]
    size = data.draw(st.one_of(st.integers(0, len(whole) - 1), st.sampled_from(edges)))
    cut = tmp_path / "cut"
    cut.write_bytes(whole[:size])
    with pytest.raises(errors.BundleInvalid):
        alone.read_bundle(cut)


@CHOSEN
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_bundle_of_which_any_bit_was_flipped_is_refused(
    small: Path, alone: steelyard.Client, tmp_path: Path, place: float, bit: int
) -> None:
    changed = bytearray(small.read_bytes())
    changed[int(place * len(changed))] ^= 1 << bit
    path = tmp_path / "changed"
    path.write_bytes(changed)
    with pytest.raises(errors.BundleInvalid):
        alone.read_bundle(path)


def test_every_bit_of_a_header_counts(small: Path, alone: steelyard.Client, tmp_path: Path) -> None:
    whole, path = small.read_bytes(), tmp_path / "changed"
    for position in range(512):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(errors.BundleInvalid):
            alone.read_bundle(path)


@CHOSEN
@given(more=st.binary(min_size=1, max_size=2000))
def test_nothing_may_follow_the_end(
    small: Path, alone: steelyard.Client, tmp_path: Path, more: bytes
) -> None:
    path = tmp_path / "longer"
    for added in (more, bytes(len(more))):
        path.write_bytes(small.read_bytes() + added)
        with pytest.raises(errors.BundleInvalid):
            alone.read_bundle(path)


HEX = "a" * 64
STRANGE = ["../escape", "/etc/passwd", "blobs/sha256/../../x", f"blobs/sha256/{HEX.upper()}", "blobs", "",
           "x" * 200, f"blobs/sha256/{HEX[1:]}", f"blobs/sha256/{HEX}a", f"blobs/sha256/{HEX}\n", "a\\b",
           "./bundle.json", "bundle.json/", "ü"]  # fmt: skip


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_a_member_of_any_other_name_is_refused_wherever_it_is(
    members: Members, alone: steelyard.Client, tmp_path: Path, name: str
) -> None:
    listed = list(members.items())
    for place in (0, 3, len(listed)):
        path = write(tmp_path / "strange", [*listed[:place], (name, b"x"), *listed[place:]])
        with pytest.raises(errors.BundleInvalid):
            alone.read_bundle(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["strange"]


@pytest.mark.parametrize(
    "fields",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0},
        {"type": tarfile.LNKTYPE, "linkname": "bundle.json", "size": 0},
        {"type": tarfile.DIRTYPE, "size": 0},
        {"type": tarfile.FIFOTYPE, "size": 0},
        {"type": tarfile.CHRTYPE, "size": 0, "devmajor": 1, "devminor": 3},
        {"type": tarfile.GNUTYPE_LONGNAME},
        {"type": tarfile.XHDTYPE},
        {"type": tarfile.GNUTYPE_SPARSE},
        {"mode": 0o4755},
        {"mtime": 1},
        {"uid": 1000},
        {"uname": "root"},
        {"linkname": "x"},
    ],
    ids=str,
)
@pytest.mark.parametrize("place", [0, 5, -1])
def test_links_and_all_that_is_no_plain_member_are_refused(
    members: Members, alone: steelyard.Client, tmp_path: Path, fields: dict[str, Any], place: int
) -> None:
    place = place % (len(members) + 1)
    path = write(tmp_path / "linked", members, **{f"at{place}": fields})
    with pytest.raises(errors.BundleInvalid):
        alone.read_bundle(path)


def test_members_are_each_there_once_and_in_order(
    members: Members, alone: steelyard.Client, tmp_path: Path
) -> None:
    listed = list(members.items())
    wrong = [
        [*listed, listed[-1]],
        [*listed, ("models.jsonl", b"")],
        [listed[1], listed[0], *listed[2:]],
        listed[1:],
        [*listed[:2], *listed[3:]],
        listed[:-1],
        [*listed, ("index.jsonl", index_of(listed))],
        [*listed, ("blobs/sha256/" + SHA256_OF_NOTHING, b"")],
        [*listed[:-1], (listed[-1][0], listed[-1][1] + b"x")],
    ]
    for each in wrong:
        with pytest.raises(errors.BundleInvalid):
            alone.read_bundle(write(tmp_path / "wrong", each))
    with pytest.raises(errors.BundleInvalid, match="twice"):
        alone.read_bundle(write(tmp_path / "wrong", [*listed, listed[-1]]))


def test_a_blob_has_the_bytes_of_its_name(members: Members, alone: steelyard.Client, tmp_path: Path) -> None:
    """Also when its bytes are those of another one, so that none is missing and none too many."""
    *rest, (first, data), (second, other) = members.items()
    with pytest.raises(errors.BundleInvalid, match="has other bytes"):
        alone.read_bundle(write(tmp_path / "swapped", [*rest, (first, other), (second, data)]))


def test_an_index_that_does_not_say_what_is_there_is_refused(
    members: Members, alone: steelyard.Client, tmp_path: Path
) -> None:
    listed = list(members.items())
    path = tmp_path / "wrong"
    for index in (b"", index_of(listed[:-1]), index_of([*listed, ("x", b"")]), index_of(listed) + b"{}\n"):
        parts = [
            header(name, data) + data + bytes(-len(data) % 512)
            for name, data in [*listed, ("index.jsonl", index)]
        ]
        path.write_bytes(b"".join([*parts, bytes(1024)]))
        with pytest.raises(errors.BundleInvalid, match="index"):
            alone.read_bundle(path)


def test_a_line_of_any_length_takes_no_memory(
    members: Members, alone: steelyard.Client, tmp_path: Path
) -> None:
    for name in ("bundle.json", "versions.jsonl", "events.jsonl"):
        bomb = b'{"x":"' + b"x" * archive.LINE_BYTES_MAXIMUM
        path = write(tmp_path / "bomb", members | {name: bomb + b'"}\n'})
        with pytest.raises(errors.BundleInvalid, match="more than 8 MiB"):
            alone.read_bundle(path)
        with pytest.raises(errors.BundleInvalid):
            alone.read_bundle(write(tmp_path / "deep", members | {name: b"[" * 100_000 + b"\n"}))


def changed(**fields: Any) -> Callable[[Any], Any]:
    return lambda facts: facts | fields


def content(old: str, new: str) -> Callable[[Any], Any]:
    return lambda facts: facts | {"content": facts["content"].replace(old, new)}


def alias(**fields: Any) -> Callable[[Any], Any]:
    return lambda facts: facts | {"aliases": [facts["aliases"][0] | fields]}


def version(**fields: Any) -> Callable[[Any], Any]:
    return lambda facts: facts | {"version": facts["version"] | fields}


def manifest(old: str, new: str) -> Callable[[Any], Any]:
    return lambda facts: with_manifest(facts, facts["manifest"].replace(old, new))


MADE_UP: list[tuple[str, Callable[[Any], Any], str]] = [
    ("bundle.json", changed(kind="other"), "no bundle of Steelyard"),
    ("bundle.json", changed(format="2"), "has format '2'"),
    ("bundle.json", changed(registry="../x"), "where the bundle comes from"),
    ("bundle.json", changed(references="all"), "where the bundle comes from"),
    ("bundle.json", changed(more="x"), "where the bundle comes from"),
    ("models.jsonl", lambda facts: facts["model"], "no object with model and aliases"),
    ("models.jsonl", lambda facts: None, "has no model"),
    ("models.jsonl", changed(aliases={}), "no list"),
    ("models.jsonl", lambda facts: facts | {"model": facts["model"] | {"more": 1}}, "more"),
    ("models.jsonl", lambda facts: facts | {"model": facts["model"] | {"name": "small/other"}}, "not belong"),
    ("models.jsonl", alias(number="2"), "not there"),
    ("models.jsonl", alias(digest="sha256:1"), "not there"),
    ("versions.jsonl", version(digest="sha256:" + "0" * 64), "is not that of sha256:0000"),
    ("versions.jsonl", version(number="2"), "not there"),
    ("versions.jsonl", version(number="0"), "does not belong"),
    ("versions.jsonl", version(number="x"), "number"),
    ("versions.jsonl", version(number=str(2**70)), "number"),
    ("versions.jsonl", version(createTime="yesterday"), "createTime"),
    ("versions.jsonl", version(model="other/fraud"), "does not belong"),
    ("versions.jsonl", version(labels=[1]), "labels"),
    ("versions.jsonl", changed(manifest=7), "no text"),
    ("versions.jsonl", lambda facts: facts | {"manifest": facts["manifest"] + " "}, "is not that of"),
    ("versions.jsonl", changed(manifest="\ud800"), "line 1"),
    ("versions.jsonl", lambda facts: with_manifest(facts, "[]"), "cannot be read"),
    ("versions.jsonl", lambda facts: with_manifest(facts, '{"files":[{}]}'), "cannot be read"),
    ("versions.jsonl", manifest('"role":"other",', '"role":"none",'), "cannot be read"),
    ("versions.jsonl", manifest('"metrics"', '"unknown":[],"metrics"'), "not there"),
    ("versions.jsonl", lambda facts: None, "not there"),
    ("evaluations.jsonl", changed(number="7"), "not there"),
    ("evaluations.jsonl", changed(uid=""), "without a uid"),
    ("evaluations.jsonl", changed(metrics=[{"value": "x"}]), "value"),
    ("evaluations.jsonl", lambda facts: None, "of no version"),
    ("events.jsonl", content('"sequence":"', '"sequence":"9'), "out of place"),
    ("events.jsonl", changed(content="{}"), "does not say whose it is"),
    ("events.jsonl", changed(content="[]"), "no object"),
    ("events.jsonl", changed(texts=[{"name": "reason", "salt": "AAAA", "text": "why"}]), "does not bind"),
    ("events.jsonl", changed(texts=[{"name": "reason", "salt": "!", "text": "why"}]), "a text of"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "edit", "why"), MADE_UP, ids=[f"{place} {row[0]}" for place, row in enumerate(MADE_UP)]
)
def test_a_bundle_whose_parts_do_not_fit_is_refused_with_what_is_wrong(
    members: Members, alone: steelyard.Client, tmp_path: Path, name: str, edit: Callable[[Any], Any], why: str
) -> None:
    path = write(tmp_path / "made up", edited(members, name, edit))
    with pytest.raises(errors.BundleInvalid, match=why):
        alone.read_bundle(path)


def test_events_follow_each_other(members: Members, alone: steelyard.Client, tmp_path: Path) -> None:
    lines = members["events.jsonl"].splitlines(keepends=True)
    for order in (lines[::-1], [*lines, lines[-1]]):
        with pytest.raises(errors.BundleInvalid, match="out of place"):
            alone.read_bundle(write(tmp_path / "events", members | {"events.jsonl": b"".join(order)}))
    foreign = edited(
        members,
        "events.jsonl",
        lambda facts: facts | {"content": json.dumps(json.loads(facts["content"]) | {"registry": "other"})},
    )
    with pytest.raises(errors.BundleInvalid, match="of other out of place"):
        alone.read_bundle(write(tmp_path / "events", foreign))


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"path":"a"', '"path":"con"', reasons.InvalidFilePath),
        ('"path":"a"', '"path": "a"', reasons.DigestMismatch),
        ('"value":"0.5"', '"value":"0.50"', reasons.DigestMismatch),
        ('"format":"1"', '"format":"2"', reasons.DigestMismatch),
    ],
)
def test_a_manifest_that_no_server_wrote_is_refused_by_the_server(
    small: Path, there: steelyard.Client, tmp_path: Path, old: str, new: str, error: type[Exception]
) -> None:
    """Its digest is right, but not that of the content that it says."""
    crafted = write(tmp_path / "crafted", with_content(members_of(small), old, new))
    with pytest.raises(error):
        there.import_bundle(crafted, into=into(there))
    assert list(there.versions.list("fraud")) == []


@pytest.mark.parametrize("path", ["../a", "/a", "a/../../b", "a\\\\b", ".", "B"])
def test_a_path_that_leads_out_or_is_there_twice_is_seen_without_a_server(
    members: Members, alone: steelyard.Client, tmp_path: Path, path: str
) -> None:
    crafted = write(tmp_path / "crafted", with_content(members, '"path":"a"', f'"path":"{path}"'))
    with pytest.raises(errors.BundleInvalid, match=r"small/fraud:1 cannot be imported\. The version has"):
        alone.read_bundle(crafted)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"size_bytes":"2"', '"size_bytes":"3"'),
        ('"digest":"sha256:ca', '"digest":"sha256:cb'),
        ('"digest":"sha256:ca', '"uri":"s3://a","digest":"sha256:ca'),
    ],
)
def test_blobs_are_those_of_the_versions_and_no_others(
    members: Members, alone: steelyard.Client, tmp_path: Path, old: str, new: str
) -> None:
    crafted = write(tmp_path / "crafted", with_content(members, old, new))
    with pytest.raises(errors.BundleInvalid, match="missing, of another size, or of no version"):
        alone.read_bundle(crafted)


def test_what_cannot_be_read_is_told(alone: steelyard.Client, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"This is no bundle. " * 1000)
    for name in ("nothing", "pipe", "."):
        with pytest.raises(errors.FileUnreadable):
            alone.read_bundle(tmp_path / name)
    for name in ("empty", "text"):
        with pytest.raises(errors.BundleInvalid):
            alone.read_bundle(tmp_path / name)


def test_a_bundle_behind_a_link_is_read(small: Path, there: steelyard.Client, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(small)
    assert there.import_bundle(tmp_path / "link", into=into(there)).changed
