"""Requests for new versions that go in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import version_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.v1 import limits_pb2

# A batch of this size leaves the server free for others soon enough.
BATCH_BYTES = 1024 * 1024


class Batch:
    """Requests within the limits of the server, by the numbers of their versions in the bundle."""

    def __init__(self, limits: limits_pb2.Limits) -> None:
        self._limits = limits
        self._size_bytes = self._texts_bytes = self._files = 0
        self.requests: dict[int, pb.CreateVersionRequest] = {}

    def fits(self, request: pb.CreateVersionRequest) -> bool:
        """Return whether there is room for one more; for the first one there always is."""
        return not self.requests or (
            len(self.requests) < self._limits.batch_create_count
            and self._size_bytes + request.ByteSize() <= BATCH_BYTES
            and self._texts_bytes + _texts_bytes(request) <= self._limits.batch_create_texts_bytes
            and self._files + len(request.content.files) <= self._limits.files_count
        )

    def add(self, number: int, request: pb.CreateVersionRequest) -> None:
        """Add a request."""
        self.requests[number] = request
        self._size_bytes += request.ByteSize()
        self._texts_bytes += _texts_bytes(request)
        self._files += len(request.content.files)


def _texts_bytes(request: pb.CreateVersionRequest) -> int:
    texts = (request.description, *request.labels, *request.labels.values())
    return sum(len(text.encode()) for text in texts)
