"""The history on the command line: the newest last, filtered, cut for people and whole for programs."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
from google.protobuf import json_format

from steelyard.v1 import event_pb2
from tests.cli.shell import Shell, finished, plain
from tests.servers import ServerProcess


@pytest.fixture
def told(pushed: Shell) -> Shell:
    """Run commands where a few things happened, some of them for a reason."""
    pushed.ok("alias", "set", "fraud:1", "challenger", "--reason", "ticket\t7")
    pushed.ok("--actor", "grace", "models", "edit", "fraud", "--description", "Finds fraud.")
    return pushed


def scope(shell: Shell) -> str:
    return shell.variables["STEELYARD_NAMESPACE"]


def test_what_happened_is_a_line_each_the_newest_last(told: Shell) -> None:
    rows = told.ok("log", scope(told)).rows
    assert [row[3] for row in rows] == [
        *("namespace.create", "model.create", "version.create", "alias.set", "alias.set", "model.update"),
    ]
    assert [int(row[0]) for row in rows] == sorted(int(row[0]) for row in rows)
    assert rows[-1][2] == "grace (stated)"
    assert rows[-2][4:] == [f"alias/{scope(told)}/fraud@challenger", "ticket 7"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", rows[0][1])
    assert told.ok("log", f"{scope(told)}/fraud").rows == rows[1:]


def test_a_limit_keeps_the_newest_and_says_that_there_are_more(told: Shell) -> None:
    done = told.ok("log", scope(told), "-n", "2")
    assert [row[3] for row in done.rows] == ["alias.set", "model.update"]
    assert done.err == "These are the newest 2; there are more, see --limit.\n"
    assert told.ok("log", scope(told), "-n", "6").err == ""


def test_filter_and_since_choose_together(told: Shell) -> None:
    rows = told.ok("log", scope(told)).rows
    either = "action = alias.set OR action = model.create"
    assert told.ok("log", scope(told), "--filter", either).rows == [rows[1], rows[3], rows[4]]
    assert told.ok("log", scope(told), "-f", either, "--since", rows[1][0]).rows == [rows[3], rows[4]]
    assert told.ok("log", scope(told), "--since", "1h").rows == rows
    done = told.ok("log", scope(told), "--filter", "actor = nobody")
    assert (done.out, done.err) == ("", "None passes the filter.\n")


def test_the_whole_registry_has_the_events_of_all_namespaces(told: Shell) -> None:
    newest = told.ok("log", "-n", "1").rows
    assert newest == told.ok("log", scope(told), "-n", "1").rows
    assert len(told.ok("log", "--filter", "action = namespace.create").rows) > 1


def test_json_is_an_event_a_line_whole_for_programs(told: Shell) -> None:
    lines = told.ok("log", scope(told), "--json").out.splitlines()
    events = [json_format.Parse(line, event_pb2.Event()) for line in lines]
    assert [event.action for event in events] == [row[3] for row in told.ok("log", scope(told)).rows]
    content = json.loads(base64.b64decode(json.loads(lines[4])["content"]))
    assert content["changes"][0]["resource"] == f"alias/{scope(told)}/fraud@challenger"


def test_on_a_terminal_it_is_a_table(told: Shell) -> None:
    done = told.on_terminal("log", scope(told), columns=160)
    assert done.code == 0
    assert re.search("sequence +time +actor +action +resource +reason", plain(done.out)), done.out
    assert "\x1b[1m" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere"], 5, "NAMESPACE_NOT_FOUND"),
        (
            ["--filter", "actr = ada"],
            2,
            "Column 1 of `filter`: there is no field 'actr' here; expected perhaps actor",
        ),
        (["--since", "yesterday"], 2, "'yesterday' is not like 90s"),
        (["-n", "0"], 2, "--limit"),
    ],
)
def test_what_is_wrong_is_said(shell: Shell, arguments: list[str], code: int, words: str) -> None:
    done = shell.run("log", *arguments)
    assert (done.code, done.out) == (code, "")
    assert words in re.sub(r"\s+", " ", done.err.replace("│", " "))


def follow(shell: Shell, *arguments: str) -> subprocess.Popen[bytes]:
    """Follow what comes, from a server that the arguments may name."""
    return shell.start(*arguments, "log", "--follow", stdout=subprocess.PIPE)


def read_line(process: subprocess.Popen[bytes]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().decode().rstrip("\n").split("\t")


def test_follow_goes_on_across_a_restart_until_ctrl_c(home: Shell, child: ServerProcess) -> None:
    at = ("-s", child.address)
    home.ok(*at, "models", "create", "first")
    process = follow(home, *at)
    try:
        assert [read_line(process)[3] for _ in range(2)] == ["namespace.create", "model.create"]
        home.ok(*at, "models", "create", "second")
        assert read_line(process)[4] == "model/default/second"
        child.kill()
        child.start()
        home.ok(*at, "models", "create", "third", "--reason", "after all")
        assert read_line(process)[4:] == ["model/default/third", "after all"]
        process.send_signal(signal.SIGINT)
        done = finished(process)
    finally:
        process.kill()
        process.wait()
    assert (done.code, done.out, done.err) == (130, "", "")


def test_follow_prints_json_an_event_a_line_and_only_what_passes(told: Shell) -> None:
    process = told.start(
        "log", scope(told), "-F", "--json", "-f", "action = alias.set", stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        found = [json.loads(process.stdout.readline()) for _ in range(2)]
        told.ok("models", "edit", "fraud", "--description", "other")
        told.ok("alias", "set", "fraud:1", "third")
        found.append(json.loads(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()
    assert [event["action"] for event in found] == ["alias.set"] * 3
    assert int(found[2]["sequence"]) > int(found[1]["sequence"]) + 1


def test_follow_on_a_terminal_draws_columns(told: Shell) -> None:
    made = []

    def seen(drawn: str) -> None:
        if "model.update" in drawn and not made:
            made.append(told.start("alias", "set", "fraud:1", "last"))
        if "@last" in drawn:
            finished(made[0])
            processes[0].send_signal(signal.SIGINT)

    processes: list[subprocess.Popen[bytes]] = []
    start = Shell.start

    class Noting(Shell):
        def start(self, *arguments: str | Path, **options: int) -> subprocess.Popen[bytes]:
            processes.append(start(self, *arguments, **options))
            return processes[-1]

    done = Noting(told.directory, told.variables).on_terminal(
        "log", scope(told), "--follow", seen=seen, columns=160
    )
    assert done.code == 130
    drawn = plain(done.out).splitlines()
    (header,) = [line for line in drawn if line.lstrip().startswith("sequence")]
    place = header.index("action")
    assert [line[place:].split()[0] for line in drawn[1:8]] == [
        *("namespace.create", "model.create", "version.create"),
        *("alias.set", "alias.set", "model.update", "alias.set"),
    ]
    assert "\x1b[1m" in done.out
