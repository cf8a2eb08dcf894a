"""What a row is: samples taken in rounds, in turn, and goals held against them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20
MB = 1_000_000
GIB = 1 << 30
CHILD_SECONDS = 900
# What the server and its clients send in one message.
CHUNK_BYTES = 1023 * 1024

FLOOR, STEELYARD, MLFLOW = "floor", "Steelyard", "MLflow"


@dataclass(frozen=True, slots=True)
class Samples:
    """One value a round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the middle value, which ratios are made of."""
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        """Return the smallest value."""
        return min(self.values)

    @property
    def most(self) -> float:
        """Return the largest value."""
        return max(self.values)


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit, and what was measured against it; None when it could not be measured in this run."""

    text: str
    measured: float | None
    limit: float
    at_least: bool
    unit: str = "x"

    @property
    def reached(self) -> bool | None:
        """Return whether the limit holds."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the results.

    Args:
        unit: of all samples.
        goals: empty when the row only informs.
        notes: what a reader must know to repeat or to judge it.
    """

    title: str
    unit: str
    samples: Mapping[str, Samples]
    goals: tuple[Goal, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Run:
    """What all rows share.

    Args:
        scratch: directory on the disk to measure; every row cleans up behind itself.
        mlflow: its command, or None when it is not measured.
        profiles: where servers leave profiles; None for none. Profiled numbers are no results.
        say: show how far the run is.
    """

    scratch: Path
    quick: bool
    rounds: int
    mlflow: Path | None
    profiles: Path | None
    say: Callable[[str], None]
    _directories: int = field(default=0)

    def choose(self, full: Any, quick: Any) -> Any:
        """Return the size that fits this run."""
        return quick if self.quick else full

    def profile(self, what: str) -> Path | None:
        """Name the file for the profile of a server that does *what*; None when none is wanted."""
        return self.profiles / f"{what}-{self._directories:03}.prof" if self.profiles else None

    def directory(self) -> Path:
        """Make an empty directory."""
        self._directories += 1
        path = self.scratch / f"{self._directories:03}"
        path.mkdir()
        return path

    def in_turn(
        self, subjects: Mapping[str, Callable[[], float]], *, at_most_rounds: int = sys.maxsize
    ) -> dict[str, Samples]:
        """Measure all subjects in every round, in turn, each second round backwards."""
        taken: dict[str, list[float]] = {name: [] for name in subjects}
        rounds = min(self.rounds, at_most_rounds)
        for number in range(rounds):
            for name in list(subjects)[:: -1 if number % 2 else 1]:
                self.say(f"round {number + 1} of {rounds}: {name}")
                taken[name].append(subjects[name]())
        return {name: Samples(tuple(values)) for name, values in taken.items()}


def at_least(
    factor: float, of: str, samples: Mapping[str, Samples], *, subject: str = STEELYARD, what: str = ""
) -> Goal:
    """Compare the medians of *subject* and *of*, where more is better."""
    measured = samples[subject].median / samples[of].median if of in samples else None
    return Goal(f"{what} at least {factor:g} x {of}".strip(), measured, factor, at_least=True)


def at_most(limit: float, unit: str, measured: float | None, *, what: str = "") -> Goal:
    """Hold one number against a limit."""
    text = f"{what} at most {limit:g} {unit}".strip()
    return Goal(text, measured, limit, at_least=False, unit=unit)


def child(module: str, **job: Any) -> Any:
    """Run a module of this package in a process of its own and return the JSON that it prints.

    Raises:
        subprocess.CalledProcessError: it failed; its traceback is on standard error.
    """
    done = subprocess.run(
        child_command(module, **job),
        cwd=ROOT,
        env=environment(),
        check=True,
        stdout=subprocess.PIPE,
        timeout=CHILD_SECONDS,
    )
    return json.loads(done.stdout)


def child_command(module: str, **job: Any) -> list[str]:
    """Return the command line of `child`."""
    return [sys.executable, "-m", f"benchmarks.{module}", json.dumps(job)]


def environment() -> dict[str, str]:
    """Return the variables of all processes: no settings of Steelyard, and bytecode is kept as usual."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("STEELYARD_") and name != "PYTHONDONTWRITEBYTECODE"
    }
