"""Blobs whose bytes could not be read: they count as missing until somebody uploads them again."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from steelyard_server.blobs.blocks import DIGEST_PREFIX, hexadecimal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

QUARANTINE: Final = ".quarantine"


class Damage:
    """The digests, each an empty file in a directory so that a restart does not forget it.

    What is quarantined has a second file. One that cannot be made or removed only means that the next
    read, verification or upload notes it again.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)
        names = {path.name for path in directory.iterdir()}
        self._digests = {DIGEST_PREFIX + name.removesuffix(QUARANTINE) for name in names}
        self._quarantined = {
            DIGEST_PREFIX + name.removesuffix(QUARANTINE) for name in names if name.endswith(QUARANTINE)
        }

    def __contains__(self, digest: object) -> bool:
        return digest in self._digests

    def is_quarantined(self, digest: str) -> bool:
        """Return whether not even what looks sound of a blob may be served."""
        return digest in self._quarantined

    def note(self, digest: str, *, quarantine: bool = False) -> None:
        """Note that the bytes of a blob could not be read, or are others than they look."""
        self._digests.add(digest)
        self._touch(hexadecimal(digest))
        if quarantine:
            self._quarantined.add(digest)
            self._touch(hexadecimal(digest) + QUARANTINE)

    def mend(self, digests: Iterable[str]) -> None:
        """Note that blobs are there, whole and durable."""
        for digest in self._digests.intersection(digests):
            for suffix in (QUARANTINE, ""):
                with suppress(OSError):
                    (self._directory / (hexadecimal(digest) + suffix)).unlink(missing_ok=True)
            self._digests.discard(digest)
            self._quarantined.discard(digest)

    def _touch(self, name: str) -> None:
        with suppress(OSError):
            os.close(os.open(self._directory / name, os.O_CREAT | os.O_WRONLY, 0o600))
