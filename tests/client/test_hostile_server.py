"""A server that lies writes nothing outside the destination, deletes nothing, and is found out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import status_pb2

import steelyard
from steelyard import errors
from steelyard.v1 import version_service_pb2
from tests.client.hostile import MODEL, Hostile, digest_of, hostile_server
from tests.client.trees import MIB, tree_of

LARGE = bytes(range(256)) * 4096 * 2
SMALL = b"small"
UNREADABLE = b"\xff\xff\xff"
BROKEN_DETAILS = {
    "no status": UNREADABLE,
    "no error info": status_pb2.Status(
        details=[any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=UNREADABLE)]
    ).SerializeToString(),
}


@pytest.fixture
def evil() -> Iterator[Hostile]:
    with hostile_server() as service:
        yield service


@pytest.fixture
def victim(evil: Hostile) -> Iterator[steelyard.Client]:
    with steelyard.Client(evil.address, timeout_seconds=10, patience_seconds=5) as client:
        yield client


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a directory to pull into, in one that has something to lose."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious").write_bytes(b"precious")
    return tmp_path / "home"


def assert_untouched(home: Path) -> None:
    found = {path: data for path, data in tree_of(home).items() if ".partial/" not in path}
    assert found == {"precious": b"precious"}
    assert sorted(path.name for path in home.parent.iterdir() if path.name != "cache") == ["home"]


def test_an_honest_answer_is_taken(evil: Hostile, victim: steelyard.Client, home: Path) -> None:
    evil.add("deep/large", LARGE)
    evil.add("small", SMALL)
    victim.pull(MODEL, home / "copy")
    assert tree_of(home / "copy") == {"deep/large": LARGE, "small": SMALL}


@pytest.mark.parametrize(
    "path",
    [
        "../escaped",
        "a/../../escaped",
        "..",
        ".",
        "",
        "/escaped",
        "a//b",
        "./a",
        "a/./b",
        "a\0b",
        "..\\escaped",
        "a/",
        "\ud800",
        "precious\ud83d/x",
    ],
)
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_path_that_leads_elsewhere_is_refused(
    evil: Hostile, victim: steelyard.Client, home: Path, path: str, data: bytes
) -> None:
    evil.add(path, data)
    for action in (
        lambda: victim.pull(MODEL, home / "copy"),
        lambda: victim.verify(MODEL, home),
        lambda: victim.read(MODEL, path),
    ):
        with pytest.raises(errors.UnsafePath):
            action()
    assert_untouched(home)


@pytest.mark.parametrize("other", ["model.bin", "MODEL.bin", "model.BIN"])
def test_a_path_twice_is_refused(evil: Hostile, victim: steelyard.Client, home: Path, other: str) -> None:
    evil.add("model.bin", SMALL)
    evil.files.append({**evil.files[0], "path": other})
    with pytest.raises(errors.UnsafePath, match="twice"):
        victim.pull(MODEL, home / "copy")
    assert_untouched(home)


def test_a_file_that_is_a_directory_too_is_an_error(
    evil: Hostile, victim: steelyard.Client, home: Path
) -> None:
    evil.add("a", SMALL)
    evil.add("a/b", SMALL)
    with pytest.raises(errors.SteelyardError):
        victim.pull(MODEL, home / "copy")
    assert_untouched(home)


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256:../../../precious", "md5:ab", "sha256:" + "AB" * 32, "{precious}"]
)
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_digest_that_is_none_names_no_file_of_ours(
    evil: Hostile, victim: steelyard.Client, home: Path, digest: str, data: bytes
) -> None:
    """The cache and the parts of a broken pull are files with digests as names."""
    evil.add("model", data, digest=digest.format(precious=f"sha256:{home / 'precious'}"))
    with pytest.raises(errors.DownloadCorrupt):
        victim.pull(MODEL, home / "copy")
    assert_untouched(home)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"files": 1}',
        b'{"files": [1]}',
        b'{"files": [{}]}',
        b'{"files": [{"path": 1}]}',
        b'{"files": [{"path": "a", "digest": 3, "size_bytes": "1"}]}',
        b'{"files": [{"path": "a", "size_bytes": "many"}]}',
        b'{"files": [{"path": "a", "size_bytes": null}]}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_manifest_that_is_none_is_an_error_of_this_package(
    evil: Hostile, victim: steelyard.Client, home: Path, encoded: bytes
) -> None:
    evil.encoded = encoded or b" "
    with pytest.raises(errors.DownloadCorrupt, match="manifest"):
        victim.pull(MODEL, home / "copy")
    assert_untouched(home)


def test_a_manifest_of_another_digest_is_refused(evil: Hostile, victim: steelyard.Client, home: Path) -> None:
    evil.add("model", SMALL)
    evil.digest = digest_of(b"another")
    with pytest.raises(errors.DownloadCorrupt, match=r"manifest.*" + evil.digest):
        victim.pull(MODEL, home / "copy")
    assert_untouched(home)


def test_another_version_than_the_one_asked_for_by_digest_is_refused(
    evil: Hostile, victim: steelyard.Client, home: Path
) -> None:
    evil.add("model", SMALL)
    asked = digest_of(b"the right one")
    with pytest.raises(errors.DownloadCorrupt, match=asked):
        victim.pull(f"evil@{asked}", home / "copy")
    version = victim.get("evil")
    evil.add("more", SMALL)
    with pytest.raises(errors.DownloadCorrupt, match=version.digest):
        victim.pull(version, home / "copy")
    assert_untouched(home)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("damage", ["other", "more", "less", "none", "much more"])
def test_bytes_that_are_not_those_of_the_digest_are_never_put_in_place(
    evil: Hostile, victim: steelyard.Client, home: Path, data: bytes, damage: str
) -> None:
    evil.add("model", data)
    evil.sent["model"] = {
        "other": [data[:-1] + b"!"],
        "more": [data, b"!"],
        "less": [data[:-1]],
        "none": [],
        "much more": [data + b"!" * MIB],
    }[damage]
    for _ in range(2):
        with pytest.raises(errors.DownloadCorrupt, match="model"):
            victim.pull(MODEL, home / "copy")
        with pytest.raises(errors.DataLoss, match=r"1 of 1 files .* model arrives with other bytes"):
            victim.verify(MODEL)
        with pytest.raises(errors.DownloadCorrupt, match="model"):
            victim.read(MODEL, "model")
    assert_untouched(home)
    evil.sent["model"] = [data]
    victim.pull(MODEL, home / "copy")
    assert tree_of(home / "copy") == {"model": data}


async def test_reading_on_a_loop_ends_with_the_same_error(evil: Hostile, home: Path) -> None:
    evil.add("model", LARGE)
    evil.sent["model"] = [LARGE[:-1] + b"!"]
    async with steelyard.AsyncClient(evil.address) as client, client.open(MODEL, "model") as chunks:
        with pytest.raises(errors.DownloadCorrupt):
            async for _ in chunks:
                pass


def test_a_file_that_nobody_asked_for_is_an_error(
    evil: Hostile, victim: steelyard.Client, home: Path
) -> None:
    evil.add("model", SMALL)
    evil.answered_as = "../precious"
    with pytest.raises(errors.SteelyardError, match="not asked for"):
        victim.pull(MODEL, home / "copy")
    assert_untouched(home)


def test_a_server_that_is_no_steelyard_is_an_error_with_a_sentence(home: Path) -> None:
    with hostile_server() as evil, steelyard.Client(evil.address) as client:
        with pytest.raises(errors.SteelyardError, match=r"not found"):
            client.models.get("fraud")
        assert json.loads(evil.manifest())["files"] == []


@pytest.mark.parametrize("method", ["GetVersion", "GetManifest", "ReadFiles"])
def test_an_answer_that_cannot_be_read_is_an_error_of_the_server(
    evil: Hostile, victim: steelyard.Client, home: Path, method: str
) -> None:
    evil.add("small", SMALL)
    evil.raw[method] = lambda requests, context: iter([UNREADABLE])
    with pytest.raises(errors.Internal):
        victim.pull(MODEL, home / "copy")
    assert_untouched(home)


@pytest.mark.parametrize("details", BROKEN_DETAILS.values(), ids=BROKEN_DETAILS)
def test_a_status_with_details_that_cannot_be_read_is_the_status(
    evil: Hostile, victim: steelyard.Client, details: bytes
) -> None:
    def refuse(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(grpc.StatusCode.NOT_FOUND, "Not here.")
        yield b""

    evil.raw["GetVersion"] = refuse
    with pytest.raises(errors.NotFound, match="Not here"):
        victim.get(MODEL)


def test_a_time_out_of_all_calendars_is_an_error_of_the_server(
    evil: Hostile, victim: steelyard.Client
) -> None:
    answer = version_service_pb2.GetVersionResponse()
    answer.version.create_time.seconds = 1 << 60
    evil.raw["GetVersion"] = lambda requests, context: iter([answer.SerializeToString()])
    with pytest.raises(errors.Internal, match="time"):
        victim.get(MODEL)
