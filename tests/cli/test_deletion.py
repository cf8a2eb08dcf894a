"""Deletes, restores, purges and copies from a shell: what is said, what is asked, and the exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from steelyard.v1 import model_pb2, model_service_pb2, version_pb2, version_service_pb2
from tests.cli.shell import Outcome, Shell, finished
from tests.client.trees import write_tree


@pytest.fixture
def two(pushed: Shell) -> Shell:
    """Add a second version, which nothing points to."""
    write_tree(pushed.directory / "model", {"config.json": b"{}"})
    pushed.ok("push", "fraud", "model")
    return pushed


def full(shell: Shell, model: str = "fraud") -> str:
    return f"{shell.variables['STEELYARD_NAMESPACE']}/{model}"


def answered(shell: Shell, answer: str, *arguments: str) -> Outcome:
    """Run a command on a terminal and type an answer."""
    near, far = pty.openpty()
    process = shell.start(*arguments, stdin=far)
    os.write(near, answer.encode())
    done = finished(process)
    os.close(far)
    os.close(near)
    return done


def test_a_version_is_removed_listed_restored_and_purged(two: Shell) -> None:
    assert "can be deleted" in two.ok("versions", "rm", "fraud:2", "--dry-run").err
    assert [row[0] for row in two.ok("versions", "ls", "fraud").rows] == ["2", "1"]
    done = two.ok("versions", "rm", "fraud:2", "--reason", "bad data")
    assert done.err == f"{full(two)}:2 is deleted; restore brings it back.\n"
    assert [row[0] for row in two.ok("versions", "ls", "fraud").rows] == ["1"]
    rows = two.ok("versions", "ls", "fraud", "--deleted").rows
    assert [(row[0], row[-1]) for row in rows] == [("2", "just now"), ("1", "")]
    assert "can be restored" in two.ok("versions", "restore", "fraud:2", "--dry-run").err
    assert [row[0] for row in two.ok("versions", "ls", "fraud").rows] == ["1"]
    assert two.ok("versions", "restore", "fraud:2").err == f"{full(two)}:2 is there again.\n"
    two.ok("versions", "rm", "fraud@latest")
    assert "can be purged" in two.ok("versions", "purge", "fraud:2", "--dry-run").err
    assert "gone for good" in two.ok("versions", "purge", "fraud:2", "--yes").err
    assert two.run("versions", "restore", "fraud:2").code == 5
    assert len(two.ok("versions", "ls", "fraud", "--deleted").rows) == 1


@pytest.fixture
def four(two: Shell) -> Shell:
    """Add two more versions, which nothing points to."""
    for seed in range(2):
        two.ok("push", "fraud", "model", "-p", f"seed={seed}")
    return two


def listed(shell: Shell, *options: str) -> list[str]:
    return [row[0] for row in shell.ok("versions", "ls", "fraud", *options).rows]


def test_several_versions_are_removed_restored_and_purged_in_turn(four: Shell) -> None:
    name = full(four)
    several = ("fraud:2", "fraud:3", f"{name}:3")
    before = ["4", "3", "2", "1"]
    for verb, can, done, left in (
        ("rm", "can be deleted", "is deleted; restore brings it back", ["4", "1"]),
        ("restore", "can be restored", "is there again", ["4", "3", "2", "1"]),
    ):
        rehearsed = four.ok("versions", verb, *several, "--dry-run").err
        assert rehearsed == f"{name}:2 {can}.\n{name}:3 {can}.\n"
        assert listed(four) == before
        assert four.ok("versions", verb, *several).err == f"{name}:2 {done}.\n{name}:3 {done}.\n"
        assert listed(four) == left
        before = left
    four.ok("versions", "rm", *several)
    rehearsed = four.ok("versions", "purge", *several, "--dry-run").err
    assert rehearsed == f"{name}:2 can be purged.\n{name}:3 can be purged.\n"
    purged = answered(four, "y\n", "versions", "purge", *several)
    assert purged.err.count("Purge them? [y/N]") == purged.err.count("?") == 1
    assert purged.err.count("is gone for good.") == 2
    assert listed(four, "--deleted") == ["4", "1"]


def test_what_two_references_name_is_one_version_also_when_the_first_moves(four: Shell) -> None:
    four.ok("versions", "rm", "fraud@latest", "fraud:4", "fraud@latest")
    assert listed(four) == ["3", "2", "1"]


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        ("rm", [("fraud:9", 5), ("fraud@champion", 3), ("fraud", 2)]),
        ("restore", [("fraud:9", 5), ("fraud:1", 3), ("fraud", 2)]),
        ("purge --yes", [("fraud:9", 5), ("fraud:1", 3), ("fraud", 2)]),
    ],
)
def test_one_that_is_refused_keeps_all_as_they_are(
    four: Shell, command: str, refused: list[tuple[str, int]]
) -> None:
    if command != "rm":
        four.ok("versions", "rm", "fraud:2", "fraud:3")
    before = listed(four), listed(four, "--deleted")
    for wrong, code in refused:
        done = four.run("versions", *command.split(), "fraud:2", "fraud:3", wrong)
        assert (done.code, done.out) == (code, ""), done.err
        assert done.err.startswith("error: ")
    assert (listed(four), listed(four, "--deleted")) == before


def test_with_json_each_of_several_is_a_line(four: Shell) -> None:
    commands: list[tuple[str, type[Message]]] = [
        ("rm", version_pb2.Version),
        ("restore", version_pb2.Version),
        ("rm", version_pb2.Version),
        ("purge -y", version_service_pb2.PurgeVersionResponse),
    ]
    for command, kind in commands:
        out = four.ok("versions", *command.split(), "fraud:2", "fraud:3", "--json").out
        messages = [json_format.ParseDict(json.loads(line), kind()) for line in out.splitlines()]
        assert [getattr(message, "number") for message in messages] == [2, 3]  # noqa: B009 - of either


def test_a_model_is_removed_listed_restored_and_purged(two: Shell) -> None:
    two.ok("alias", "rm", "fraud", "champion")
    assert "can be deleted" in two.ok("models", "rm", "fraud", "--dry-run").err
    assert two.ok("models", "rm", "fraud").err == f"{full(two)} is deleted; restore brings it back.\n"
    assert two.ok("models", "ls").rows == []
    assert [(row[0], row[-1]) for row in two.ok("models", "ls", "--deleted").rows] == [
        (full(two), "just now")
    ]
    assert "can be restored" in two.ok("models", "restore", "fraud", "--dry-run").err
    assert two.ok("models", "ls").rows == []
    two.ok("models", "restore", "fraud")
    assert two.ok("models", "ls").rows[0][:2] == [full(two), "2"]
    two.ok("models", "rm", "fraud")
    assert "can be purged" in two.ok("models", "purge", "fraud", "--dry-run").err
    assert two.ok("models", "purge", "fraud", "-y").err == f"{full(two)} is gone for good.\n"
    assert two.run("models", "create", "fraud").code == 3


def test_a_version_is_copied_and_the_copy_is_named(two: Shell) -> None:
    two.ok("models", "create", "copy")
    rehearsed = two.ok("versions", "copy", "fraud@champion", "copy", "--dry-run")
    assert (rehearsed.out, rehearsed.err) == ("", f"It can be copied to {full(two, 'copy')}.\n")
    done = two.ok("versions", "copy", "fraud@champion", "copy", "--semver", "1.0.0")
    assert done.out == f"{full(two, 'copy')}:1\n"
    again = two.ok("versions", "copy", "fraud:1", "copy")
    assert (again.out, "has this content already" in again.err) == (done.out, True)
    assert two.ok("versions", "show", "copy").facts["copied from"] == f"{full(two)}:1"


@pytest.mark.parametrize("noun", ["versions", "models"])
def test_a_purge_asks_on_a_terminal_and_does_nothing_without_a_yes(two: Shell, noun: str) -> None:
    if noun == "models":
        two.ok("alias", "rm", "fraud", "champion")
    reference = "fraud" if noun == "models" else "fraud:2"
    two.ok(noun, "rm", reference)
    for answer in ("n\n", "\n", "\x04"):
        done = answered(two, answer, noun, "purge", reference)
        assert done.code == 3
        assert done.err.endswith("Nothing was purged.\n")
        assert re.search(r"Nothing can bring .* back\. Purge (it|them)\? \[y/N\]", done.err)
    assert "can be purged" in two.ok(noun, "purge", reference, "--dry-run").err
    done = answered(two, "y\n", noun, "purge", reference)
    assert done.code == 0, done.err
    assert "gone for good" in done.err
    assert two.run(noun, "restore", reference).code == 5


def test_ctrl_c_at_a_question_is_130_and_nothing_is_purged(two: Shell) -> None:
    two.ok("versions", "rm", "fraud:2")
    near, far = pty.openpty()
    process = two.start("versions", "purge", "fraud:2", stdin=far)
    assert process.stderr is not None
    asked = b""
    while b"[y/N]" not in asked:
        said = os.read(process.stderr.fileno(), 4096)
        assert said, asked
        asked += said
    process.send_signal(signal.SIGINT)
    done = finished(process)
    os.close(far)
    os.close(near)
    assert done.code == 130
    assert done.err.endswith("Interrupted.\n")
    two.ok("versions", "restore", "fraud:2")


def test_a_purge_without_a_terminal_wants_a_yes_and_that_is_2(two: Shell) -> None:
    two.ok("versions", "rm", "fraud:2")
    done = two.run("versions", "purge", "fraud:2")
    assert done.code == 2
    assert "--yes" in done.err
    assert two.ok("versions", "restore", "fraud:2").code == 0


@pytest.mark.parametrize(
    ("command", "code", "word"),
    [
        ("versions rm", 2, "Missing argument"),
        ("versions rm fraud", 2, "names no version"),
        ("versions restore fraud", 2, "names no version"),
        ("versions copy fraud copy", 2, "names no version"),
        ("versions copy fraud:1", 2, "Missing argument"),
        ("models rm fraud:1", 2, "names a version"),
        ("versions rm fraud@champion", 3, "VERSION_IN_USE"),
        ("models rm fraud", 3, "MODEL_IN_USE"),
        ("versions restore fraud:1", 3, "NOT_DELETED"),
        ("versions restore fraud:1", 3, "only what is deleted can be restored or purged"),
        ("versions purge fraud:1 --yes", 3, "NOT_DELETED"),
        ("models restore fraud", 3, "NOT_DELETED"),
        ("models restore fraud", 3, "only what is deleted can be restored or purged"),
        ("models purge fraud --yes", 3, "NOT_DELETED"),
        ("push fraud model", 3, "CONTENT_DELETED"),
        ("models create gone", 3, "NAME_DELETED"),
        ("versions show fraud:2", 5, "VERSION_DELETED"),
        ("pull fraud:2 copy", 5, "VERSION_DELETED"),
        ("versions rm fraud:2", 5, "VERSION_DELETED"),
        ("versions rm fraud:9", 5, "VERSION_NOT_FOUND"),
        ("versions purge fraud:9 --yes", 5, "VERSION_NOT_FOUND"),
        ("versions copy fraud:1 missing", 5, "MODEL_NOT_FOUND"),
        ("models show gone", 5, "MODEL_DELETED"),
        ("models rm missing", 5, "MODEL_NOT_FOUND"),
    ],
)
def test_what_is_refused_has_its_exit_code(two: Shell, command: str, code: int, word: str) -> None:
    two.ok("versions", "rm", "fraud:2")
    two.ok("models", "create", "gone")
    two.ok("models", "rm", "gone")
    done = two.run(*command.split())
    assert (done.code, done.out) == (code, "")
    assert word in done.err
    assert "Traceback" not in done.err


def test_with_json_every_result_is_one_message(two: Shell) -> None:
    two.ok("models", "create", "copy")
    two.ok("alias", "rm", "fraud", "champion")
    commands: list[tuple[str, type[Message], dict[str, Any]]] = [
        ("versions copy fraud:1 copy", version_pb2.Version, {"number": 1, "model": full(two, "copy")}),
        ("versions rm fraud:2", version_pb2.Version, {"number": 2}),
        ("versions restore fraud:2", version_pb2.Version, {"number": 2}),
        ("versions rm fraud:2", version_pb2.Version, {"number": 2}),
        ("versions purge fraud:2 --yes", version_service_pb2.PurgeVersionResponse, {"number": 2}),
        ("models rm fraud", model_pb2.Model, {"latest_number": 1}),
        ("models restore fraud", model_pb2.Model, {"name": full(two)}),
        ("models rm fraud", model_pb2.Model, {"name": full(two)}),
        ("models purge fraud --yes", model_service_pb2.PurgeModelResponse, {"last_number": 2}),
    ]
    for command, kind, expected in commands:
        message = json_format.ParseDict(json.loads(two.ok(*command.split(), "--json").out), kind())
        assert {name: getattr(message, name) for name in expected} == expected, command
