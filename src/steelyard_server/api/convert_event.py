"""Events to messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import event_pb2
from steelyard_server.api import convert

if TYPE_CHECKING:
    from steelyard_server.core.events import Event


def event(value: Event) -> event_pb2.Event:
    """Write an event."""
    texts = [event_pb2.EventText(name=each.name, salt=each.salt, text=each.content) for each in value.texts]
    return event_pb2.Event(
        sequence=value.sequence,
        time=convert.timestamp(value.time),
        actor=convert.actor(value.actor),
        action=value.action,
        content=value.content,
        texts=texts,
    )
