"""Every command does in a pipe what its name says, with lines of tabs and no decoration."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import steelyard
from tests.cli.shell import Outcome, Shell, plain
from tests.client.trees import MODEL, tree_of, write_tree

ESCAPE = "\x1b"


def assert_plain(done: Outcome) -> None:
    assert ESCAPE not in done.out + done.err
    assert not re.search("[─-╿]", done.out + done.err)


@pytest.fixture
def fraud(shell: Shell, model: Path) -> str:
    """Push two versions; return the full name of the model."""
    shell.ok(
        *("push", "fraud", model, "--no-capture", "-m", "precision@holdout=0.5", "--semver", "1.0.0"),
        *("--alias", "champion"),
    )
    write_tree(model, {"config.json": b"{}"})
    shell.ok("push", "fraud", model, "--no-capture", "-d", "second")
    return f"{shell.variables['STEELYARD_NAMESPACE']}/fraud"


def test_status_says_which_server_answers_and_as_whom(shell: Shell) -> None:
    done = shell.ok("status")
    facts = done.facts
    assert facts["server"] == shell.variables["STEELYARD_SERVER"]
    assert facts["you"] == "ada (stated)"
    assert_plain(done)


def test_push_prints_the_reference_and_says_what_it_did(shell: Shell, model: Path) -> None:
    write_tree(model, {".git/config": b"", "note.log": b"", ".steelyardignore": b"*.log\n"})
    done = shell.ok("push", "fraud", model, "--no-capture", "--alias", "champion")
    full = f"{shell.variables['STEELYARD_NAMESPACE']}/fraud"
    assert done.out == f"{full}:1\n"
    assert f"created the model {full}" in done.err
    assert {"left out .git/", "left out .steelyardignore", "left out note.log"} <= set(done.err.splitlines())
    assert f"{full}:1 is stored: 3 files, 293.0 KiB sent." in done.err
    assert f"{full}@champion" in done.err
    assert_plain(done)

    again = shell.ok("push", "fraud", model, "--no-capture")
    assert again.out == f"{full}:1\n"
    assert "has this content already" in again.err


def test_push_carries_all_that_its_options_say(shell: Shell, model: Path, tmp_path: Path) -> None:
    write_tree(tmp_path, {"train.csv": b"a,b\n"})
    shell.ok("push", "base", model)
    shell.ok(
        *(
            "push",
            "fraud",
            model,
            "--semver",
            "1.4.0",
            "--idempotency-key",
            "build 7",
            "-d",
            "Öl",
            "--reason",
            "r",
        ),
        *("-m", "precision@holdout[region=EU]=0.93", "-m", "loss=inf", "-m", '"top@5"=NaN'),
        *(
            "-p",
            "depth=4",
            "-p",
            "eta=0.1",
            "-p",
            "name=a=b",
            "-p",
            "on=true",
            "-p",
            'id="7"',
            "-p",
            "empty=",
        ),
        *("--dataset", "train=train.csv", "--dataset", "holdout=s3://data/holdout"),
        *("--parent", "base:1:fine-tuned-from", "--parent", "base:distilled-from"),
        *("--label", "team=risk", "--label", "empty="),
    )
    facts = shell.ok("versions", "show", "fraud:1.4.0").facts
    assert facts["metrics"] == 'loss=inf, precision@holdout[region=EU]=0.93, "top@5"=nan'
    assert facts["parameters"] == "depth=4, empty=, eta=0.1, id=7, name=a=b, on=True"
    assert facts["datasets"].startswith("train train sha256:")
    assert "holdout holdout" in facts["datasets"]
    assert facts["labels"] == "empty=, team=risk"
    assert facts["description"] == "Öl"
    base = f"{shell.variables['STEELYARD_NAMESPACE']}/base:1"
    assert facts["parents"] == f"fine-tuned-from {base}, distilled-from {base}"


def test_pull_prints_the_directory_and_its_files_are_those_pushed(shell: Shell, fraud: str) -> None:
    done = shell.ok("pull", "fraud@champion", "deep/copy")
    assert done.out == "deep/copy\n"
    assert f"{fraud}:1 is in deep/copy: 3 files, all verified." in done.err
    assert tree_of(shell.directory / "deep/copy") == MODEL
    assert_plain(done)
    shell.ok("pull", "fraud", "deep/copy", "--overwrite", "--include", "*.json")
    assert tree_of(shell.directory / "deep/copy") == {"config.json": b"{}"}


def test_pull_names_the_references_that_it_leaves_where_they_are(shell: Shell, model: Path) -> None:
    references = [steelyard.Reference(f"shards/{each}.bin", f"s3://bucket/{each}", 7 << 40) for each in "ab"]
    settings = {"namespace": shell.variables["STEELYARD_NAMESPACE"]}
    with steelyard.Client(shell.variables["STEELYARD_SERVER"], **settings) as client:
        client.push("fraud", model, references=references)
    done = shell.ok("pull", "fraud", "copy")
    skipped = [f"skipped shards/{each}.bin: it stays at its own address." for each in "ab"]
    assert done.err.splitlines()[:2] == skipped
    assert tree_of(shell.directory / "copy") == MODEL


def test_files_lists_path_size_role_and_digest(shell: Shell, fraud: str) -> None:
    done = shell.ok("files", "fraud:1")
    assert [row[:3] for row in done.rows] == [
        ["config.json", "15 B", "config"],
        ["docs/README.md", "4 B", "doc"],
        ["weights.onnx", "293.0 KiB", "weights"],
    ]
    assert all(re.fullmatch("sha256:[0-9a-f]{12}", row[3]) for row in done.rows)
    assert_plain(done)


def test_cat_writes_the_bytes_of_a_file_and_nothing_else(shell: Shell, fraud: str) -> None:
    process = shell.start("cat", "fraud:1", "weights.onnx")
    assert process.communicate(timeout=60) == (MODEL["weights.onnx"], b"")


def test_verify_says_that_all_is_intact(shell: Shell, fraud: str) -> None:
    assert "intact: 3 files" in shell.ok("verify", "fraud").err
    shell.ok("pull", "fraud", "copy")
    done = shell.ok("verify", "fraud", "copy").err
    assert "intact: 3 files" in done
    assert "in the directory" not in done
    for number in range(25):
        (shell.directory / "copy" / f"other-{number:02}").touch()
    told = shell.ok("verify", "fraud", "copy").err
    assert told.count(f"is in the directory and is not of {fraud}:") == 20
    assert "So are 5 more files." in told


def test_verify_of_what_was_pushed_says_that_the_lock_file_is_not_there(shell: Shell, model: Path) -> None:
    shell.ok("push", "fraud", model)
    done = shell.ok("verify", "fraud", model)
    assert "left out steelyard.lock, which the push recorded and the directory does not have." in done.err
    assert "intact: 3 files" in done.err


def test_models_are_created_listed_shown_changed_and_renamed(shell: Shell) -> None:
    shell.ok(
        *("models", "create", "fraud", "-d", "Finds fraud", "-l", "team=risk", "-l", "x=y"),
        *("--owner", "ada", "--direction", "loss=lower", "--reason", "new"),
    )
    full = f"{shell.variables['STEELYARD_NAMESPACE']}/fraud"
    listed = shell.ok("models", "ls")
    assert listed.rows == [[full, "", "Finds fraud", "just now"]]
    assert_plain(listed)
    shell.ok("models", "edit", "fraud", "-l", "x=", "-l", "y=z", "--direction", "precision=higher")
    facts = shell.ok("models", "show", "fraud").facts
    assert facts["labels"] == "team=risk, y=z"
    assert facts["directions"] == "loss=lower-is-better, precision=higher-is-better"
    assert (facts["owners"], facts["description"]) == ("ada", "Finds fraud")
    shell.ok("models", "rename", "fraud", "scam")
    facts = shell.ok("models", "show", "fraud").facts
    assert (facts["model"], facts["former names"]) == (full.replace("fraud", "scam"), full)
    assert shell.ok("models", "ls", "default").code == 0


def test_versions_are_listed_shown_and_changed(shell: Shell, fraud: str) -> None:
    listed = shell.ok("versions", "ls", "fraud")
    assert [row[0] for row in listed.rows] == ["2", "1 (1.0.0)"]
    assert listed.rows[1][1:5] == ["champion", listed.rows[1][2], "precision@holdout=0.5", "293.0 KiB"]
    assert [row[0] for row in shell.ok("versions", "ls", "fraud", "--limit", "1", "--oldest-first").rows] == [
        "1 (1.0.0)"
    ]
    shell.ok("versions", "edit", "fraud:1", "-d", "first", "-l", "a=b")
    facts = shell.ok("versions", "show", "fraud:1").facts
    assert (facts["version"], facts["description"], facts["labels"]) == (f"{fraud}:1", "first", "a=b")
    assert facts["aliases"] == "champion"
    assert_plain(listed)


def test_versions_are_found_by_a_filter_and_in_an_order(shell: Shell, fraud: str) -> None:
    def found(*arguments: str) -> list[str]:
        return [row[0] for row in shell.ok("versions", "ls", *arguments).rows]

    assert found("fraud", "--filter", "metrics.precision@holdout > 0.4") == ["1 (1.0.0)"]
    assert found("fraud", "--filter", "NOT alias:champion") == ["2"]
    assert found("fraud", "--order-by", "metrics.precision@holdout desc") == ["1 (1.0.0)", "2"]
    assert found("fraud", "--order-by", "create_time", "--limit", "1") == ["1 (1.0.0)"]
    assert found(f"{fraud.partition('/')[0]}/-", "-f", "fraud") == [f"{fraud}:2", f"{fraud}:1"]
    assert found("-", "-o", "model, number") == [f"{fraud}:1", f"{fraud}:2"]
    shell.ok("evaluations", "record", "fraud:1", "--metric", "precision@new=0.7")
    assert found("fraud", "--filter", "evaluations.precision@new > 0.6") == ["1 (1.0.0)"]
    shell.ok("versions", "rm", "fraud:2")
    assert found("fraud", "--filter", "NOT alias:champion") == []
    assert found("fraud", "--filter", "delete_time:*", "--deleted") == ["2"]


def test_a_list_shows_what_it_is_ordered_by_unless_it_is_there_already(shell: Shell, fraud: str) -> None:
    for number, value in ((1, "0.7"), (2, "0.9")):
        shell.ok("evaluations", "record", f"fraud:{number}", "--metric", f"precision@new[a, b]={value}")

    def shown(order: str, *arguments: str) -> list[list[str]]:
        return [row[7:] for row in shell.ok("versions", "ls", *(arguments or ("fraud",)), "-o", order).rows]

    assert shown("evaluations.precision@new[a, b] desc, number") == [["0.9"], ["0.7"]]
    assert shown('evaluations."precision"@new["a, b"]') == [["0.7"], ["0.9"]]
    assert shown("digest", "-", "-f", "number = 1")[0][0].startswith("sha256:")
    for order in ("number", "metrics.precision@holdout desc", "model, number", "create_time"):
        assert shown(order, "-") == [[], []], order
    header = plain(shell.on_terminal("versions", "ls", "fraud", "-o", "file_count").out).splitlines()[0]
    assert header.split()[-2:] == ["by", "file_count"]
    listed = json.loads(shell.ok("versions", "ls", "fraud", "-o", "file_count", "--json").out)
    assert [each["orderValue"] for each in listed] == ["3", "3"]
    assert "orderValue" not in json.loads(shell.ok("versions", "ls", "fraud", "--json").out)[0]


def test_models_are_found_by_a_filter_and_in_an_order(shell: Shell) -> None:
    for name, team in (("fraud", "risk"), ("churn", "growth"), ("scam", "risk")):
        shell.ok("models", "create", name, "-l", f"team={team}")

    def found(*arguments: str) -> list[str]:
        return [row[0].partition("/")[2] for row in shell.ok("models", "ls", *arguments).rows]

    assert found("--filter", "labels.team = risk", "--order-by", "name desc") == ["scam", "fraud"]
    assert found("-f", "churn OR sc*") == ["churn", "scam"]
    ordered = shell.ok("models", "ls", "--order-by", "labels.team desc, name").rows
    assert [row[4:] for row in ordered] == [["risk"], ["risk"], ["growth"]]
    assert [row[4:] for row in shell.ok("models", "ls", "-o", "latest_number").rows] == [[], [], []]


def test_a_wrong_filter_says_where_and_what_is_right(shell: Shell, fraud: str) -> None:
    done = shell.run("versions", "ls", "fraud", "--filter", "stage = a AND nmber = 1")
    assert (done.code, done.out) == (2, "")
    assert "Column 15 of `filter`: there is no field 'nmber' here; expected perhaps number." in done.err
    assert "FILTER_INVALID" in done.err
    done = shell.run("versions", "ls", "fraud", "--order-by", "number", "--oldest-first")
    assert (done.code, "--oldest-first" in done.err) == (2, True)


def test_what_finds_or_orders_nothing_says_so(shell: Shell, fraud: str) -> None:
    none = shell.ok("versions", "ls", "fraud", "--filter", "metrics.f2 > 0.5")
    assert (none.out, none.err) == ("", "None passes the filter.\nNo version of fraud has metrics.f2.\n")
    for asked, meant in (
        ("metrics.precison > 0.9", "metrics.precison; perhaps metrics.precision@holdout"),
        ("labels.tema = risk", "labels.tema; perhaps labels.team"),
    ):
        shell.ok("versions", "edit", "fraud:1", "-l", "team=risk")
        none = shell.ok("versions", "ls", "fraud", "-f", asked)
        assert (none.out, none.err) == ("", f"None passes the filter.\nNo version of fraud has {meant}.\n")
    assert shell.ok("versions", "ls", "fraud", "-f", "labels.team = x").err == "None passes the filter.\n"
    assert shell.ok("versions", "ls", "fraud", "-f", "labels.tema = x", "--json").err == ""
    shell.ok("models", "edit", "fraud", "-l", "team=risk")
    none = shell.ok("models", "ls", "--filter", "labels.tema = risk")
    assert none.err == "None passes the filter.\nNo model has labels.tema; perhaps labels.team.\n"
    assert shell.ok("models", "ls", "--filter", "nowhere").err == "None passes the filter.\n"
    assert shell.ok("models", "ls", "--filter", "nowhere", "--json").err == ""
    for order in ("metrics.f2 desc", "metrics.precision@elsewhere, number"):
        field = re.split("[ ,]", order)[0]
        said = shell.ok("versions", "ls", "fraud", "--order-by", order).err
        assert said == f"None of these has {field}, so it orders nothing.\n"
    for order in ("metrics.precision desc", "metrics.precision@holdout", "number"):
        assert shell.ok("versions", "ls", "fraud", "--order-by", order).err == ""


def test_a_narrow_terminal_gets_a_line_for_each_value(shell: Shell, fraud: str) -> None:
    narrow = plain(shell.on_terminal("versions", "ls", "fraud", columns=50).out)
    assert re.search(r"^stage +development", narrow, re.MULTILINE), narrow
    wide = plain(shell.on_terminal("versions", "ls", "fraud").out)
    assert wide.startswith("version "), wide


def test_aliases_are_set_listed_logged_rolled_back_and_removed(shell: Shell, fraud: str) -> None:
    assert "points to version 2" in shell.ok("alias", "set", "fraud:2", "champion", "--reason", "better").err
    assert [row[:2] for row in shell.ok("alias", "ls", "fraud").rows] == [["champion", "2"]]
    assert "version 1 again" in shell.ok("alias", "rollback", "fraud", "champion").err
    log = shell.ok("alias", "log", "fraud", "champion")
    assert [row[1:] for row in log.rows] == [
        ["champion", "rollback", "2", "1", "ada (stated)", ""],
        ["champion", "set", "1", "2", "ada (stated)", "better"],
        ["champion", "set", "-", "1", "ada (stated)", ""],
    ]
    assert len(shell.ok("alias", "log", "fraud", "--limit", "2").rows) == 2
    shell.ok("alias", "rm", "fraud", "champion")
    assert shell.ok("alias", "ls", "fraud").rows == []
    assert_plain(log)


def test_namespaces_are_created_listed_shown_changed_and_removed(shell: Shell) -> None:
    name = shell.variables["STEELYARD_NAMESPACE"] + "x"
    shell.ok("namespaces", "create", name, "-d", "of a test", "-l", "a=b")
    shell.ok("namespaces", "edit", name, "-l", "c=d")
    facts = shell.ok("namespaces", "show", name).facts
    assert (facts["namespace"], facts["labels"]) == (name, "a=b, c=d")
    listed = shell.ok("namespaces", "ls")
    assert [name, "0", "0 B", "of a test", "a=b, c=d", "just now"] in listed.rows
    shell.ok("namespaces", "rm", name)
    assert name not in shell.ok("namespaces", "ls").out


def test_environments_are_created_listed_shown_changed_and_removed(shell: Shell) -> None:
    name = shell.variables["STEELYARD_NAMESPACE"] + "-eu"
    shell.ok("environments", "create", name, "-d", "of a test", "-l", "a=b", "--accept", "production")
    shell.ok("environments", "edit", name, "-l", "c=d", "--accept", "staging", "--accept", "production")
    facts = shell.ok("environments", "show", name).facts
    assert (facts["accepts"], facts["labels"], facts["by"]) == (
        "staging, production",
        "a=b, c=d",
        "ada (stated)",
    )
    shell.ok("environments", "edit", name, "--accept-any")
    listed = shell.ok("environments", "ls")
    assert [name, "any stage", "of a test", "a=b, c=d", "just now"] in listed.rows
    shell.ok("environments", "rm", name)
    assert name not in shell.ok("environments", "ls").out


def test_a_quota_is_set_shown_with_what_is_used_and_lifted(pushed: Shell) -> None:
    name = pushed.variables["STEELYARD_NAMESPACE"]
    pushed.ok("namespaces", "edit", name, "--quota-size", "2GiB", "--quota-versions", "1")
    facts = pushed.ok("namespaces", "show", name).facts
    assert facts["versions"] == "1 of 1"
    assert facts["size"].endswith(" of 2 GiB")

    done = pushed.run("push", "fraud", "model", "-p", "seed=2")
    assert (done.code, done.out) == (3, "")
    assert "deleted ones included. Purge versions that nobody needs, or have the quota raised." in done.err
    assert done.err.rstrip().endswith("QUOTA_EXCEEDED")

    pushed.ok("namespaces", "edit", name, "--quota-versions", "0")
    pushed.ok("push", "fraud", "model", "-p", "seed=2")
    pushed.ok("namespaces", "create", f"{name}x", "--quota-size", "10GB", "--quota-versions", "1000")
    rows = {row[0]: row[1:3] for row in pushed.ok("namespaces", "ls").rows}
    assert rows[f"{name}x"] == ["0 of 1,000", "0 B of 10 GB"]
    assert rows[name][0] == "2"


def test_a_retention_is_set_shown_rehearsed_and_lifted(pushed: Shell) -> None:
    name = pushed.variables["STEELYARD_NAMESPACE"]
    for seed in (2, 3):
        pushed.ok("push", "fraud", "model", "-p", f"seed={seed}")
    wish = ("--keep-last", "1", "--keep-for", "0", "--purge-after", "36h")
    done = pushed.ok("namespaces", "edit", name, *wish)
    assert done.err == f"Namespace {name} is changed. `steelyard gc --dry-run` says what would go now.\n"
    facts = pushed.ok("namespaces", "show", name).facts
    assert (facts["keep last"], facts["purge after"]) == ("1", "36h")
    assert "keep for" not in facts
    rehearsed = pushed.ok("gc", "--dry-run")
    assert "1 version would be deleted by retention. " in rehearsed.err
    assert rehearsed.rows == [[f"{name}/fraud", "2", ""]], "The first has an alias."
    pushed.ok("namespaces", "edit", name, "--keep-last", "0")
    assert "retention" not in pushed.ok("gc", "--dry-run").err
    facts = pushed.ok("namespaces", "show", name).facts
    assert ("keep last" in facts, facts["purge after"]) == (False, "36h")


def test_text_with_tabs_and_line_breaks_stays_in_its_cell(shell: Shell) -> None:
    shell.ok("models", "create", "fraud", "-d", "one\ttwo\nthree")
    assert [row[2] for row in shell.ok("models", "ls").rows] == ["one two three"]


def test_the_actor_is_the_one_that_is_named(shell: Shell) -> None:
    for arguments, variable, expected in (
        (("--actor", "bob"), "eve", "bob"),
        ((), "eve", "eve"),
        ((), "", "ada"),
    ):
        user = Shell(shell.directory, shell.variables | {"STEELYARD_ACTOR": variable})
        facts = user.ok(*arguments, "status").facts
        assert facts["you"].split()[0] == expected


def test_the_namespace_is_the_one_that_is_named(shell: Shell, fraud: str) -> None:
    namespace = fraud.partition("/")[0]
    user = Shell(shell.directory, shell.variables | {"STEELYARD_NAMESPACE": "default"})
    assert user.run("models", "show", "fraud").code == 5
    assert user.ok("-n", namespace, "models", "show", "fraud").rows[0] == ["model", fraud]
    assert user.ok("models", "show", fraud).rows[0] == ["model", fraud]
