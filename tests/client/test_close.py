"""A client closes in a bounded time, whatever an interrupt left behind."""

from __future__ import annotations

import threading

import pytest

import steelyard
from tests.servers import ServerProcess


def test_a_client_that_was_interrupted_as_a_stream_began_closes_all_the_same(
    shared: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is a matter of microseconds there, so it comes as the thread that drives the stream begins."""

    def interrupted(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    client = steelyard.Client(shared.address)
    watch = client.events.watch()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(watch)
    closing = threading.Thread(target=client.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
