"""Values of the core as messages, and what messages have in common as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp

from steelyard.v1 import absent_field_pb2, actor_pb2, alias_pb2, model_pb2, namespace_pb2, version_pb2
from steelyard_server.api import convert_content
from steelyard_server.api.enums import ACTIONS, ACTOR_KINDS, DIRECTIONS
from steelyard_server.core.names import GROUP
from steelyard_server.core.origins import Origin
from steelyard_server.core.quotas import ANY_AMOUNT, Quota
from steelyard_server.core.references import Reference
from steelyard_server.core.retention import KEEP_ALL, Retention
from steelyard_server.errors import OneofRequired, TimestampInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.field_mask_pb2 import FieldMask

    from steelyard_server.core.aliases import Move
    from steelyard_server.core.filters.absences import AbsentField
    from steelyard_server.core.models import Model
    from steelyard_server.core.namespaces import Namespace
    from steelyard_server.core.pointers import Alias
    from steelyard_server.core.versions import Version
    from steelyard_server.history.caller import Caller

SELECTORS = "number, alias, digest, semantic_version"
# Seconds of 0001-01-01 and 9999-12-31, the range of google.protobuf.Timestamp.
SECONDS_MINIMUM, SECONDS_MAXIMUM = -62_135_596_800, 253_402_300_799
NANOS_MAXIMUM = 999_999_999


def timestamp(microseconds: int) -> Timestamp:
    """Turn microseconds since 1970 into a message."""
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


def optional_timestamp(microseconds: int | None) -> Timestamp | None:
    """Turn microseconds into a message; None stays absent."""
    return None if microseconds is None else timestamp(microseconds)


def read_time(request: Any, *, field: str = "read_time") -> int | None:
    """Return the microseconds of a timestamp field of a request, None when it is absent.

    Raises:
        TimestampInvalid: it lies outside the years 0001 to 9999 or has bad nanoseconds.
    """
    return moment(request, field, field=field)


def moment(message: Any, name: str, *, field: str) -> int | None:
    """Return the microseconds of the timestamp *name*, None when it is absent. *field* leads to it.

    Raises:
        TimestampInvalid: it lies outside the years 0001 to 9999 or has bad nanoseconds.
    """
    if not message.HasField(name):
        return None
    time = getattr(message, name)
    if not SECONDS_MINIMUM <= time.seconds <= SECONDS_MAXIMUM or not 0 <= time.nanos <= NANOS_MAXIMUM:
        raise TimestampInvalid(f"`{field}` lies outside the years 0001 to 9999.", field=field)
    microseconds: int = time.seconds * 1_000_000 + time.nanos // 1000
    return microseconds


def mask(update_mask: FieldMask, *, present: bool) -> tuple[str, ...] | None:
    """Return the paths of an update mask; None when the request has none."""
    return tuple(update_mask.paths) if present else None


def reference(message: version_pb2.VersionRef, *, field: str = "version") -> Reference:
    """Read a reference.

    Raises:
        OneofRequired: it does not say which version.
    """
    kind = message.WhichOneof("selector")
    if kind is None:
        text = f"`{field}` does not say which version; set one of {SELECTORS}."
        raise OneofRequired(text, field=field, allowed=SELECTORS)
    return Reference(message.model, kind, getattr(message, kind), field)


def actor(value: Mapping[str, Any]) -> actor_pb2.Actor:
    """Turn an actor as history keeps it into a message."""
    return actor_pb2.Actor(
        id=value["id"],
        kind=ACTOR_KINDS.number(value["kind"]),
        authenticated=value["authenticated"],
        method=value["method"],
        token_uid=value.get("token_uid", ""),
        issuer=value.get("issuer", ""),
    )


def caller(value: Caller) -> actor_pb2.Actor:
    """Turn a caller into a message, with the groups that they are in."""
    message = actor(value.as_json())
    message.groups.extend(groups(value))
    return message


def groups(value: Caller) -> list[str]:
    """Write the groups that a caller is in as subjects of grants."""
    return [f"{GROUP}{group}" for group in value.groups]


def namespace(value: Namespace) -> namespace_pb2.Namespace:
    """Turn a namespace into a message."""
    return namespace_pb2.Namespace(
        name=value.name,
        uid=value.uid,
        description=value.description,
        labels=value.labels,
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
        etag=str(value.sequence),
        stages=value.stages,
        usage=namespace_pb2.NamespaceUsage(
            size_bytes=value.usage.size_bytes, versions_count=value.usage.versions_count
        ),
        quota=_quota(value.quota) if value.quota != ANY_AMOUNT else None,
        retention=_retention(value.retention) if value.retention != KEEP_ALL else None,
    )


def quota(message: namespace_pb2.Quota) -> Quota:
    """Read a quota, unchecked."""
    return Quota(size_bytes=message.size_bytes, versions_count=message.versions_count)


def retention(message: namespace_pb2.Retention) -> Retention:
    """Read a retention, unchecked."""
    return Retention(**{name: getattr(message, name) for name in Retention.__slots__})


def _retention(value: Retention) -> namespace_pb2.Retention:
    return namespace_pb2.Retention(**{name: getattr(value, name) for name in Retention.__slots__})


def _quota(value: Quota) -> namespace_pb2.Quota:
    return namespace_pb2.Quota(size_bytes=value.size_bytes, versions_count=value.versions_count)


def model(value: Model) -> model_pb2.Model:
    """Turn a model into a message."""
    return model_pb2.Model(
        name=value.text,
        uid=value.uid,
        description=value.description,
        labels=value.labels,
        owners=value.owners,
        metric_directions={name: DIRECTIONS.number(text) for name, text in value.metric_directions.items()},
        creator=actor(value.creator),
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
        etag=str(value.sequence),
        latest_number=value.latest_number,
        former_names=value.former_names,
        delete_time=optional_timestamp(value.delete_time),
    )


def version(value: Version) -> version_pb2.Version:
    """Turn a version into a message."""
    return version_pb2.Version(
        model=value.model,
        number=value.number,
        digest=value.digest,
        uid=value.uid,
        content=convert_content.to_message(value.content),
        file_count=value.file_count,
        size_bytes=value.size_bytes,
        description=value.description,
        labels=value.labels,
        stage=value.stage,
        aliases=value.aliases,
        semantic_version=value.semantic_version,
        idempotency_key=value.idempotency_key,
        origin=origin(value.origin) if value.origin else None,
        creator=actor(value.creator),
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
        etag=str(value.sequence),
        delete_time=optional_timestamp(value.delete_time),
        import_time=optional_timestamp(value.import_time),
        revocation=_revocation(value.marks["revocation"]) if "revocation" in value.marks else None,
        override=_override(value.marks["override"]) if "override" in value.marks else None,
    )


def _revocation(mark: Mapping[str, Any]) -> version_pb2.VersionRevocation:
    message = version_pb2.VersionRevocation(actor=actor(mark["actor"]), sequence=int(mark["sequence"]))
    message.revoke_time.FromJsonString(mark["time"])
    return message


def _override(mark: Mapping[str, Any]) -> version_pb2.VersionOverride:
    message = version_pb2.VersionOverride(actor=actor(mark["actor"]), promotion=mark["promotion"])
    message.override_time.FromJsonString(mark["time"])
    return message


def stated_origin(request: Any, *, field: str = "origin") -> Origin | None:
    """Read where something is said to come from; None when it is not said. *field* leads to it.

    Raises:
        TimestampInvalid: its time is none.
    """
    if not request.HasField("origin"):
        return None
    message = request.origin
    return Origin(
        system=message.system,
        uri=message.uri,
        version=message.version,
        creator=message.creator,
        uid=message.uid,
        create_time=moment(message, "create_time", field=f"{field}.create_time"),
    )


def origin(value: Mapping[str, str]) -> version_pb2.Origin:
    """Turn where something comes from, as its row keeps it, into a message."""
    message = version_pb2.Origin()
    for name in value.keys() - {"create_time"}:
        setattr(message, name, value[name])
    if "create_time" in value:
        message.create_time.FromJsonString(value["create_time"])
    return message


def alias(value: Alias) -> alias_pb2.Alias:
    """Turn an alias into a message."""
    return alias_pb2.Alias(
        model=value.model.text,
        name=value.name,
        number=value.number,
        digest=value.digest,
        uid=value.uid,
        create_time=timestamp(value.create_time) if value.create_time else None,
        update_time=timestamp(value.update_time),
        etag=str(value.sequence) if value.sequence else "",
    )


def absent_field(value: AbsentField) -> absent_field_pb2.AbsentField:
    """Turn a field that nothing has into a message."""
    return absent_field_pb2.AbsentField(field=value.field, suggestion=value.suggestion)


def move(value: Move) -> alias_pb2.AliasMove:
    """Turn a move of an alias into a message."""
    return alias_pb2.AliasMove(
        sequence=value.sequence,
        alias=value.alias,
        action=ACTIONS.number(value.action),
        from_number=value.from_number,
        to_number=value.to_number,
        actor=actor(value.actor),
        move_time=timestamp(value.move_time),
        reason=value.reason,
    )
