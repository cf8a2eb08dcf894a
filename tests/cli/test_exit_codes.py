"""The exit code says what kind of outcome it was; a sentence on standard error says which, and what to do."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from steelyard import errors, reasons
from steelyard.cli import app
from tests.cli.shell import Outcome, Shell, finished
from tests.client.hostile import hostile_server
from tests.client.proxies import proxy
from tests.client.trees import large_file, tree_of, write_tree
from tests.client.waiting import until
from tests.servers import ServerProcess


def assert_said(done: Outcome, code: int, *words: str) -> None:
    """Check the exit code, and that an error with *words* stands alone, on standard error."""
    assert done.code == code, done.out + done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert re.search(r"^(error: \S+ .*[.)?]|Error: .*|.*\bError\b.*)$", done.err, re.MULTILINE), done.err
    for word in words:
        assert word in done.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("push fraud model -m precision", ["'precision' is not name=value", "-m"]),
        ("push fraud model -m =1", ["is not name=value"]),
        ("push fraud model -m precision=high", ["'high' is not a number"]),
        ("push fraud model -m a=1 -m a=2", ["'a' is given twice"]),
        ("push fraud model -m a@b@c=1", ["'a@b@c' names no metric", "name@dataset"]),
        ("push fraud model -m a[x]=1", ["'a[x]' names no metric"]),
        ("push fraud model -p depth", ["'depth' is not name=value", "-p"]),
        ("push fraud model -p seed=9223372036854775808", ["64 bits", "quotes"]),
        ("push fraud model -l team", ["'team' is not name=value", "--label"]),
        ("push fraud model --dataset train", ["'train' is not name=value"]),
        ("push fraud model --parent fine-tuned-from", ["REF:relation"]),
        ("push fraud model --parent fraud:1:child-of", ["'child-of' is none of", "fine-tuned-from"]),
        ("push fraud:1 model", ["'fraud:1' names a version", "'fraud'"]),
        ("push fraud model --semver 1.4", ["SEMANTIC_VERSION_INVALID"]),
        ("push a\\b model", ["INVALID_NAME"]),
        ("push fraud", ["Missing argument 'path'"]),
        ("push fraud missing", ["There is nothing at missing"]),
        ("push fraud model -f missing.yaml", ["missing.yaml cannot be read"]),
        ("push fraud model --metrics missing.json", ["missing.json cannot be read"]),
        ("push fraud model --dataset train=missing.csv", ["missing.csv cannot be read"]),
        ("verify fraud missing", ["no directory"]),
        ("push fraud model --mertic a=1", ["No such option: --mertic", "--metric"]),
        ("pull fraud: copy", ["'fraud:' ends in ':'"]),
        ("pull fraud:0 copy", ["they start at 1"]),
        ("pull fraud copy --include *.gguf", ["*.gguf", "files"]),
        ("versions show @champion", ["names no model"]),
        ("versions ls fraud --limit 0", ["--limit"]),
        ("models edit fraud --direction loss=up", ["'up' is no direction", "loss=lower"]),
        ("models edit fraud", ["nothing to change", "--owner"]),
        ("versions edit fraud:1", ["nothing to change", "--label"]),
        ("namespaces edit default", ["nothing to change", "--description", "--quota-size"]),
        ("namespaces edit default --quota-size 10Gb", ["--quota-size", "'10Gb' is not like", "2GB"]),
        ("namespaces create x --quota-versions -1", ["--quota-versions", "greater than or equal to 0"]),
        ("environments edit x", ["nothing to change", "--accept", "--accept-any"]),
        ("environments edit x --accept a --accept-any", ["--accept-any", "not both"]),
        ("environments create Production", ["INVALID_NAME"]),
        ("serve --database mysql://localhost", ["PostgreSQL", "postgresql+psycopg://"]),
        ("serve --backup-dir nothing", ["backup_dir is nothing, which is no directory", "mkdir"]),
        ("serve --backup-dir model/weights.onnx", ["weights.onnx, which is no directory"]),
        ("serve --gc-grace 1", ["gc_grace is '1'", "unit"]),
        ("alias set fraud:1 latest", ["RESERVED_NAME"]),
        ("--server http://localhost:7433 status", ["is no address", "localhost:7433"]),
        ("--server localhost:99999 status", ["is no address"]),
        ("--actor añа status", ["ASCII"]),
        ("--context missing status", ["no context 'missing'"]),
        ("--timeout 0 status", ["--timeout"]),
        ("contexts add a/b localhost", ["'a/b' may have"]),
        ("contexts add name http://x", ["is no address"]),
        ("contexts use missing", ["no context 'missing'"]),
        ("contexts rm missing", ["no context 'missing'"]),
        ("serve --no-such-option", ["No such option"]),
        ("pusch", ["No such command 'pusch'"]),
        ("versions undelete fraud:1", ["No such command 'undelete'", "Did you mean 'restore'?"]),
        ("versions delete fraud:1", ["Did you mean 'rm'?"]),
        ("alias remove fraud a", ["Did you mean 'rm'?"]),
        ("models list", ["Did you mean 'ls'?"]),
        ("models lst", ["Did you mean 'ls'?"]),
        ("models ls -n risk", ["No such option: -n", "Write it before the command: steelyard -n"]),
        ("pull fraud copy --quiet", ["No such option: --quiet", "Write it before the command"]),
    ],
)
def test_wrong_usage_is_2(pushed: Shell, command: str, words: list[str]) -> None:
    assert_said(pushed.run(*command.split()), 2, *words)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pull fraud full", ["full has something in it"]),
        ("push fraud linked", ["link is a symbolic link"]),
        ("push fraud empty", ["no file to push"]),
        ("push other model --idempotency-key once", ["IDEMPOTENCY_KEY_REUSED"]),
        ("models create fraud", ["MODEL_ALREADY_EXISTS"]),
        ("alias set fraud:1 champion --new", ["ALIAS_CHANGED"]),
        ("alias set fraud:1 champion --etag 1", ["ALIAS_CHANGED"]),
        ("alias rollback fraud champion", ["NO_ROLLBACK_TARGET"]),
    ],
)
def test_what_a_rule_refuses_is_3(pushed: Shell, command: str, words: list[str]) -> None:
    write_tree(pushed.directory, {"full/mine": b"", "linked/a": b"", "first/a": b"first"})
    (pushed.directory / "empty").mkdir()
    (pushed.directory / "linked" / "link").symlink_to("a")
    if "--idempotency-key" in command:
        pushed.ok("push", "other", "first", "--idempotency-key", "once")
    assert_said(pushed.run(*command.split()), 3, *words)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("models show missing", "MODEL_NOT_FOUND"),
        ("versions show fraud:7", "VERSION_NOT_FOUND"),
        ("pull fraud@missing copy", "ALIAS_NOT_FOUND"),
        ("cat fraud missing", "FILE_NOT_FOUND"),
        ("push missing/fraud model", "NAMESPACE_NOT_FOUND"),
        ("push fraud model --parent missing:1:distilled-from", "MODEL_NOT_FOUND"),
        ("alias rm fraud missing", "ALIAS_NOT_FOUND"),
        ("namespaces rm missing", "NAMESPACE_NOT_FOUND"),
        ("environments rm missing", "ENVIRONMENT_NOT_FOUND"),
        ("environments show missing", "ENVIRONMENT_NOT_FOUND"),
    ],
)
def test_what_is_not_there_is_5(pushed: Shell, command: str, reason: str) -> None:
    assert_said(pushed.run(*command.split()), 5, reason)


def test_a_namespace_with_models_is_not_removed_and_that_is_3(pushed: Shell) -> None:
    done = pushed.run("namespaces", "rm", pushed.variables["STEELYARD_NAMESPACE"])
    assert_said(done, 3, "NAMESPACE_NOT_EMPTY")


def test_what_the_server_denies_is_6(home: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """No rule of a server without logins denies anything, so one that does stands in for it."""
    with hostile_server() as server:
        server.denied = grpc.StatusCode.PERMISSION_DENIED
        done = home.run("--server", server.address, "versions", "show", "fraud")
        assert_said(done, 6, "You may not.")
        server.denied = grpc.StatusCode.UNAUTHENTICATED
        assert home.run("--server", server.address, "versions", "show", "fraud").code == 6


def test_no_server_is_7_and_the_sentence_says_how_to_start_one(home: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    assert_said(home.run("--server", address, "status"), 7, address, "steelyard serve")


def test_a_port_that_is_taken_is_one_sentence(home: Shell, shared: ServerProcess) -> None:
    done = home.run("serve", "--listen", shared.address, "--data-dir", "other")
    assert_said(done, 3, "cannot listen", "--listen")
    assert done.err.count("\n") == 1


def test_a_server_that_does_not_answer_in_time_is_7(shared: ServerProcess, home: Shell) -> None:
    with proxy(shared.address) as between:
        between.dropping_answers = True
        done = home.run("--server", between.address, "--timeout", "0.5", "status")
    assert_said(done, 7, between.address, "allow more time")


def test_one_flipped_bit_of_a_directory_is_8(pushed: Shell) -> None:
    pushed.ok("pull", "fraud", "copy")
    path = pushed.directory / "copy" / "weights.onnx"
    data = bytearray(path.read_bytes())
    data[123_456] ^= 1
    path.write_bytes(data)
    assert_said(pushed.run("verify", "fraud", "copy"), 8, "1 of 3 files", "weights.onnx has other bytes")


def test_bytes_that_are_damaged_on_the_server_are_8(child: ServerProcess, home: Shell, model: Path) -> None:
    (model / "more.onnx").write_bytes(bytes(200_000))
    home.ok("--server", child.address, "push", "fraud", model)
    for path in child.directory.rglob("*"):
        if path.is_file() and path.stat().st_size in {200_000, 300_000}:
            path.chmod(0o600)
            with path.open("r+b") as file:
                file.seek(1000)
                file.write(b"damaged")
    for command in ("verify fraud", "pull fraud copy", "cat fraud weights.onnx"):
        done = home.run("--server", child.address, *command.split())
        assert done.code == 8, done.err
        assert "BLOB_CORRUPT" in done.err
    verified = home.run("--server", child.address, "verify", "fraud")
    assert re.search(r"2 of 5 files .*more\.onnx is damaged.*weights\.onnx is damaged", verified.err)
    assert not (home.directory / "copy").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (reasons.Overloaded("Too busy."), 3),
        (reasons.Draining("Stopping."), 7),
        (errors.Internal("A bug."), 1),
        (reasons.InternalError("A bug of the server."), 1),
        (errors.UnsafePath("No."), 3),
        (errors.DownloadCorrupt("No."), 8),
        (ValueError("a bug of ours"), None),
    ],
)
def test_errors_that_are_hard_to_bring_about_have_their_code_too(error: Exception, code: int | None) -> None:
    assert app.exit_code(error) == code


@contextmanager
def started(shell: Shell, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = shell.start(*arguments)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_ctrl_c_in_a_push_is_130_and_the_same_command_goes_on(
    shell: Shell, shared: ServerProcess, tmp_path: Path
) -> None:
    large_file(tmp_path / "large.bin", size_mib=64)
    with proxy(shared.address) as between:
        between.stall_after(32 << 20, answers=False)
        with started(shell, "-s", between.address, "push", "fraud", "large.bin") as process:
            until(lambda: between.is_stalled)
            process.send_signal(signal.SIGINT)
            done = finished(process)
    assert (done.code, done.out) == (130, "")
    assert done.err == "Interrupted. What was transferred is kept; the same command goes on from there.\n"
    assert shell.run("versions", "show", "fraud").code == 5
    again = shell.ok("push", "fraud", "large.bin", "--no-capture")
    sent = re.search(r"1 file, ([\d.]+) MiB sent", again.err)
    assert sent is not None
    assert float(sent[1]) < 60


def test_ctrl_c_in_a_pull_is_130_and_leaves_no_directory(
    shell: Shell, shared: ServerProcess, tmp_path: Path
) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=16)
    shell.ok("push", "fraud", path, "--no-capture")
    with proxy(shared.address) as between:
        between.stall_after(6 << 20, answers=True)
        with started(shell, "-s", between.address, "pull", "fraud", "copy") as process:
            until(lambda: between.is_stalled)
            process.send_signal(signal.SIGINT)
            done = finished(process)
    assert (done.code, done.out) == (130, "")
    assert done.err.startswith("Interrupted. What was transferred is kept; ")
    assert "Traceback" not in done.err
    assert not (tmp_path / "copy").exists()
    shell.ok("pull", "fraud", "copy")
    assert tree_of(tmp_path / "copy") == {"large.bin": path.read_bytes()}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("versions ls fraud", ""),
        ("verify fraud", ""),
        ("gc", " The server goes on with it; the same command follows it again."),
        ("fsck", " The server goes on with it; the same command follows it again."),
        ("fsck --older-than 7d", " The server goes on with it."),
        ("backup", " The server goes on with it; the same command follows it again."),
    ],
)
def test_ctrl_c_says_what_is_kept_only_where_something_is(
    pushed: Shell, shared: ServerProcess, command: str, words: str
) -> None:
    with proxy(shared.address) as between:
        between.stall_after(0, answers=True)
        with started(pushed, "-s", between.address, *command.split()) as process:
            until(lambda: between.is_stalled)
            process.send_signal(signal.SIGINT)
            done = finished(process)
    assert (done.code, done.out, done.err) == (130, "", f"Interrupted.{words}\n")


@pytest.mark.parametrize("command", ["cat fraud weights.onnx", "files fraud", "files fraud --json"])
def test_a_reader_that_goes_away_is_no_error_to_talk_about(pushed: Shell, command: str) -> None:
    near, far = os.pipe()
    os.close(near)
    process = pushed.start(*command.split(), stdout=far)
    os.close(far)
    _, said = process.communicate(timeout=60)
    assert said == b""
    assert process.returncode == 141


def test_a_disk_that_is_full_is_a_sentence(pushed: Shell) -> None:
    with Path("/dev/full").open("wb") as full:
        process = pushed.start("cat", "fraud", "weights.onnx", stdout=full.fileno())
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.decode().startswith("error: ")
    assert b"No space left" in said
    assert b"Traceback" not in said


def test_a_configuration_that_cannot_be_written_is_a_sentence(home: Shell, tmp_path: Path) -> None:
    write_tree(tmp_path, {"config": b"a file where a directory should be"})
    done = home.run("contexts", "add", "local", "localhost:7433")
    assert done.code in {1, 2}
    assert "config" in done.err
    assert "Traceback" not in done.err


def test_no_summary_is_cut_in_the_help(home: Shell) -> None:
    assert "..." not in home.ok("--help").out.partition("Commands:")[2]


def test_codes_are_in_the_help() -> None:
    printed = " ".join(CliRunner().invoke(app.app, ["--help"]).output.split())
    codes = "0 done, 1 unexpected, 2 usage, 3 refused by a rule or declined, 4 still pending, 5 not found, "
    assert f"{codes}6 denied, 7 unreachable, 8 damaged, 130 interrupted, 141 output closed" in printed
