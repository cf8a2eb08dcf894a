"""An import that breaks off, however it does, is made again and goes on; nothing is there twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import steelyard
from steelyard import errors
from steelyard.progress import Progress
from tests.client.bundles.conftest import into, many
from tests.client.proxies import proxy
from tests.client.test_retries import Crash
from tests.client.trees import MIB, large_file, remains, write_tree
from tests.client.waiting import SECONDS
from tests.servers import ServerProcess

COUNT = 200
KILLED_BY_ITSELF = """
import os, signal, sys
import steelyard

address, bundle, into, phase, at_bytes = sys.argv[1:]

def die(progress):
    if progress.phase == phase and progress.done_bytes >= int(at_bytes):
        os.kill(os.getpid(), signal.SIGKILL)

with steelyard.Client(address, actor="ivan") as client:
    client.import_bundle(bundle, into=into, progress=die)
"""


@pytest.fixture
def large(client: steelyard.Client, tmp_path: Path) -> Path:
    """Export many versions, and one with many bytes and an evaluation, last."""
    many(client, COUNT)
    (tmp_path / "large").mkdir()
    large_file(tmp_path / "large" / "weights", size_mib=24)
    client.push("many", tmp_path / "large", alias="champion")
    client.evaluations.record(f"many:{COUNT + 1}", {"f1": 0.5})
    return client.export_bundle("many", tmp_path / "many.bundle").path


def require_whole(client: steelyard.Client, ours: steelyard.Client) -> None:
    """Demand that all is there once, as it is in the registry that it comes from."""
    found = [(version.number, version.digest) for version in client.versions.list("many", show_deleted=True)]
    assert found == [(version.number, version.digest) for version in ours.versions.list("many")]
    assert client.get("many@champion").number == COUNT + 1
    assert len(list(client.evaluations.list(f"many:{COUNT + 1}"))) == 1
    client.verify(f"many:{COUNT + 1}")
    model = client.references.model("many")
    imported = [event for event in client.events.list(model) if event.action == "version.import"]
    assert sum(event.content.count(b'"resource":"version/') for event in imported) == COUNT + 1


@pytest.mark.parametrize(("phase", "at_bytes"), [("verify", 1), ("upload", 16 * MIB), ("import", 60_000)])
def test_a_client_that_was_killed_goes_on_in_another_process(
    client: steelyard.Client,
    there: steelyard.Client,
    elsewhere: ServerProcess,
    large: Path,
    phase: str,
    at_bytes: int,
) -> None:
    arguments = (elsewhere.address, str(large), into(there), phase, str(at_bytes))
    done = subprocess.run(
        [sys.executable, "-c", KILLED_BY_ITSELF, *arguments], check=False, timeout=60, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = there.import_bundle(large, into=into(there))
    require_whole(there, client)
    if phase != "verify":
        assert again.uploaded_bytes < 24 * MIB, "Nothing of the first attempt was used."
    if phase == "import":
        assert 0 < again.models[0].created_count < COUNT
    assert not there.import_bundle(large, into=into(there)).changed


def test_a_server_that_crashes_in_the_middle_has_whole_batches_and_gets_the_rest(
    client: steelyard.Client, child: ServerProcess, large: Path
) -> None:
    crash = Crash(child, phase="import", at_bytes=80_000)
    namespace = client.references.namespace
    with steelyard.Client(child.address, namespace=namespace, actor="ivan") as there:
        try:
            there.import_bundle(large, progress=crash)
        except errors.Unreachable:
            pass
        finally:
            crash.join()
        assert crash.crashed
        there.import_bundle(large)
        require_whole(there, client)


@pytest.mark.parametrize("after_bytes", [500, 3_000, 12_000, 20_000])
def test_connections_that_break_off_lose_and_double_nothing(
    client: steelyard.Client,
    there: steelyard.Client,
    elsewhere: ServerProcess,
    large: Path,
    after_bytes: int,
) -> None:
    namespace = there.references.namespace
    with proxy(elsewhere.address) as between:
        between.cut_after(after_bytes)
        with steelyard.Client(between.address, namespace=namespace, actor="ivan") as through:
            try:
                through.import_bundle(large, into=into(there))
            except errors.SteelyardError:
                through.import_bundle(large, into=into(there))
    require_whole(there, client)


def test_an_import_ends_when_it_is_told_to_and_goes_on_later(
    client: steelyard.Client, there: steelyard.Client, large: Path
) -> None:
    stop = steelyard.Stop()

    def halt(progress: Progress) -> None:
        if progress.phase == "import" and progress.done_bytes > 50_000:
            stop.set()

    with pytest.raises(errors.Stopped):
        there.import_bundle(large, into=into(there), progress=halt, stop=stop)
    made = len(list(there.versions.list("many")))
    assert 0 < made < COUNT
    done = there.import_bundle(large, into=into(there))
    assert (done.models[0].created_count, done.uploaded_bytes) == (COUNT + 1 - made, 0)
    require_whole(there, client)


def test_a_bundle_that_changes_while_it_is_imported_is_noticed(there: steelyard.Client, large: Path) -> None:
    def change(progress: Progress) -> None:
        if progress.phase == "upload" and progress.done_bytes > MIB:
            large.touch()

    with pytest.raises(errors.BundleInvalid, match="changed while it was imported"):
        there.import_bundle(large, into=into(there), progress=change)
    assert list(there.versions.list("many")) == []


def export_in_vain(client: steelyard.Client, path: Path, *, phase: str) -> None:
    def halt(progress: Progress) -> None:
        if progress.phase == phase:
            raise ValueError(phase)

    with pytest.raises(ValueError, match=phase):
        client.export_bundle("many", path, progress=halt)


@pytest.mark.parametrize("phase", ["read", "download"])
def test_an_export_that_breaks_off_leaves_no_file(
    client: steelyard.Client, large: Path, tmp_path: Path, phase: str
) -> None:
    export_in_vain(client, tmp_path / "other", phase=phase)
    assert not (tmp_path / "other").exists()
    assert remains(tmp_path) == []


def test_an_export_outlives_a_crash_of_the_server(child: ServerProcess, tmp_path: Path) -> None:
    with steelyard.Client(child.address, actor="ada") as client:
        client.push("fraud", large_file(tmp_path / "weights", size_mib=64))
        crash = Crash(child, phase="download", at_bytes=20 * MIB)
        client.export_bundle("fraud", tmp_path / "fraud.bundle", progress=crash)
        crash.join()
        assert crash.crashed
        assert client.read_bundle(tmp_path / "fraud.bundle").blob_bytes == 64 * MIB


def test_versions_that_come_while_an_export_runs_do_not_disturb_it(
    client: steelyard.Client, there: steelyard.Client, tmp_path: Path
) -> None:
    many(client, 50)
    wishes = [
        lambda: client.push("many", write_tree(tmp_path / "new", {"a": b"new"}), alias="champion"),
        lambda: client.evaluations.record("many:1", {"f1": 0.5}),
    ]
    threads: list[threading.Thread] = []

    def disturb(progress: Progress) -> None:
        if progress.phase == "read" and wishes:
            threads.append(threading.Thread(target=wishes.pop()))
            threads[-1].start()
            threads[-1].join(SECONDS)

    done = client.export_bundle("many", tmp_path / "many.bundle", progress=disturb)
    assert (len(threads), done.version_count) == (2, 50)
    imported = there.import_bundle(done.path, into=into(there))
    assert (imported.models[0].created_count, imported.models[0].aliases) == (50, ())
