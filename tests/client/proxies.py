"""A TCP proxy that stalls, drops, cuts and counts what goes through it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK_BYTES = 64 * 1024


class Proxy:
    """Forwards connections to one address until it is closed.

    Args:
        dropping_answers: what the server sends is thrown away.
        refusals: so many of the next connections are closed at once.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._going_on = threading.Event()
        self._cut_at_bytes: int | None = None
        self._stall_at_bytes: dict[bool, int] = {}
        self.dropping_answers = False
        self.is_stalled = False
        self.refusals = 0
        self.answered_bytes = self.sent_bytes = 0
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections off; new ones go through."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def cut_after(self, size_bytes: int) -> None:
        """Break all connections off once, when so many more bytes have come from the server."""
        self._cut_at_bytes = self.answered_bytes + size_bytes

    def stall_after(self, size_bytes: int, *, answers: bool) -> None:
        """Forward nothing more in one direction after so many bytes of it, until told to go on."""
        self._going_on.clear()
        self._stall_at_bytes[answers] = size_bytes

    def go_on(self) -> None:
        """Forward what was held up, and everything from now on."""
        self._stall_at_bytes.clear()
        self._going_on.set()

    def pass_others(self) -> None:
        """Forward what comes on other connections; what is held up stays so."""
        self._stall_at_bytes.clear()

    def close(self) -> None:
        """Stop listening and break all connections off."""
        self._going_on.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.refusals:
                    self.refusals -= 1
                    near.close()
                    continue
                try:
                    far = socket.create_connection(self._target)
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._sockets += [near, far]
                for ends in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:  # noqa: FBT001
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if answers and self.dropping_answers:
                    continue
                sink.sendall(data)
                self._count(len(data), answers=answers)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _count(self, size_bytes: int, *, answers: bool) -> None:
        with self._lock:
            self.answered_bytes += size_bytes * answers
            self.sent_bytes += size_bytes * (not answers)
            cut = self._cut_at_bytes is not None and self.answered_bytes >= self._cut_at_bytes
            self._cut_at_bytes = None if cut else self._cut_at_bytes
            moved_bytes = self.answered_bytes if answers else self.sent_bytes
            stall = moved_bytes >= self._stall_at_bytes.get(answers, moved_bytes + 1)
        if cut:
            self.cut()
        if stall:
            self.is_stalled = True
            self._going_on.wait()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Forward connections to *target* until the block ends."""
    opened = Proxy(target)
    try:
        yield opened
    finally:
        opened.close()
