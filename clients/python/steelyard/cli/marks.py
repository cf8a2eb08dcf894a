"""What nobody who sees a version may miss: that it was revoked, or that a policy was overridden for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.cli import output

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from steelyard import Client, Version
    from steelyard.v1.actor_pb2 import Actor


def stage(version: Version) -> str:
    """Return where a version stands, with its marks."""
    return version.stage + bracketed(version)


def bracketed(version: Version) -> str:
    """Return the marks of a version in brackets, behind a space; nothing for most."""
    message = version.message
    is_so = {"revoked": message.HasField("revocation"), "overridden": message.HasField("override")}
    marks = ", ".join(word for word, is_there in is_so.items() if is_there)
    return f" ({marks})" if marks else ""


def reasons(version: Version, *, client: Client) -> dict[str, str]:
    """Say who marked a version, when, and why."""
    found = {}
    if version.message.HasField("revocation"):
        mark = version.message.revocation
        events = client.events.list(version.model, filter=f"sequence = {mark.sequence}")
        words = " ".join(event.reason for event in events)
        found["revoked"] = _told(mark.actor, mark.revoke_time, words)
    if version.message.HasField("override"):
        override = version.message.override
        promotion = client.promotions.get(*client.references.promotion(override.promotion))
        words = f"{override.promotion}, {promotion.message.reviews[-1].comment}"
        found["overridden"] = _told(override.actor, override.override_time, words)
    return found


def _told(actor: Actor, time: Timestamp, words: str) -> str:
    from steelyard import types

    return f"{output.age(types.time(time))} by {output.actor(types.actor(actor))}: {words}"
