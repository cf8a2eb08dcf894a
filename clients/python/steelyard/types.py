"""What calls answer: plain values, frozen, each with the `message` it was read from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from steelyard import enums
from steelyard.content import Dataset, Framework, ParameterValue, Parent, Schema, Source
from steelyard.errors import Internal
from steelyard.metric_keys import MetricKey
from steelyard.v1 import actor_pb2, alias_pb2, content_pb2, model_pb2

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from steelyard.v1 import comparison_pb2, evaluation_pb2, event_pb2, namespace_pb2, version_pb2


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something; `kind` is person, service or stated."""

    id: str
    kind: str
    authenticated: bool
    message: actor_pb2.Actor = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Quota:
    """How much a namespace may have; 0 is any number.

    Args:
        size_bytes: of the blobs that it holds, each counted once.
        versions_count: in all its models, deleted ones included.
    """

    size_bytes: int = 0
    versions_count: int = 0


@dataclass(frozen=True, slots=True)
class Retention:
    """Which versions of a namespace go by themselves, when garbage is collected; 0 keeps or purges nothing.

    Args:
        keep_versions_count: of the newest of each model that stay; the newest and what an alias points
            to always stay.
        keep_seconds: since it was created that a version stays.
        purge_after_seconds: since it was deleted that a version or model is purged.
    """

    keep_versions_count: int = 0
    keep_seconds: int = 0
    purge_after_seconds: int = 0


@dataclass(frozen=True, slots=True)
class NamespaceUsage:
    """How much a namespace has of what a `Quota` limits."""

    size_bytes: int
    versions_count: int


@dataclass(frozen=True, slots=True)
class Namespace:
    """A team's space, and a wall between tenants.

    Args:
        stages: that its versions can be in, the first one to begin with.
    """

    name: str
    uid: str
    description: str
    labels: dict[str, str]
    quota: Quota
    retention: Retention
    stages: tuple[str, ...]
    usage: NamespaceUsage
    create_time: datetime
    update_time: datetime
    etag: str
    message: namespace_pb2.Namespace = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Model:
    """A line of versions.

    Args:
        name: `namespace/model`.
        metric_directions: `higher-is-better` or `lower-is-better`, by the name of a metric.
        latest_number: of the newest version that is not deleted; 0 while there is none.
        former_names: names that go on to find it.
        delete_time: when it was deleted; None when it is not.
        order_value: in a list, what the first field of its order is of it, as text.
    """

    name: str
    uid: str
    description: str
    labels: dict[str, str]
    owners: tuple[str, ...]
    metric_directions: dict[str, str]
    creator: Actor
    create_time: datetime
    update_time: datetime
    etag: str
    latest_number: int
    former_names: tuple[str, ...]
    delete_time: datetime | None
    message: model_pb2.Model = field(repr=False, compare=False)
    order_value: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class File:
    """A path in a version; with a `uri` its bytes stay at that address."""

    path: str
    digest: str
    size_bytes: int
    role: str
    uri: str = ""
    message: content_pb2.File | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version was before it was copied or imported, or an evaluation before it was imported.

    Args:
        system: kind of registry, for example `steelyard`.
        uri: of the registry.
        version: its reference there.
        create_time: when it was created or recorded there.
        creator: who created or recorded it there, as it was stated.
        uid: its identifier there.
    """

    system: str
    uri: str
    version: str
    create_time: datetime | None
    creator: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """Immutable content with a number, and what may change around it.

    Args:
        model: `namespace/model`.
        metrics: by their text, for example `precision@holdout[region=EU]`.
        parameters: by name; empty in lists, as is `schema`.
        files: empty in lists; the first hundred otherwise, `file_count` says how many there are.
        stage: where it stands.
        aliases: names that point to it now, without `latest`.
        origin: where it was copied or imported from; None for one that was created here.
        import_time: when it was copied or imported.
        delete_time: when it was deleted; None when it is not.
        order_value: in a list, what the first field of its order is of it, as text.
    """

    model: str
    number: int
    digest: str
    uid: str
    metrics: dict[str, float]
    parameters: dict[str, ParameterValue]
    files: tuple[File, ...]
    datasets: tuple[Dataset, ...]
    parents: tuple[Parent, ...]
    source: Source | None
    framework: Framework | None
    schema: Schema | None
    file_count: int
    size_bytes: int
    description: str
    labels: dict[str, str]
    stage: str
    aliases: tuple[str, ...]
    semantic_version: str
    idempotency_key: str
    origin: Origin | None
    creator: Actor
    create_time: datetime
    update_time: datetime
    import_time: datetime | None
    delete_time: datetime | None
    etag: str
    message: version_pb2.Version = field(repr=False, compare=False)
    order_value: str = field(default="", repr=False, compare=False)

    def __str__(self) -> str:
        """Write the reference of this version."""
        return f"{self.model}:{self.number}"


@dataclass(frozen=True, slots=True)
class AbsentField:
    """A field of a filter that nothing has, and one like it that something has; empty when there is none."""

    field: str
    suggestion: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured on a version after it was made.

    Args:
        metrics: by their text, for example `precision@newdata`.
        superseded: those of the metrics that another evaluation measured later.
        report: the file whose bytes the registry keeps, if there is one.
        evaluator: who recorded it here.
        origin: where it was recorded first; None for one that was recorded here.
    """

    uid: str
    model: str
    number: int
    digest: str
    metrics: dict[str, float]
    superseded: frozenset[str]
    datasets: tuple[Dataset, ...]
    evaluate_time: datetime
    uri: str
    report: File | None
    description: str
    evaluator: Actor
    create_time: datetime
    sequence: int
    origin: Origin | None
    message: evaluation_pb2.Evaluation = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Alias:
    """A movable name for one version."""

    model: str
    name: str
    number: int
    digest: str
    uid: str
    create_time: datetime
    update_time: datetime
    etag: str
    message: alias_pb2.Alias = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move of an alias; a number is 0 where it points to nothing. `action` is set, delete or rollback."""

    sequence: int
    alias: str
    action: str
    from_number: int
    to_number: int
    actor: Actor
    move_time: datetime
    reason: str
    message: alias_pb2.AliasMove = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change of the registry.

    Args:
        action: for example `version.create` or `version.import`.
        content: the event itself, canonical JSON.
        texts: free texts that it binds by their hash, by name.
    """

    sequence: int
    time: datetime
    actor: Actor
    action: str
    content: bytes
    texts: dict[str, str]
    message: event_pb2.Event = field(repr=False, compare=False)

    @property
    def reason(self) -> str:
        """Why it was done; empty when nobody said so, or the text was erased."""
        return self.texts.get("reason", "")

    @property
    def resources(self) -> tuple[str, ...]:
        """What it changed, for example `alias/risk/fraud@champion`."""
        return tuple(change["resource"] for change in json.loads(self.content)["changes"])


def actor(message: actor_pb2.Actor) -> Actor:
    """Read who did something."""
    kind = enums.word(actor_pb2.ActorKind, message.kind)
    return Actor(message.id, kind, message.authenticated, message=message)


def namespace(message: namespace_pb2.Namespace) -> Namespace:
    """Read a namespace."""
    return Namespace(
        name=message.name,
        uid=message.uid,
        description=message.description,
        labels=dict(sorted(message.labels.items())),
        quota=Quota(message.quota.size_bytes, message.quota.versions_count),
        retention=Retention(
            message.retention.keep_versions_count,
            message.retention.keep_seconds,
            message.retention.purge_after_seconds,
        ),
        stages=tuple(message.stages),
        usage=NamespaceUsage(message.usage.size_bytes, message.usage.versions_count),
        create_time=time(message.create_time),
        update_time=time(message.update_time),
        etag=message.etag,
        message=message,
    )


def model(message: model_pb2.Model, order_value: str = "") -> Model:
    """Read a model."""
    directions = {
        name: enums.word(model_pb2.MetricDirection, value)
        for name, value in sorted(message.metric_directions.items())
    }
    return Model(
        name=message.name,
        uid=message.uid,
        description=message.description,
        labels=dict(sorted(message.labels.items())),
        owners=tuple(message.owners),
        metric_directions=directions,
        creator=actor(message.creator),
        create_time=time(message.create_time),
        update_time=time(message.update_time),
        etag=message.etag,
        latest_number=message.latest_number,
        former_names=tuple(message.former_names),
        delete_time=time(message.delete_time) if message.HasField("delete_time") else None,
        message=message,
        order_value=order_value,
    )


def version(message: version_pb2.Version, order_value: str = "") -> Version:
    """Read a version."""
    content = message.content
    return Version(
        model=message.model,
        number=message.number,
        digest=message.digest,
        uid=message.uid,
        metrics={metric_key(each): each.value for each in content.metrics},
        parameters={each.name: parameter_value(each) for each in content.parameters},
        files=tuple(map(file, content.files)),
        datasets=tuple(map(Dataset.of, content.datasets)),
        parents=tuple(map(Parent.of, content.parents)),
        source=Source.of(content.source) if content.HasField("source") else None,
        framework=Framework.of(content.framework) if content.HasField("framework") else None,
        schema=Schema.of(content.schema) if content.HasField("schema") else None,
        file_count=message.file_count,
        size_bytes=message.size_bytes,
        description=message.description,
        labels=dict(sorted(message.labels.items())),
        stage=message.stage,
        aliases=tuple(message.aliases),
        semantic_version=message.semantic_version,
        idempotency_key=message.idempotency_key,
        origin=origin(message.origin) if message.HasField("origin") else None,
        creator=actor(message.creator),
        create_time=time(message.create_time),
        update_time=time(message.update_time),
        import_time=time(message.import_time) if message.HasField("import_time") else None,
        delete_time=time(message.delete_time) if message.HasField("delete_time") else None,
        etag=message.etag,
        message=message,
        order_value=order_value,
    )


def origin(message: version_pb2.Origin) -> Origin:
    """Read where something was before."""
    create_time = time(message.create_time) if message.HasField("create_time") else None
    return Origin(message.system, message.uri, message.version, create_time, message.creator, message.uid)


def evaluation(message: evaluation_pb2.Evaluation) -> Evaluation:
    """Read an evaluation."""
    keys = [metric_key(each) for each in message.metrics]
    return Evaluation(
        uid=message.uid,
        model=message.model,
        number=message.number,
        digest=message.digest,
        metrics={key: each.value for key, each in zip(keys, message.metrics, strict=True)},
        superseded=frozenset(keys[place] for place in message.superseded),
        datasets=tuple(map(Dataset.of, message.datasets)),
        evaluate_time=time(message.evaluate_time),
        uri=message.uri,
        report=file(message.report) if message.HasField("report") else None,
        description=message.description,
        evaluator=actor(message.evaluator),
        create_time=time(message.create_time),
        sequence=message.sequence,
        origin=origin(message.origin) if message.HasField("origin") else None,
        message=message,
    )


def event(message: event_pb2.Event) -> Event:
    """Read an event."""
    return Event(
        sequence=message.sequence,
        time=time(message.time),
        actor=actor(message.actor),
        action=message.action,
        content=message.content,
        texts={each.name: each.text for each in message.texts},
        message=message,
    )


def metric_key(message: content_pb2.Metric | comparison_pb2.MetricComparison) -> str:
    """Write what identifies a metric as text."""
    return str(MetricKey(message.name, message.dataset, message.slice))


def parameter_value(message: content_pb2.Parameter) -> ParameterValue:
    """Return the value of a parameter in the type that it has."""
    value: ParameterValue = getattr(message, message.WhichOneof("value") or "text")
    return value


def file(message: content_pb2.File) -> File:
    """Read a file."""
    role = enums.word(content_pb2.FileRole, message.role)
    return File(message.path, message.digest, message.size_bytes, role, message.uri, message=message)


def alias(message: alias_pb2.Alias) -> Alias:
    """Read an alias."""
    return Alias(
        model=message.model,
        name=message.name,
        number=message.number,
        digest=message.digest,
        uid=message.uid,
        create_time=time(message.create_time),
        update_time=time(message.update_time),
        etag=message.etag,
        message=message,
    )


def alias_move(message: alias_pb2.AliasMove) -> AliasMove:
    """Read a move of an alias."""
    return AliasMove(
        sequence=message.sequence,
        alias=message.alias,
        action=enums.word(alias_pb2.AliasAction, message.action),
        from_number=message.from_number,
        to_number=message.to_number,
        actor=actor(message.actor),
        move_time=time(message.move_time),
        reason=message.reason,
        message=message,
    )


def time(message: Timestamp) -> datetime:
    """Read a moment, in UTC.

    Raises:
        Internal: it is out of all calendars.
    """
    try:
        return message.ToDatetime(UTC)
    except (OverflowError, ValueError):
        raise Internal(f"The server sent the time {message.seconds} s, {message.nanos} ns.") from None
