"""Retention: which versions of a namespace go by themselves; ``core/expiry.py`` lets them go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from steelyard_server.core import names
from steelyard_server.limits import LIMITS

# Before all times that anything has.
NEVER: Final = -1


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept, and for how long; 0 keeps nothing, or purges nothing.

    Attributes:
        keep_versions_count: of the newest of each model that are not deleted.
        keep_seconds: since they were created.
        purge_after_seconds: since they were deleted.
    """

    keep_versions_count: int = 0
    keep_seconds: int = 0
    purge_after_seconds: int = 0

    def check(self, *, field: str) -> Retention:
        """Check the numbers; *field* is where they stand in the request."""
        names.number(self.keep_versions_count, field=f"{field}.keep_versions_count")
        for name in ("keep_seconds", "purge_after_seconds"):
            names.number(getattr(self, name), field=f"{field}.{name}", maximum=LIMITS.retention_seconds)
        return self

    @property
    def as_json(self) -> dict[str, str]:
        """Write the numbers that say anything as history does."""
        numbers = {name: getattr(self, name) for name in self.__slots__}
        return {name: str(number) for name, number in numbers.items() if number}

    @property
    def newest_kept(self) -> int:
        """How many of the newest versions of a model stay whatever their age, which is always one."""
        return max(self.keep_versions_count, 1)

    def deletes_until(self, now: int) -> int:
        """Return the newest time of creation of what may be deleted at *now*."""
        if not self.keep_versions_count and not self.keep_seconds:
            return NEVER
        return now - self.keep_seconds * 1_000_000

    def purges_until(self, now: int) -> int:
        """Return the newest time of deletion of what is purged at *now*."""
        return now - self.purge_after_seconds * 1_000_000 if self.purge_after_seconds else NEVER


KEEP_ALL: Final = Retention()
