"""Exports and imports from a shell: what is said, what is printed, and the exit codes."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

import steelyard
from tests.cli.shell import Shell, plain
from tests.client.trees import write_tree
from tests.servers import ServerProcess, server_process


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    """Run a second registry."""
    with server_process(tmp_path_factory.mktemp("elsewhere") / "data") as started:
        yield started


@pytest.fixture
def there(elsewhere: ServerProcess, pushed: Shell) -> Shell:
    """Run commands in the same directory against the second registry."""
    variables = {"STEELYARD_SERVER": elsewhere.address, "STEELYARD_NAMESPACE": f"n{uuid.uuid4().hex[:16]}"}
    return Shell(pushed.directory, variables | {"STEELYARD_ACTOR": "ivan"})


def full(shell: Shell, model: str = "fraud") -> str:
    return f"{shell.variables['STEELYARD_NAMESPACE']}/{model}"


def test_a_model_goes_from_one_registry_to_another(pushed: Shell, there: Shell) -> None:
    write_tree(pushed.directory / "model", {"config.json": b"{}"})
    for _ in range(2):
        pushed.ok("push", "fraud", "model", "--no-capture")
        write_tree(pushed.directory / "model", {"config.json": b"{ }"})
    pushed.ok("versions", "rm", "fraud:2")
    pushed.ok("evaluations", "record", "fraud:1", "-m", "recall@new=0.9")
    done = pushed.ok("export", "fraud", "fraud.bundle")
    assert done.out == "fraud.bundle\n"
    assert "left out: 1 deleted version." in done.err
    assert "fraud.bundle has 2 versions, 1 evaluation and 7 events, " in done.err

    done = there.ok("import", "fraud.bundle", "--into", f"{full(there, '')}", "--reason", "moved house")
    assert done.rows == [[full(pushed), full(there), "2 of 2", "champion"]]
    assert f"{full(there)}: 2 versions imported, 1 evaluation imported." in done.err
    shown = there.ok("versions", "show", "fraud:1").facts
    assert shown["imported from"].startswith(f"{full(pushed)}:1 in steelyard urn:uuid:")
    assert shown["imported from"].endswith(", created just now by ada (stated)")
    assert shown["created"] == "just now by ivan (stated)"
    (row,) = there.ok("evaluations", "ls", "fraud:1").rows
    assert row[4] == "ada (stated), imported by ivan (stated)"
    done = there.ok("import", "fraud.bundle", "--into", full(there))
    assert "All of it was here already; nothing changed." in done.err
    assert done.rows == [[full(pushed), full(there), "0 of 2", ""]]


def test_a_copy_in_the_same_registry_is_no_import(pushed: Shell) -> None:
    pushed.ok("models", "create", "copy")
    pushed.ok("versions", "copy", "fraud:1", "copy")
    facts = pushed.ok("versions", "show", "copy").facts
    assert (facts["copied from"], "imported from" in facts) == (f"{full(pushed)}:1", False)


def test_a_bundle_is_listed_with_no_server(pushed: Shell, home: Shell) -> None:
    pushed.ok("export", "fraud@champion", "fraud.bundle")
    nobody = Shell(pushed.directory, {"STEELYARD_SERVER": "127.0.0.1:1"})
    done = nobody.ok("import", "fraud.bundle", "--list")
    ((version, semantic, aliases, files, size, digest),) = done.rows
    assert (version, semantic, aliases, files) == (f"{full(pushed)}:1", "", "champion", "3")
    assert size == "293.0 KiB"
    assert digest.startswith("sha256:")
    assert "1 model, 0 evaluations, 3 events, 3 blobs of 293.0 KiB." in done.err
    facts = json.loads(nobody.ok("import", "fraud.bundle", "--list", "--json").out)
    assert facts["models"][0]["versions"][0]["number"] == "1"
    assert (facts["references"], facts["blobCount"]) == ([f"{full(pushed)}:1"], 3)


def test_both_answer_as_json(pushed: Shell, there: Shell) -> None:
    exported = json.loads(pushed.ok("export", "fraud", "fraud.bundle", "--json").out)
    assert (exported["versionCount"], exported["deletedCount"]) == (1, 0)
    imported = json.loads(there.ok("import", "fraud.bundle", "--into", full(there), "--json").out)
    assert imported["changed"] is True
    assert imported["models"] == [
        {
            "source": full(pushed),
            "name": full(there),
            "modelCreated": True,
            "createdCount": 1,
            "evaluationCount": 0,
            "numbers": {"1": "1"},
            "aliases": ["champion"],
            "left": [],
        }
    ]


def test_a_number_that_is_taken_is_refused_and_new_numbers_help(
    pushed: Shell, there: Shell, elsewhere: ServerProcess
) -> None:
    namespace = there.variables["STEELYARD_NAMESPACE"]
    own = write_tree(pushed.directory / "own", {"a": b"own"})
    with steelyard.Client(elsewhere.address, namespace=namespace) as client:
        client.namespaces.create(namespace)
        client.push("fraud", own, alias="champion")
    pushed.ok("export", "fraud:1", "fraud.bundle")
    done = there.run("import", "fraud.bundle", "--into", full(there))
    assert done.code == 3
    assert "NUMBER_TAKEN" in done.err
    done = there.ok("import", "fraud.bundle", "--into", full(there), "--new-numbers")
    assert "left as it is: the alias champion stays at version 1." in done.err
    assert [row[0] for row in there.ok("versions", "ls", "fraud").rows] == ["2", "1"]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("export fraud model", 3, "is a directory"),
        ("export fraud there", 3, "replace it with --overwrite"),
        ("export fraud:9 new", 5, "VERSION_NOT_FOUND"),
        ("export nothing new", 5, "MODEL_NOT_FOUND"),
        ("export fraud", 2, "FILE"),
        (
            "export fraud nowhere/new",
            3,
            "The directory nowhere does not exist; make it before nowhere/new is written.",
        ),
        ("import there", 8, "no bundle"),
        ("import there --list", 8, "no bundle"),
        ("import nothing", 2, "cannot be read"),
        ("import", 2, "file"),
    ],
)
def test_what_cannot_be_is_said_with_its_exit_code(pushed: Shell, command: str, code: int, said: str) -> None:
    (pushed.directory / "there").write_bytes(b"something else\n" * 100)
    done = pushed.run(*command.split())
    assert (done.code, done.out) == (code, ""), done.err
    assert said in done.err
    assert (pushed.directory / "there").read_bytes() == b"something else\n" * 100
    assert not (pushed.directory / "new").exists()


def test_a_cut_bundle_is_refused_as_damaged(pushed: Shell, there: Shell) -> None:
    pushed.ok("export", "fraud", "fraud.bundle")
    path = pushed.directory / "fraud.bundle"
    path.write_bytes(path.read_bytes()[:-2000])
    done = there.run("import", "fraud.bundle", "--into", full(there))
    assert (done.code, done.out) == (8, "")
    assert "cut" in done.err
    assert there.run("models", "show", "fraud").code == 5


def test_progress_is_drawn_on_a_terminal(pushed: Shell, there: Shell, tmp_path: Path) -> None:
    for path in ("model/a", "model/b"):
        (pushed.directory / path).write_bytes(bytes(8 << 20) + path.encode())
    pushed.ok("push", "fraud", "model", "--no-capture")
    drawn: set[str] = set()

    def seen(text: str) -> None:
        drawn.update(
            phase for phase in ("read", "download", "verify", "upload", "import") if f"{phase} " in text
        )

    pushed.on_terminal("export", "fraud", "fraud.bundle", seen=seen)
    done = there.on_terminal("import", "fraud.bundle", "--into", full(there), seen=seen)
    assert done.code == 0
    assert {"read", "download", "verify", "upload", "import"} <= drawn
    assert full(there) in plain(done.out)
