"""The limit on bytes a second, on a clock of the test."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from steelyard_server.maintenance.pace import Pace


@dataclass
class Clock:
    """A clock that goes on only while somebody waits, or is told to."""

    now: float = 100.0
    waits: list[float] = field(default_factory=list)

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def pace(self, bytes_per_second: int) -> Pace:
        return Pace(bytes_per_second, wait=self.wait, check=lambda: None, clock=lambda: self.now)


def test_without_a_limit_nothing_waits() -> None:
    clock = Clock()
    pace = clock.pace(0)
    for _ in range(100):
        pace(1 << 40)
    assert clock.waits == []


def test_a_long_run_takes_as_long_as_the_limit_says() -> None:
    clock = Clock()
    pace = clock.pace(1000)
    for _ in range(500):
        pace(70)
    assert clock.now - 100 == pytest.approx(500 * 70 / 1000, abs=1.1)


def test_steps_larger_than_a_second_keep_the_rate_too() -> None:
    clock = Clock()
    pace = clock.pace(1000)
    for _ in range(10):
        pace(5000)
    assert clock.now - 100 == pytest.approx(9 * 5000 / 1000, abs=1.1)


def test_a_pause_saves_up_one_second_at_most() -> None:
    clock = Clock()
    pace = clock.pace(1000)
    pace(1000)
    clock.now += 3600
    for _ in range(4):
        pace(1000)
    assert sum(clock.waits) == pytest.approx(2, abs=1.1)


def test_a_wait_that_was_cut_short_goes_on() -> None:
    clock = Clock()

    def wait_half(seconds: float) -> None:
        clock.wait(max(seconds / 2, 0.001))

    pace = Pace(1000, wait=wait_half, check=lambda: None, clock=lambda: clock.now)
    for _ in range(10):
        pace(1000)
    assert clock.now - 100 >= 8


def test_what_the_check_raises_ends_the_wait() -> None:
    clock = Clock()

    def check() -> None:
        if clock.waits:
            raise InterruptedError

    pace = Pace(10, wait=clock.wait, check=check, clock=lambda: clock.now)
    pace(1000)
    with pytest.raises(InterruptedError):
        pace(1000)
    assert len(clock.waits) == 1
