"""Prometheus metrics, served on an address of their own when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

if TYPE_CHECKING:
    from steelyard_server.api.call import Stream

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)


class Metrics:
    """Count calls and bytes, and serve the counts over HTTP from a thread until stopped."""

    def __init__(self, *, host: str, port: int) -> None:
        registry = CollectorRegistry()
        self._calls = Counter("steelyard_calls", "Calls that ended.", ["method", "code"], registry=registry)
        self._seconds = Histogram(
            "steelyard_call_seconds",
            "Duration of calls.",
            ["method"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._received = Counter(
            "steelyard_received_bytes", "Bytes of request messages.", ["method"], registry=registry
        )
        self._sent = Counter(
            "steelyard_sent_bytes", "Bytes of streamed answers.", ["method"], registry=registry
        )
        self._server, self._thread = start_http_server(port, addr=host, registry=registry)

    @property
    def port(self) -> int:
        """Return the port that is served."""
        port: int = self._server.server_port
        return port

    def count(self, method: str, *, code: str, seconds: float, stream: Stream) -> None:
        """Count one call that ended."""
        self._calls.labels(method, code).inc()
        self._seconds.labels(method).observe(seconds)
        self._received.labels(method).inc(stream.received_bytes)
        self._sent.labels(method).inc(stream.sent_bytes)

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
