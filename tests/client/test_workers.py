"""The threads of a transfer end together, whichever way the transfer ends."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from concurrent import futures

import pytest

from steelyard import workers
from steelyard.errors import SteelyardError
from steelyard.workers import Stop
from tests.client.waiting import until

LONG_SECONDS = 30.0


def is_waiting(thread: int) -> bool:
    """Whether a thread waits for futures."""
    frame = sys._current_frames()[thread]
    return any(each.f_code is futures.wait.__code__ for each, _ in traceback.walk_stack(frame))


@pytest.mark.parametrize("early", [True, False], ids=["while it starts", "while it waits"])
def test_ctrl_c_ends_a_transfer_even_when_the_system_hands_it_to_another_thread(*, early: bool) -> None:
    """A wait without a limit sleeps on until something else wakes it, which a stalled stream never does."""
    stop = Stop()
    ended_early = []
    main = threading.get_ident()

    def interrupt(_: int) -> None:
        until(lambda: early or is_waiting(main))
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        stop.pause(LONG_SECONDS)
        ended_early.append(stop.is_set)

    with pytest.raises(KeyboardInterrupt):
        workers.run(interrupt, [1], stop=stop, threads=1)
    until(lambda: bool(ended_early))
    assert ended_early == [True]


def test_the_first_failure_ends_the_tasks_that_still_run() -> None:
    stop = Stop()
    begun = threading.Barrier(2)

    def task(number: int) -> None:
        begun.wait(LONG_SECONDS)
        if number == 0:
            raise SteelyardError("No.")
        stop.pause(LONG_SECONDS)
        stop.check()
        raise AssertionError

    with pytest.raises(SteelyardError, match=r"^No\.$"):
        workers.run(task, [0, 1], stop=stop, threads=2)
    assert stop.is_set


def test_all_items_are_done_by_few_threads() -> None:
    done: list[int] = []
    workers.run(done.append, range(100), stop=Stop(), threads=3)
    assert sorted(done) == list(range(100))
