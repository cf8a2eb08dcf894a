"""What the steps of the main job say, require and run."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND_SECONDS = 60

console = Console(highlight=False, soft_wrap=True)


class Failed(Exception):
    """A step did not do what it says."""


def step(number: int, text: str) -> None:
    """Say what comes now."""
    console.print(f"\n[bold]{number}. {text}[/]")


def say(text: str) -> None:
    """Say what happened."""
    console.print(f"   {text}", markup=False)


def require(text: str, *, holds: bool) -> None:
    """Go on only if it is so.

    Raises:
        Failed: it is not.
    """
    if not holds:
        raise Failed(f"It is not so that {text}.")


def command(
    *words: str, shown: str, environment: Mapping[str, str], who: str = "", exit_code: int = 0
) -> str:
    """Show a `steelyard` command, run it, show what it notes, and return what it prints.

    Args:
        who: types it, where several persons do.
        exit_code: that it must end with.

    Raises:
        Failed: it ends with another exit code.
    """
    say(f"{who}$ steelyard {shown}" if who else f"$ steelyard {shown}")
    done = subprocess.run(
        [sys.executable, "-m", "steelyard", *words],
        check=False,
        env=dict(environment),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=COMMAND_SECONDS,
    )
    for line in done.stderr.splitlines():
        say(line)
    expected = f"exit code {exit_code}, but with {done.returncode}"
    require(f"`steelyard {words[0]}` ends with {expected}", holds=done.returncode == exit_code)
    return done.stdout
