"""Origins: where something was before it was imported or copied, as whoever did that stated it."""

from __future__ import annotations

from dataclasses import dataclass

from steelyard_server.core import names
from steelyard_server.errors import FieldRequired
from steelyard_server.history import events
from steelyard_server.limits import LIMITS


@dataclass(frozen=True, slots=True)
class Origin:
    """A place in another registry; *create_time* is in microseconds, None when not known.

    Args:
        system: kind of registry.
        uri: of the registry.
        version: reference of the version there.
        creator: who created or recorded it there.
        uid: its identifier there.
    """

    system: str
    uri: str = ""
    version: str = ""
    creator: str = ""
    uid: str = ""
    create_time: int | None = None

    def check(self, *, field: str) -> None:
        """Check all fields; *field* is where the origin stands in the request."""
        if not self.system:
            raise FieldRequired(
                f"`{field}.system` is empty; set it, for example to steelyard.", field=f"{field}.system"
            )
        for name in ("system", "uri", "version", "creator", "uid"):
            names.text(getattr(self, name), field=f"{field}.{name}", maximum_bytes=LIMITS.text_bytes)

    def as_json(self) -> dict[str, str]:
        """Write the origin as rows and events have it."""
        stated = {name: getattr(self, name) for name in ("system", "uri", "version", "creator")}
        if self.uid:
            stated["uid"] = self.uid
        if self.create_time is not None:
            stated["create_time"] = events.time_text(self.create_time)
        return stated
