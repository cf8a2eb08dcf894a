"""Promote, approve, refuse, override and revoke from the command line, with logins."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import json_format

from steelyard.v1 import promotion_pb2
from tests.cli.bank import Bank
from tests.cli.shell import Shell, finished, plain
from tests.client.waiting import until

At = Callable[[str], Shell]


def promotion_of(text: str) -> promotion_pb2.Promotion:
    return json_format.ParseDict(json.loads(text), promotion_pb2.Promotion())


def let_through(at: At, promotion: str) -> None:
    at("validation").ok("promotions", "report", promotion, "bias", "--passed")
    at("grace").ok("approve", promotion)


def test_a_better_version_goes_through_and_a_worse_one_is_stopped_with_its_numbers(
    bank: Bank, at: At, tmp_path: Path
) -> None:
    model = bank.model(tmp_path, 0.93, 0.91, 0.94)
    proposed = at("ada").ok("promote", f"{model}:1", "--to", "production", "--reason", "the first")
    assert proposed.out == f"risk/{model}#1\n"
    assert "a report of the check bias" in proposed.err
    assert "steelyard approve" in proposed.err
    row = next(row for row in at("grace").ok("inbox").rows if row[0] == f"risk/{model}#1")
    assert row[1:] == [f"risk/{model}:1 to production", "approve", "user:ada", "the first"]
    assert any(row[2] == "report-check" for row in at("validation").ok("inbox", "risk").rows)
    reported = at("validation").ok(
        "promotions", "report", f"risk/{model}#1", "bias", "--passed", "--uri", "https://ci/1"
    )
    assert "1 approval that the policy careful demands" in reported.err
    at("grace").ok("comment", f"risk/{model}#1", "read the report")
    approved = at("grace").ok("approve", f"risk/{model}#1", "--reason", "MR-1")
    assert f"risk/{model}:1 is at the stage production now." in approved.err
    assert approved.out == ""

    worse = at("ada").run("promote", f"{model}:2", "--to", "production")
    assert (worse.code, worse.out) == (3, f"risk/{model}#2\n")
    assert "no-worse (policy careful): precision@holdout: candidate 0.91, incumbent 0.93" in worse.err
    assert "holdout sha256:" in worse.err
    assert f"steelyard override risk/{model}#2" in worse.err

    at("ada").ok("promote", f"{model}:3", "--to", "production", "--archive-former")
    let_through(at, f"risk/{model}#3")
    assert [row[2] for row in at("vic").ok("versions", "ls", model).rows] == [
        "production",
        "development",
        "archived",
    ]


def test_show_tells_everything_and_a_pipe_has_the_kind_before_each_line(
    bank: Bank, at: At, tmp_path: Path
) -> None:
    model = bank.model(tmp_path, 0.93)
    name = f"risk/{model}#1"
    at("ada").ok("promote", f"{model}:1", "--to", "production")
    at("grace").ok("comment", name, "wait for bias")
    at("validation").ok("promotions", "report", name, "bias", "--passed", "-m", "no bias")
    shown = at("grace").ok("promotions", "show", name)
    lines = shown.rows
    facts = {line[0]: line[1] for line in lines if len(line) == 2}
    assert facts["subject"] == f"risk/{model}:1 to production"
    assert (facts["state"], facts["approvals"], facts["policies"]) == (
        "open",
        "0 of 1",
        "careful (revision 1)",
    )
    assert "approve" in facts["you may"]
    checks = [line for line in lines if line[0] == "check"]
    assert checks[0][1:5] == ["no-worse", "careful", "passed", "PASSED_WITHOUT_INCUMBENT"]
    assert checks[1][1:5] == ["bias", "careful", "passed", ""]
    assert re.fullmatch(r"no bias, reported by service:validation at [\d-]+ [\d:]+ UTC", checks[1][5])
    reviews = [line for line in lines if line[0] == "review"]
    assert (reviews[0][1:3], reviews[0][4]) == (["user:grace", "comment"], "wait for bias")
    drawn = plain(at("grace").on_terminal("promotions", "show", name, columns=160).out)
    assert re.search("check +policy +state +reason +finding", drawn)
    assert promotion_of(at("vic").ok("promotions", "show", name, "--json").out).number == 1

    listed = at("vic").ok("promotions", "ls", model).rows
    assert listed[0][:6] == [
        name,
        f"risk/{model}:1 to production",
        "open",
        "2 of 2 passed",
        "0 of 1",
        "user:ada",
    ]
    everywhere = json.loads(at("vic").ok("promotions", "ls", "--json").out)
    assert {"risk", f"risk/{model}"} <= {each["scope"] for each in everywhere}
    at("ada").ok("promotions", "cancel", name, "--reason", "a mistake")
    assert at("vic").ok("promotions", "ls", model, "--open").out == ""
    closed = at("grace").run("approve", name)
    assert (closed.code, "PROMOTION_CLOSED" in closed.err, "cancelled" in closed.err) == (3, True, True)


def test_who_may_not_decide_is_told_why(bank: Bank, at: At, tmp_path: Path) -> None:
    model = bank.model(tmp_path, 0.93)
    name = f"risk/{model}#1"
    at("ada").ok("promote", f"{model}:1", "--to", "production")
    for who in ("ada", "vic", "validation", "mia"):
        done = at(who).run("approve", name)
        assert (done.code, "PERMISSION_MISSING" in done.err) == (6, True), (who, done.err)
    with bank.client("mia") as mia:
        mia.access.grant("user:ada", "approver", f"risk/{model}")
    author = at("ada").run("approve", name)
    assert author.code == 3
    assert "REVIEWER_NOT_INDEPENDENT" in author.err
    assert "proposed it" in author.err
    assert "report-check" not in at("grace").ok("promotions", "show", name).fact("you may")
    at("grace").ok("approve", name)
    again = at("grace").run("approve", name)
    assert (again.code, "REVIEW_GIVEN" in again.err) == (3, True)
    assert "0 of 1" not in at("vic").ok("promotions", "show", name).out
    at("grace").ok("promotions", "withdraw", name, "--reason", "too early")
    assert "approve (withdrawn)" in at("vic").ok("promotions", "show", name).out
    rejected = at("olga").ok("reject", name, "--reason", "not on weekends")
    assert "is refused" in rejected.err
    assert at("vic").ok("promotions", "show", name).fact("state") == "refused"


def test_an_outside_check_that_failed_ends_the_promotion(bank: Bank, at: At, tmp_path: Path) -> None:
    model = bank.model(tmp_path, 0.93)
    at("ada").ok("promote", f"{model}:1", "--to", "production")
    arguments = ("promotions", "report", f"risk/{model}#1", "bias", "--failed", "-m", "12 % off")
    done = at("validation").ok(*arguments)
    assert "bias (policy careful): 12 % off" in done.err
    unknown = at("validation").run("promotions", "report", f"risk/{model}#1", "bias", "--passed")
    assert (unknown.code, "checks failed: careful/bias" in unknown.err) == (3, True)


def test_an_override_and_a_revocation_show_wherever_the_version_shows(
    bank: Bank, at: At, tmp_path: Path
) -> None:
    model = bank.model(tmp_path, 0.93, 0.91)
    at("ada").ok("promote", f"{model}:1", "--to", "production")
    assert at("hal").run("override", f"risk/{model}#1").code == 2
    done = at("hal").ok("override", f"risk/{model}#1", "--reason", "production is down")
    assert "A policy was overridden" in done.err
    assert at("mia").run("override", f"risk/{model}#1", "--reason", "me too").code == 6
    assert at("vic").ok("versions", "ls", model).rows[1][2] == "production (overridden)"
    shown = at("vic").ok("versions", "show", f"{model}:1").facts
    assert re.search(rf"by user:hal: risk/{model}#1, production is down", shown["overridden"])

    assert at("ada").run("revoke", f"{model}:2", "--reason", "it leaks").code == 6
    revoked = at("grace").ok("revoke", f"{model}:2", "--reason", "it leaks")
    assert "put another version there" in revoked.err
    assert at("vic").ok("versions", "ls", model).rows[0][2] == "development (revoked)"
    at("ada").ok("promote", f"{model}:1", "--to", "@champion")
    assert at("vic").ok("alias", "ls", model).rows[0][:2] == ["champion", "1 (overridden)"]
    assert re.search(
        r"by user:grace: it leaks", at("vic").ok("versions", "show", f"{model}:2").facts["revoked"]
    )
    pulled = at("ada").run("pull", f"{model}:2", "copy")
    assert (pulled.code, "VERSION_REVOKED" in pulled.err) == (3, True)
    twice = at("grace").run("revoke", f"{model}:2", "--reason", "it leaks", "--json")
    assert (twice.code, twice.out) == (3, "")


def test_waiting_ends_when_it_is_applied_and_follows_what_was_proposed_before(
    bank: Bank, at: At, tmp_path: Path
) -> None:
    model = bank.model(tmp_path, 0.93)
    name = f"risk/{model}#1"
    arguments = ("promote", f"{model}:1", "--to", "production", "--wait")
    late = at("ada").run(*arguments, "--timeout", "0")
    assert (late.code, late.out) == (4, f"{name}\n")
    assert "waits for a report" in late.err

    stopped = at("ada").start(*arguments)
    assert stopped.stderr is not None
    assert b"proposes this already" in stopped.stderr.readline()
    assert b"waits for" in stopped.stderr.readline()
    stopped.send_signal(signal.SIGINT)
    done = finished(stopped)
    assert (done.code, "stays open" in done.err) == (130, True)

    waiting = at("ada").start(*arguments, "--json")
    assert waiting.stderr is not None
    waiting.stderr.readline()
    waiting.stderr.readline()
    let_through(at, name)
    done = finished(waiting)
    assert (done.code, promotion_of(done.out).state) == (0, promotion_pb2.PROMOTION_STATE_APPLIED), done.err


def test_waiting_ends_with_3_when_it_is_rejected(bank: Bank, at: At, tmp_path: Path) -> None:
    model = bank.model(tmp_path, 0.93)
    process = at("ada").start("promote", f"{model}:1", "--to", "production", "--wait", "--timeout", "5m")
    with bank.client("grace") as grace:
        until(lambda: len(list(grace.promotions.list(f"risk/{model}"))) == 1)
    at("grace").ok("reject", f"risk/{model}#1", "--reason", "not on weekends")
    done = finished(process)
    assert done.code == 3
    assert "user:grace rejected it: not on weekends" in done.err


def test_without_a_policy_it_moves_at_once_to_a_stage_and_to_an_alias(
    bank: Bank, at: At, tmp_path: Path
) -> None:
    model = bank.model(tmp_path, 0.93)
    told = at("ada").ok("promote", f"{model}:1", "--to", "staging", "--dry-run")
    assert (told.out, "nothing has changed" in told.err) == ("", True)
    assert at("vic").ok("promotions", "ls", model).out == ""
    moved = at("ada").ok("promote", f"{model}:1", "--to", "staging")
    assert f"risk/{model}:1 is at the stage staging now." in moved.err
    made = promotion_of(at("ada").ok("promote", f"{model}:1", "--to", "@champion", "--json").out)
    assert (made.target.alias, made.state) == ("champion", promotion_pb2.PROMOTION_STATE_APPLIED)
    assert at("vic").ok("versions", "ls", model).rows[0][1] == "champion"
    there = at("ada").run("promote", f"{model}:1", "--to", "alias:champion")
    assert (there.code, "ALREADY_AT_TARGET" in there.err) == (3, True)


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("promote {model} --to production", 2, "names no version"),
        ("promote {model}:9 --to production", 5, "VERSION_NOT_FOUND"),
        ("promote nothing:1 --to production", 5, "MODEL_NOT_FOUND"),
        ("promote {model}:1 --to prodcution", 2, "STAGE_UNKNOWN"),
        ("promote {model}:1 --to environment:eu", 2, "as @champion"),
        ("promote {model}:1 --to @", 2, "as @champion"),
        ("promote {model}:1 --to @latest", 2, "latest"),
        ("promote {model}:1", 2, "--to"),
        ("promote {model}:1 --to staging --timeout 5m", 2, "--wait"),
        ("promote {model}:1 --to staging --wait --timeout soon", 2, "30m"),
        ("promote {model}:1 --to staging --wait --dry-run", 2, "rehearsal"),
        ("promotions show risk/{model}#9", 5, "has no promotion 9"),
        ("promotions show risk/{model}", 2, "write risk/fraud#7"),
        ("promotions show risk/{model}#0", 2, "they start at 1"),
        ("promotions show risk/{model}#99999999999999999999999", 2, "they start at 1"),
        ("promotions show #1", 2, "write risk/fraud#7"),
        ("promotions cancel risk/{model}#9", 5, "PROMOTION_NOT_FOUND"),
        ("promotions ls nothing", 5, "MODEL_NOT_FOUND"),
        ("promotions show nowhere#1", 6, "PERMISSION_MISSING"),
    ],
)
def test_what_is_typed_wrong_is_a_sentence(
    bank: Bank, at: At, command: str, code: int, words: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    cache = request.session.stash.setdefault(_MODEL, [])
    if not cache:
        cache.append(bank.model(tmp_path, 0.93))
    done = at("ada").run(*command.format(model=cache[0]).split())
    assert (done.code, done.out) == (code, ""), done.err
    assert words in done.err
    assert "Traceback" not in done.err


_MODEL = pytest.StashKey[list[str]]()
