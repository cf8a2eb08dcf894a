"""What breaks on the way is tried again, goes on where it was, and happens once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import steelyard
from steelyard import errors, reasons
from steelyard.progress import Progress
from tests.client.proxies import Proxy, proxy
from tests.client.trees import MIB, large_file, remains, tree_of
from tests.client.waiting import SECONDS, until
from tests.servers import ServerProcess


class Crash:
    """A progress callback that kills the server once and starts it again, while the transfer goes on.

    Args:
        at_bytes: how far the transfer is then.
    """

    def __init__(self, server: ServerProcess, *, phase: str, at_bytes: int) -> None:
        self._server, self._phase, self._at_bytes = server, phase, at_bytes
        self._restart = threading.Thread(target=server.start)
        self.crashed = False

    def __call__(self, progress: Progress) -> None:
        if progress.phase == self._phase and progress.done_bytes >= self._at_bytes and not self.crashed:
            self.crashed = True
            self._server.kill()
            self._restart.start()

    def join(self) -> None:
        self._restart.join(SECONDS)


@pytest.fixture
def between(shared: ServerProcess) -> Iterator[Proxy]:
    with proxy(shared.address) as opened:
        yield opened


@pytest.fixture
def through(between: Proxy, client: steelyard.Client) -> Iterator[steelyard.Client]:
    """Connect through a proxy, in the namespace of `client`."""
    namespace = client.models.create("first").name.partition("/")[0]
    with steelyard.Client(between.address, namespace=namespace) as connected:
        yield connected


def test_a_push_outlives_a_crash_of_the_server_and_sends_what_was_kept_once(
    child: ServerProcess, tmp_path: Path
) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=96)
    crash = Crash(child, phase="upload", at_bytes=72 * MIB)
    with steelyard.Client(child.address) as client:
        pushed = client.push("fraud", path, progress=crash)
        crash.join()
        assert crash.crashed
        assert pushed.created
        assert pushed.uploaded_bytes < (96 + 72) * MIB * 0.8, "Nothing of the first attempt was used."
        client.verify("fraud:1")
        assert [version.number for version in client.versions.list("fraud")] == [1]


def test_a_push_that_was_given_up_goes_on_in_another_process_of_the_same_caller(
    child: ServerProcess, tmp_path: Path
) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=48)
    done: list[int] = []

    def give_up(progress: Progress) -> None:
        done.append(progress.done_bytes)
        if progress.done_bytes > 40 * MIB:
            raise KeyboardInterrupt

    with steelyard.Client(child.address) as client:
        with pytest.raises(KeyboardInterrupt):
            client.push("fraud", path, progress=give_up)
        assert not list(client.models.list())
    child.kill()
    child.start()
    with steelyard.Client(child.address) as client:
        pushed = client.push("fraud", path)
        assert pushed.uploaded_bytes < 40 * MIB
        client.verify("fraud:1")


def test_a_pull_outlives_a_crash_of_the_server_and_receives_every_byte_once(
    child: ServerProcess, tmp_path: Path
) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=48)
    crash = Crash(child, phase="download", at_bytes=32 * MIB)
    with proxy(child.address) as between, steelyard.Client(between.address) as client:
        client.push("fraud", path)
        before = between.answered_bytes
        client.pull("fraud", tmp_path / "copy", progress=crash)
        crash.join()
        assert crash.crashed
        assert between.answered_bytes - before < (48 + 16) * MIB
    assert tree_of(tmp_path / "copy") == {"large.bin": path.read_bytes()}
    assert not remains(tmp_path)


@pytest.mark.parametrize("at_mib", [0, 1, 5])
def test_a_pull_goes_on_when_its_connections_break(
    through: steelyard.Client, between: Proxy, tmp_path: Path, at_mib: int
) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=8)
    version = through.push("fraud", path).version
    before = between.answered_bytes
    between.cut_after(at_mib * MIB + 1)
    through.pull(version, tmp_path / "copy")
    assert (tmp_path / "copy" / "large.bin").read_bytes() == path.read_bytes()
    assert between.answered_bytes - before < 14 * MIB


def test_verify_and_read_go_on_when_their_connections_break(
    through: steelyard.Client, between: Proxy, tmp_path: Path
) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=6)
    through.push("fraud", path)
    between.cut_after(3 * MIB)
    through.verify("fraud")
    between.cut_after(3 * MIB)
    assert through.read("fraud", "large.bin") == path.read_bytes()


def test_a_change_whose_answer_was_lost_happens_once(
    client: steelyard.Client, through: steelyard.Client, between: Proxy
) -> None:
    through.models.get("first")
    before = client.server_info().sequence
    created: list[steelyard.Model] = []
    between.dropping_answers = True
    caller = threading.Thread(target=lambda: created.append(through.models.create("fraud")))
    caller.start()
    until(lambda: [model.name for model in client.models.list()][1:] != [])
    between.dropping_answers = False
    between.cut()
    caller.join(SECONDS)
    assert created == [client.models.get("fraud")]
    assert client.server_info().sequence == before + 1


def test_a_version_whose_answer_was_lost_is_made_once_and_said_to_be_new(
    client: steelyard.Client, through: steelyard.Client, between: Proxy, tmp_path: Path
) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=1)
    through.push("first", path)
    path.write_bytes(b"another")
    client.push("other", path)
    pushed: list[steelyard.PushResult] = []
    made = through.versions.create

    def create(*args: object, **kwargs: object) -> object:
        between.dropping_answers = not kwargs.get("validate_only")
        return made(*args, **kwargs)  # type: ignore[arg-type]

    through.versions.create = create  # type: ignore[method-assign,assignment]
    caller = threading.Thread(target=lambda: pushed.append(through.push("first", path)))
    caller.start()
    until(lambda: client.models.get("first").latest_number == 2)
    between.dropping_answers = False
    between.cut()
    caller.join(SECONDS)
    assert [(each.created, each.version.number) for each in pushed] == [(True, 2)]


def test_every_change_has_a_request_id_of_its_own(client: steelyard.Client) -> None:
    client.models.create("fraud")
    with pytest.raises(reasons.ModelAlreadyExists):
        client.models.create("fraud")


def test_a_call_outlives_broken_and_refused_connections(through: steelyard.Client, between: Proxy) -> None:
    through.models.get("first")
    between.refusals = 2
    between.cut()
    assert through.models.get("first").latest_number == 0
    assert between.refusals == 0


def test_a_server_that_is_not_there_is_said_with_its_address_and_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with (
        steelyard.Client(address, timeout_seconds=20) as client,
        pytest.raises(errors.Unreachable, match=rf"{address}.*steelyard serve"),
    ):
        client.get("fraud")


def test_a_transfer_gives_up_when_nothing_moves_for_its_patience(
    child: ServerProcess, tmp_path: Path
) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=24)
    killed: list[Progress] = []

    def kill(progress: Progress) -> None:
        if progress.phase != "hash" and progress.done_bytes > 8 * MIB and not killed:
            killed.append(progress)
            child.kill()

    with (
        steelyard.Client(child.address, patience_seconds=3) as client,
        pytest.raises(errors.Unreachable),
    ):
        client.push("fraud", path, progress=kill)
    killed.clear()
    child.start()
    with steelyard.Client(child.address, patience_seconds=3) as client:
        version = client.push("fraud", path).version
        with pytest.raises(errors.Unreachable):
            client.pull(version, tmp_path / "copy", progress=kill)
    assert not (tmp_path / "copy").exists()


def test_a_call_ends_at_its_deadline_with_a_sentence(between: Proxy) -> None:
    between.dropping_answers = True
    before = time.monotonic()
    with (
        steelyard.Client(between.address, timeout_seconds=0.5) as client,
        pytest.raises(errors.DeadlineExceeded, match=rf"{between.address}.*allow more time"),
    ):
        client.get("fraud")
    assert time.monotonic() - before < SECONDS


def test_a_closed_client_says_so(client: steelyard.Client) -> None:
    client.close()
    with pytest.raises(errors.SteelyardError, match="closed"):
        client.get("fraud")
