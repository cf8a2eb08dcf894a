"""Blobs whose bytes could not be read: they count as missing until somebody uploads them again."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from steelyard_server.blobs.blocks import DIGEST_PREFIX, hexadecimal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Damage:
    """The digests, each an empty file in a directory so that a restart does not forget it.

    A file that cannot be made or removed only means that the next read or upload notes it again.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)
        self._digests = {DIGEST_PREFIX + path.name for path in directory.iterdir()}

    def __contains__(self, digest: object) -> bool:
        return digest in self._digests

    def note(self, digest: str) -> None:
        """Note that the bytes of a blob could not be read."""
        self._digests.add(digest)
        with suppress(OSError):
            os.close(os.open(self._directory / hexadecimal(digest), os.O_CREAT | os.O_WRONLY, 0o600))

    def mend(self, digests: Iterable[str]) -> None:
        """Note that blobs are there, whole and durable."""
        for digest in self._digests.intersection(digests):
            with suppress(OSError):
                (self._directory / hexadecimal(digest)).unlink(missing_ok=True)
            self._digests.discard(digest)
