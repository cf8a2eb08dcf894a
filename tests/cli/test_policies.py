"""Policies from the command line: set from a file, shown, tested, removed, and what is wrong with a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format

from steelyard.v1 import policy_pb2, promotion_pb2
from tests.cli.bank import POLICY, Bank
from tests.cli.shell import Shell

At = Callable[[str], Shell]


def write(directory: Path, text: str, name: str = "policy.yaml") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_a_policy_is_proposed_approved_shown_changed_and_removed(bank: Bank, at: At, tmp_path: Path) -> None:
    text = POLICY.replace("careful", "strict").replace('["fraud-*"]', "[other]")
    file = write(tmp_path, text)
    told = at("mia").ok("policy", "set", "-f", file, "--dry-run")
    assert (told.out, "Nothing has changed" in told.err) == ("", True)
    proposed = at("mia").ok("policy", "set", "-f", file, "--reason", "as agreed")
    promotion = proposed.out.strip()
    assert "a second person" in proposed.err
    assert f"steelyard approve {promotion}" in proposed.err
    assert at("vic").run("policy", "show", "strict").code == 5
    assert at("mia").run("approve", promotion).code == 6
    assert any(row[:2] == [promotion, "the policy strict"] for row in at("olga").ok("inbox").rows)
    assert "The policy strict holds now." in at("olga").ok("approve", promotion).err

    shown = at("vic").ok("policy", "show", "risk/strict").out
    assert shown.startswith("# revision 1, just now; first by user:mia\n")
    assert yaml.safe_load(shown) == {"namespace": "risk", **yaml.safe_load(text)}
    unchanged = at("mia").run("policy", "set", "-f", write(tmp_path, shown))
    assert (unchanged.code, "ALREADY_AT_TARGET" in unchanged.err) == (3, True)
    found = json_format.ParseDict(
        json.loads(at("vic").ok("policy", "show", "strict", "--json").out), policy_pb2.Policy()
    )
    assert found.checks[0].passes_without_incumbent
    assert found.approvals.lifetime_seconds == 7 * 86_400
    row = next(row for row in at("vic").ok("policy", "ls").rows if row[0] == "risk/strict")
    assert row[1:6] == ["production", "other", "no-worse", "bias", "1"]
    assert len(json.loads(at("vic").ok("policy", "ls", "risk", "--json").out)) >= 2

    stale = at("mia").run("policy", "rm", "strict", "--etag", "1")
    assert (stale.code, "ETAG_MISMATCH" in stale.err) == (3, True)
    end = at("mia").ok("policy", "rm", "strict", "--json").out
    number = json_format.ParseDict(json.loads(end), promotion_pb2.Promotion()).number
    assert "is removed" in at("grace").ok("approve", f"risk#{number}").err
    assert at("mia").run("policy", "rm", "strict").code == 5


def test_a_test_shows_each_check_with_its_numbers_and_changes_nothing(
    bank: Bank, at: At, tmp_path: Path
) -> None:
    model = bank.model(tmp_path, 0.93, 0.91)
    first = at("ada").ok("policy", "test", f"{model}:1", "--to", "production")
    assert first.rows[0][:5] == ["check", "no-worse", "careful", "passed", "PASSED_WITHOUT_INCUMBENT"]
    assert "would wait for a report of the check bias" in first.err
    at("ada").ok("promote", f"{model}:1", "--to", "production")
    at("hal").ok("override", f"risk/{model}#1", "--reason", "now")

    worse = at("ada").run("policy", "test", f"{model}:2", "--to", "production")
    assert worse.code == 3
    assert worse.rows[0][3:5] == ["failed", "FALSE"]
    assert "candidate 0.91, incumbent 0.93" in worse.rows[0][5]
    assert "on holdout sha256:" in worse.rows[0][5]
    assert "would be refused" in worse.err
    rehearsed = at("ada").run("policy", "test", f"{model}:2", "--to", "production", "--json")
    assert (rehearsed.code, json.loads(rehearsed.out)["state"]) == (3, "PROMOTION_STATE_REFUSED")
    assert len(at("vic").ok("promotions", "ls", model).rows) == 1
    free = at("ada").ok("policy", "test", f"{model}:2", "--to", "@champion")
    assert (free.out, "No policy protects the alias champion" in free.err) == ("", True)
    assert at("vic").run("policy", "test", f"{model}:2", "--to", "production").code == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "policy.yaml: line 1"),
        ("name: careful\nname: other\n", "line 2: 'name' is there twice"),
        ("a: &x b\nname: *x\n", "an alias is used"),
        ("- careful\n", "is no mapping"),
        ("target: {stage: production}\n", "the document has no name"),
        ("name: wrong\n", "the document has no target"),
        ("name: wrong\ntarget: {stage: production, alias: a}\n", "target names no single target"),
        ("name: wrong\ntarget: production\n", "target is no mapping"),
        (POLICY.replace("checks:", "cheks:", 1), "cheks is no known key; did you mean 'checks'?"),
        (POLICY.replace("expression:", "expresion:"), "checks[0].expresion is no known key"),
        (POLICY.replace("without_incumbent: pass", "without_incumbent: yes"), "is neither pass nor fail"),
        (POLICY.replace("count: 1", "count: one"), "approvals.count is no whole number"),
        (POLICY.replace("  count: 1\n", ""), "approvals has no count"),
        (POLICY.replace("count: 1", "count: 99999"), "approvals.count"),
        (POLICY.replace("[approver]", "[aprover]"), "approvals.roles[0] is no role: 'aprover' is none of"),
        (POLICY.replace("[approver]", "[writer]"), "approvals.roles[0]"),
        (POLICY.replace("7d", "soon"), "approvals.lifetime is wrong: 'soon' is not like"),
        (POLICY.replace("7d", "9999d"), "approvals.lifetime"),
        (POLICY.replace("independent: true", "independent: always"), "evaluations.independent"),
        (POLICY.replace("stage: production", "stage: prod"), "STAGE_UNKNOWN"),
        (
            POLICY.replace('"precision@holdout", 0.0', '"precision@holdout"'),
            "`checks[0].expression`, column 1",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(
    bank: Bank, at: At, tmp_path: Path, text: str, words: str
) -> None:
    write(tmp_path, text)
    done = at("mia").run("policy", "set", "-f", "policy.yaml")
    assert (done.code, done.out) == (2, ""), done.err
    assert "policy.yaml" in done.err
    assert words in done.err
    assert "Traceback" not in done.err


def test_an_expression_with_a_wrong_name_is_shown_with_a_mark_below(
    bank: Bank, at: At, tmp_path: Path
) -> None:
    expression = "|\n      candidate.number > 3 &&\n        candidate.lables.team == 'risk'"
    write(tmp_path, POLICY.replace('better("precision@holdout", 0.0)', expression))
    done = at("mia").run("policy", "set", "-f", "policy.yaml")
    assert (done.code, "POLICY_INVALID" in done.err) == (2, True)
    lines = done.err.splitlines()
    place = next(at for at, line in enumerate(lines) if "lables.team ==" in line)
    assert lines[place + 1].strip() == "^"
    assert lines[place][lines[place + 1].index("^") :].startswith(("candidate.lables", "lables", ".lables"))


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("policy show nothing", 5, "POLICY_NOT_FOUND"),
        ("policy show risk/nothing", 5, "POLICY_NOT_FOUND"),
        ("policy rm nothing", 5, "POLICY_NOT_FOUND"),
        ("policy set -f missing.yaml", 2, "missing.yaml cannot be read"),
        ("policy set", 2, "--file"),
        ("policy test fraud:1", 2, "--to"),
        ("policy delete careful", 2, "'rm'"),
    ],
)
def test_what_is_typed_wrong_is_a_sentence(bank: Bank, at: At, command: str, code: int, words: str) -> None:
    done = at("mia").run(*command.split())
    assert (done.code, done.out) == (code, ""), done.err
    assert words in done.err


def test_where_nobody_logs_in_a_policy_holds_at_once_and_cannot_demand_approvals(
    shell: Shell, tmp_path: Path
) -> None:
    refused = shell.run("policy", "set", "-f", write(tmp_path, POLICY))
    assert (refused.code, "--auth tokens" in refused.err) == (3, True)
    check = "{name: early, expression: candidate.number < 3}"
    short = f"name: small\ntarget: {{alias: champion}}\nchecks:\n  - {check}\n"
    assert "The policy small holds now." in shell.ok("policy", "set", "-f", write(tmp_path, short)).err
    assert shell.ok("policy", "ls").rows[0][1] == "@champion"
    assert "is removed" in shell.ok("policy", "rm", "small").err
