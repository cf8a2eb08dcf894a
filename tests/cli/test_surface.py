"""Help, completion, contexts, the terminal, and a server started from the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from steelyard.cli import app
from tests.cli.shell import PROGRAM, SECONDS, Shell, finished, plain
from tests.client.proxies import proxy
from tests.client.trees import large_file, write_tree
from tests.servers import ServerProcess

HELP_SECONDS = 20


def every_command() -> list[str]:
    """Return the words of each command and group."""
    root = typer.main.get_command(app.app)
    groups: dict[str, Any] = vars(root)["commands"]
    words = [""]
    for name, command in sorted(groups.items()):
        words.append(name)
        words += [f"{name} {each}" for each in sorted(getattr(command, "commands", ()))]
    return words


# They answer nothing but a sentence, or bytes, or run until they are stopped.
WITHOUT_JSON = {
    "cat",
    "evaluations cat",
    "contexts add",
    "contexts rm",
    "contexts use",
    "serve",
}
# Its options, --json too, are in the distribution of the server.
ELSEWHERE = {"restore"}


def test_every_command_that_answers_has_json() -> None:
    root = typer.main.get_command(app.app)
    without = set()
    for words in every_command():
        command: Any = root
        for word in words.split():
            command = command.commands[word]
        options = {option for each in command.params for option in each.opts}
        if not hasattr(command, "commands") and "--json" not in options:
            without.add(words)
    assert without == WITHOUT_JSON | ELSEWHERE


def test_every_command_explains_itself(home: Shell) -> None:
    """All at once, for each is a process of its own."""
    processes = {words: home.start(*words.split(), "--help") for words in every_command()}
    assert len(processes) > 30
    for words, process in processes.items():
        done = finished(process)
        assert done.code == 0, words
        assert done.err == ""
        assert f"Usage: steelyard {words}".rstrip() in done.out
        assert re.search(r"\n\s*\n {1,2}[A-Z].*?\.\s*\n", done.out, re.DOTALL), (
            f"{words} does not say what it does"
        )


def test_no_command_at_all_is_help_and_wrong_usage(home: Shell) -> None:
    done = home.run()
    assert done.code == 2
    assert "Usage: steelyard" in done.out + done.err


def test_the_version_is_printed(home: Shell) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", home.ok("--version").out)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed(home: Shell, name: str) -> None:
    # By itself it takes the shell that it was started from, and what starts tests may be none that it knows.
    variables = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = Shell(home.directory, variables).ok("--show-completion", name)
    assert "_STEELYARD_COMPLETE" in done.out


def test_the_completion_of_bash_knows_commands_and_options(home: Shell) -> None:
    for words, at, expected in (("steelyard ver", 1, "versions"), ("steelyard push --met", 2, "--metric")):
        variables = {"_STEELYARD_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        found = Shell(home.directory, variables).run().out.split()
        assert expected in found


def test_contexts_name_servers_and_one_is_chosen(home: Shell, shared: ServerProcess) -> None:
    home.ok("contexts", "add", "here", shared.address, "--actor", "carol")
    home.ok("contexts", "add", "away", "127.0.0.1:9", "--namespace", "risk")
    assert json.loads(home.ok("contexts", "ls", "--json").out) == {
        "current": "here",
        "contexts": {
            "here": {"server": shared.address, "namespace": "default", "actor": "carol"},
            "away": {"server": "127.0.0.1:9", "namespace": "risk"},
        },
    }
    assert home.ok("contexts", "ls").rows == [
        ["", "away", "127.0.0.1:9", "risk"],
        ["*", "here", shared.address, "default"],
    ]
    assert "carol" in home.ok("status").out
    home.ok("contexts", "use", "away")
    assert home.run("status").code == 7
    assert "carol" in home.ok("--context", "here", "status").out
    home.ok("contexts", "rm", "away")
    assert [row[1] for row in home.ok("contexts", "ls").rows] == ["here"]
    file = home.directory / "config" / "contexts.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert set(json.loads(file.read_text())["contexts"]) == {"here"}


def test_flags_outrank_a_named_context_and_that_outranks_variables(
    home: Shell, shared: ServerProcess
) -> None:
    nowhere = "127.0.0.1:9"
    home.ok("contexts", "add", "away", nowhere)
    home.ok("contexts", "add", "here", shared.address)
    user = Shell(home.directory, {"STEELYARD_SERVER": shared.address})
    assert user.run("status").code == 0, "a variable outranks the chosen context"
    assert user.run("--context", "away", "status").code == 7
    assert user.run("--context", "away", "--server", shared.address, "status").code == 0
    user = Shell(home.directory, {"STEELYARD_CONTEXT": "here"})
    assert user.run("status").code == 0


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"contexts": {"a": {}}, "current": "a"}', '{"contexts": 3}', "\xff"]
)
def test_contexts_that_were_damaged_are_a_sentence(home: Shell, text: str) -> None:
    write_tree(home.directory, {"config/contexts.json": text.encode("latin-1")})
    for command in ("status", "contexts ls", "contexts use a", "contexts add b localhost", "contexts rm a"):
        done = home.run(*command.split())
        assert done.code == 2, command
        assert "contexts.json" in done.err
        assert "Traceback" not in done.err


def test_on_a_terminal_lists_are_tables_with_headers(pushed: Shell) -> None:
    for command, header in (
        ("files fraud", "path +size +role +digest"),
        ("versions ls fraud", "version +aliases +stage +metrics +size +created +by"),
        ("alias ls fraud", "alias +version +digest +moved"),
        ("models ls", "model +latest +description +changed"),
    ):
        done = pushed.on_terminal(*command.split())
        assert done.code == 0, done.out
        assert re.search(header, plain(done.out)), done.out
        assert "\x1b[1m" in done.out
        assert "\t" not in done.out
    assert re.search(r"\x1b\[1mdigest", pushed.on_terminal("versions", "show", "fraud").out)


def test_on_a_terminal_every_transfer_draws_a_bar_with_rate_and_time_left(shell: Shell) -> None:
    large_file(shell.directory / "large.bin", size_mib=24)
    for command, phase in (
        ("push fraud large.bin", "upload large.bin"),
        ("pull fraud copy", "download large.bin"),
        ("verify fraud copy", "verify large.bin"),
        ("verify fraud", "verify large.bin"),
    ):
        done = shell.on_terminal(*command.split())
        assert done.code == 0, done.out
        drawn = plain(done.out)
        assert phase in drawn
        assert re.search(r"24\.0/24\.0 MiB +[\d.]+ [KMG]i?B/s +\d+:\d\d:\d\d", drawn), drawn
        assert re.search("[━╸]", drawn)


def test_each_phase_of_a_push_is_a_bar_with_its_own_rate_and_time_left(
    shell: Shell, shared: ServerProcess
) -> None:
    """A file of a size that is held already is hashed before it is sent: as many bytes twice."""
    name = "[b]large.bin"
    shell.ok("push", "other", large_file(shell.directory / "other.bin", size_mib=24))
    large_file(shell.directory / name, size_mib=24)
    midway = re.compile(rf"upload {re.escape(name)} +\S+ +\d\d?\.\d/24\.0 MiB +\S+( [KMG]?B/s)? +(\S+)")
    with proxy(shared.address) as between:
        between.stall_after(6 << 20, answers=False)
        done = shell.on_terminal(
            *("-s", between.address, "push", "fraud", name),
            seen=lambda drawn: between.go_on() if between.is_stalled and midway.search(drawn) else None,
        )
    assert done.code == 0, done.out
    drawn = plain(done.out)
    assert re.search(rf"hash {re.escape(name)} +\S+ +24\.0/24\.0 MiB", drawn), drawn
    assert {left for _, left in midway.findall(drawn)} & {"0:00:01", "0:00:02", "-:--:--"}, drawn


def test_a_bar_stays_on_one_line_of_a_narrow_terminal(shell: Shell) -> None:
    large_file(shell.directory / "a-long-name-of-a-file-with-weights.bin", size_mib=2)
    drawn = shell.on_terminal("push", "fraud", "a-long-name-of-a-file-with-weights.bin", columns=60).out
    lines = [line for line in re.split(r"[\r\n]+", plain(drawn)) if "━" in line]
    assert lines
    for line in lines:
        assert re.search(r"^(hash|upload) .*━.* (bytes|KiB|MiB|GiB) .*:\S\S *$", line), line
        assert len(line.rstrip()) <= 60


def test_quiet_draws_no_bar(shell: Shell, model: Path) -> None:
    done = shell.on_terminal("--quiet", "push", "fraud", model)
    assert done.code == 0
    assert "━" not in done.out


def test_an_error_on_a_terminal_is_red_and_leaves_the_cursor_shown(shell: Shell, model: Path) -> None:
    (model / "link").symlink_to("a")
    done = shell.on_terminal("push", "fraud", model)
    assert done.code == 3
    assert "\x1b[1;31merror: " in done.out
    assert done.out.count("\x1b[?25l") == done.out.count("\x1b[?25h")
    assert "Traceback" not in done.out


def test_serve_runs_a_server_until_it_is_asked_to_stop(home: Shell) -> None:
    process = subprocess.Popen(
        [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--data-dir", "data"],
        cwd=home.directory,
        env=home.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"listening on (\S+)", process.stdout.readline())
        assert found is not None
        assert home.ok("--server", found[1], "status").rows[0] == ["server", found[1]]
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.communicate()
    assert os.listdir(home.directory / "data")  # noqa: PTH208  any name will do


def test_python_can_run_the_command_line_as_a_module(home: Shell) -> None:
    command = [sys.executable, "-m", "steelyard", "--version"]
    done = subprocess.run(
        command, env=home.environment, capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert done.stdout == home.ok("--version").out
