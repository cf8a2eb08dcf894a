"""``gc``, ``fsck`` and ``df``: in a pipe, on a terminal, as JSON, and with the exit code for damage."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import steelyard
from steelyard.v1 import content_pb2, version_service_pb2
from tests.cli.shell import Shell
from tests.client.trees import MODEL, large_file, write_tree
from tests.servers import ServerProcess

DAMAGED = 8


@pytest.fixture
def own(child: ServerProcess, tmp_path: Path) -> Shell:
    """Run commands on a server whose storage no other test uses, with a model in it."""
    shell = Shell(tmp_path, {"STEELYARD_SERVER": child.address})
    shell.ok("push", "--no-capture", "fraud", write_tree(tmp_path / "model", MODEL))
    return shell


@pytest.fixture
def client(child: ServerProcess) -> Iterator[steelyard.Client]:
    """Make in one process what many commands would take long to make."""
    with steelyard.Client(child.address) as made:
        yield made


def add_versions(client: steelyard.Client, model: str, *, count: int) -> None:
    """Create a model with versions that have a file of MODEL and differ in a parameter."""
    data = MODEL["config.json"]
    file = content_pb2.File(
        path="a", digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size_bytes=len(data)
    )
    client.models.create(model)
    seeds = [content_pb2.Parameter(name="seed", integer=seed) for seed in range(count)]
    wishes = [
        version_service_pb2.CreateVersionRequest(content=content_pb2.Content(files=[file], parameters=[seed]))
        for seed in seeds
    ]
    for begin in range(0, count, 40):
        client.versions.batch_create(model, wishes[begin : begin + 40])


def files(child: ServerProcess) -> list[Path]:
    return [path for path in (child.directory / "blobs" / "sha256").rglob("*") if path.is_file()]


def leave_stray(child: ServerProcess) -> Path:
    path = files(child)[0]
    stray = path.with_name(f"{path.name[:4]}{'0' * 60}")
    stray.write_bytes(bytes(2048))
    return stray


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;?]*\w", "", text)


def test_gc_says_what_went_and_a_dry_run_what_would(own: Shell, child: ServerProcess) -> None:
    stray = leave_stray(child)
    would = own.ok("gc", "--dry-run", "--grace", "0", "--trash", "0s")
    assert would.out == ""
    assert would.err == (
        "0 blobs (0 B) would be moved to the trash, 2.0 KiB would be freed. 1 file belonged to no blob.\n"
    )
    assert stray.exists()
    done = own.ok("gc", "--grace", "0", "--trash", "0", "--reason", "room")
    assert "2.0 KiB freed." in done.err
    assert not stray.exists()
    assert own.ok("gc", "--grace", "24h", "--trash", "7d").err == (
        "0 blobs (0 B) moved to the trash, 0 B freed.\n"
    )


def test_gc_says_how_many_versions_and_models_it_does_not_name(own: Shell, client: steelyard.Client) -> None:
    add_versions(client, "many", count=121)
    for index in range(100):
        add_versions(client, f"model{index:03}", count=2)
    own.ok("namespaces", "edit", "default", "--keep-last", "1", "--purge-after", "1h")
    for arguments, would in ((("gc", "--dry-run"), "would be "), (("gc",), "")):
        done = own.ok(*arguments)
        assert done.rows[:2] == [
            ["default/many", "1-100 and 20 more", ""],
            ["default/model000", "1", ""],
        ]
        assert len(done.rows) == 100
        assert done.err.splitlines()[0] == "And 1 more model."
        assert f"220 versions {would}deleted by retention." in done.err


def test_fsck_of_sound_storage_says_so(own: Shell) -> None:
    done = own.ok("fsck", "--rate", "50MiB")
    assert (done.out, done.err) == ("", "All is intact: 3 blobs, 293.0 KiB.\n")
    assert own.ok("fsck", "--older-than", "7d").err == "There was nothing to read.\n"


def test_fsck_ends_with_8_and_a_list_when_bytes_are_damaged_or_gone(own: Shell, child: ServerProcess) -> None:
    largest, *_, smallest = sorted(files(child), key=lambda path: -path.stat().st_size)
    largest.write_bytes(bytes(300_000))
    smallest.unlink()
    leave_stray(child)
    done = own.run("fsck")
    assert done.code == DAMAGED
    assert sorted(done.rows) == sorted(
        [
            [f"sha256:{largest.name}", "damaged", "293.0 KiB", "default/fraud:1"],
            [f"sha256:{smallest.name}", "missing", "4 B", "default/fraud:1"],
        ]
    )
    assert "1 file (2.0 KiB) belongs to no blob; run `steelyard gc` to free that room." in done.err
    assert "error: 2 of 3 blobs (293.0 KiB in all) are damaged or missing." in done.err

    largest.write_bytes(MODEL["weights.onnx"])
    assert "error: 1 of 3 blobs (293.0 KiB in all) is damaged or missing." in own.run("fsck").err

    largest.write_bytes(bytes(300_000))
    done = own.run("fsck", "--json")
    assert done.code == DAMAGED
    found = json.loads(done.out)
    assert found["problemsCount"] == "2"
    assert len(found["problems"]) == 2
    assert found["done"] is True


def test_df_lists_namespaces_and_models_the_largest_first(own: Shell) -> None:
    own.ok("namespaces", "create", "risk")
    write_tree(own.directory, {"shared/config.json": MODEL["config.json"]})
    own.ok("push", "--no-capture", "risk/small", own.directory / "shared")
    assert own.ok("df").rows == [
        ["default", "1", "3", "293.0 KiB", "15 B", "293.0 KiB"],
        ["risk", "1", "1", "15 B", "15 B", "0 B"],
    ]
    assert own.ok("df", "risk").rows == [["risk/small", "1", "1", "15 B", "15 B", "0 B"]]
    assert re.fullmatch(r"3 blobs stored, 293\.0 KiB; 0 B in the trash, .* free\.\n", own.ok("df").err)
    assert json.loads(own.ok("df", "--json").out)["storedBlobsCount"] == "3"
    assert own.run("df", "none-such").code == 5
    a_model = own.run("df", "risk/small")
    assert (a_model.code, "write the namespace alone" in a_model.err) == (2, True)


def test_df_says_that_it_shows_the_largest_when_there_are_more(own: Shell, client: steelyard.Client) -> None:
    with ThreadPoolExecutor() as pool:
        names = (f"n{index:04}" for index in range(1004))
        assert len(list(pool.map(client.namespaces.create, names))) == 1004
    done = own.ok("df")
    assert len(done.rows) == 1000
    assert done.err.splitlines()[0] == "These are the 1,000 largest of 1,005."
    assert json.loads(own.ok("df", "--json").out)["usagesCount"] == "1005"
    assert "largest" not in own.ok("df", "default").err


def test_on_a_terminal_df_draws_bars_and_in_a_pipe_none(own: Shell) -> None:
    drawn = plain(own.on_terminal("df").out)
    assert re.search("namespace +versions +blobs +size +shared +unique", drawn)
    assert re.search("default +1 +3 +293.0 KiB +0 B +293.0 KiB +█{24}", drawn), drawn
    assert not re.search("[█░]", own.ok("df").out)
    drawn = plain(own.on_terminal("df", columns=80).out)
    assert max(map(len, drawn.splitlines())) <= 80
    assert re.search(r"^default .* KiB +█+\s*$", drawn, re.MULTILINE), drawn


def test_on_a_terminal_long_runs_draw_a_bar(own: Shell) -> None:
    own.ok("push", "--no-capture", "large", large_file(own.directory / "large.bin", size_mib=6))
    drawn = plain(own.on_terminal("fsck", "--rate", "4MiB").out)
    assert re.search(r"verify +[━╸]+.* 6\.3/6\.3 MiB", drawn), drawn
    drawn = plain(own.on_terminal("gc").out)
    assert re.search(r"collect +[━╸]+.*4/4", drawn), drawn
    assert "━" not in own.on_terminal("--quiet", "gc").out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("gc", "--grace", "soon"), "--grace"),
        (("gc", "--trash", "-1"), "--trash"),
        (("gc", "--grace", "1w"), "--grace"),
        (("gc", "--grace", "5"), "--grace"),
        (("fsck", "--rate", "50Mb"), "--rate"),
        (("fsck", "--older-than", ""), "--older-than"),
    ],
)
def test_what_is_no_time_and_no_size_is_wrong_usage(
    home: Shell, arguments: tuple[str, ...], hint: str
) -> None:
    done = home.run(*arguments)
    assert done.code == 2
    assert hint in done.err
    assert "is not like" in done.err
