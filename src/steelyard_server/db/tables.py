"""What the registry stores, one class a table.

Columns hold int, float, str, bytes or None and nothing else, for rows go to and from the driver as
they are. Times are microseconds since 1970 in UTC. JSON is canonical text. ``sequence`` is the
sequence of the event that changed the row last; it is the etag of the resource.

Text compares byte by byte on both databases, so that they sort alike.

Statements use the ``sqlalchemy.Table`` objects at the end of this file: ``models.c.name``. Those of
``access_tables.py``, ``policy_tables.py``, ``delivery_tables.py``, ``search_tables.py`` and
``bookkeeping_tables.py`` are among them.
"""

from __future__ import annotations

from typing import Annotated, Final

import sqlalchemy
from sqlmodel import Field

from .access_tables import grants, group_members, groups, tokens
from .bookkeeping_tables import blobs, holdings, namespace_usages, requests, token_uses
from .columns import (
    CLUSTERED,
    Base,
    BinaryText,
    Blob,
    GeneratedKey,
    GivenKey,
    Integer,
    Key,
    OptionalDouble,
    OptionalInteger,
    OptionalText,
    Text,
    TextKey,
    comparable,
    unique_where_given,
    where_given,
)
from .delivery_tables import environments
from .policy_tables import policies, promotions
from .search_tables import (
    datasets,
    event_resources,
    model_directions,
    model_labels,
    model_owners,
    model_words,
    parameters,
    parents,
    schema_fields,
    version_facts,
    version_labels,
    version_words,
)

__all__ = [
    "Base",
    "BinaryText",
    "Key",
    "blobs",
    "comparable",
    "datasets",
    "environments",
    "event_resources",
    "grants",
    "group_members",
    "groups",
    "holdings",
    "model_directions",
    "model_labels",
    "model_owners",
    "model_words",
    "namespace_usages",
    "parameters",
    "parents",
    "policies",
    "promotions",
    "requests",
    "schema_fields",
    "token_uses",
    "tokens",
    "version_facts",
    "version_labels",
    "version_words",
]


class Registry(Base, table=True):
    """The head: one row, whose lock orders all mutations and which gives out sequences.

    ``access_sequence`` is that of the last change of who may do what.
    """

    __tablename__ = "registry"
    __table_args__ = (sqlalchemy.CheckConstraint("id = 1", name="one_row"),)

    id: GivenKey
    uid: Text
    epoch: Text
    sequence: Integer
    event_time: Integer
    access_sequence: Integer


class Namespace(Base, table=True):
    """A team's space; a quota of 0 allows any amount, a retention of 0 keeps or purges nothing."""

    __tablename__ = "namespaces"
    __table_args__ = (sqlalchemy.UniqueConstraint("name"),)

    id: GeneratedKey
    uid: Text
    name: Text
    description: Text
    labels: Text
    quota_size_bytes: Integer
    quota_versions_count: Integer
    retention_keep_versions_count: Integer
    retention_keep_seconds: Integer
    retention_purge_after_seconds: Integer
    stages: Text
    create_time: Integer
    update_time: Integer
    sequence: Integer


class Model(Base, table=True):
    """A line of versions; ``last_number`` is the highest number ever given out in it.

    ``latest_number`` is that of its newest version that is not deleted, 0 when there is none. A model
    with a ``purge_time`` is gone; the row keeps its names and its last number from ever being used again.
    """

    __tablename__ = "models"
    __table_args__ = (sqlalchemy.Index(None, "namespace_id", "name", unique=True),)

    id: GeneratedKey
    uid: Text
    namespace_id: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, foreign_key="namespaces.id")]
    name: Text
    description: Text
    labels: Text
    owners: Text
    metric_directions: Text
    last_number: Integer
    latest_number: Integer
    create_time: Integer
    update_time: Integer
    delete_time: OptionalInteger
    purge_time: OptionalInteger
    creator: Text
    creator_id: Text
    sequence: Integer


class ModelName(Base, table=True):
    """Every name a model ever had; ``name_key`` is the case-folded NFC form that must be unique."""

    __tablename__ = "model_names"
    __table_args__ = (sqlalchemy.Index(None, "model_id"), CLUSTERED)

    namespace_id: Annotated[
        int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="namespaces.id")
    ]
    name_key: TextKey
    name: Text
    model_id: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, foreign_key="models.id")]


class Manifest(Base, table=True):
    """The canonical bytes of a version's content, by their digest."""

    __tablename__ = "manifests"

    digest: TextKey
    content: Blob


class Version(Base, table=True):
    """A version. ``summary`` and ``details`` repeat its manifest in parts: what lists show, and the rest.

    The digest comes first in its index, so that a purge finds whether another version needs the manifest.

    Rows are long. The index ``ix_versions_listed`` has what a filter without an index of its own
    looks at, in the order of a list, so that such a filter reads a twentieth of the bytes.
    """

    __tablename__ = "versions"
    __table_args__ = (
        sqlalchemy.UniqueConstraint("model_id", "number"),
        sqlalchemy.UniqueConstraint("digest", "model_id"),
        unique_where_given("model_id", "semantic_version"),
        unique_where_given("model_id", "idempotency_key"),
        sqlalchemy.Index(
            "ix_versions_listed",
            "model_id",
            "number",
            "stage",
            "creator_id",
            "create_time",
            "update_time",
            "size_bytes",
            "file_count",
            "delete_time",
        ),
    )

    id: GeneratedKey
    uid: Text
    model_id: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, foreign_key="models.id")]
    number: Integer
    digest: Annotated[str, Field(sa_type=BinaryText, foreign_key="manifests.digest")]
    description: Text
    labels: Text
    stage: Text
    semantic_version: OptionalText
    idempotency_key: OptionalText
    origin: OptionalText
    marks: OptionalText
    summary: Text
    details: Text
    file_count: Integer
    size_bytes: Integer
    create_time: Integer
    update_time: Integer
    import_time: OptionalInteger
    delete_time: OptionalInteger
    creator: Text
    creator_id: Text
    sequence: Integer


class Tombstone(Base, table=True):
    """What is left of a purged version: its number and its idempotency key are never given out again."""

    __tablename__ = "tombstones"
    __table_args__ = (unique_where_given("model_id", "idempotency_key"), CLUSTERED)

    model_id: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="models.id")]
    number: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True)]
    uid: Text
    digest: Text
    idempotency_key: OptionalText
    create_time: Integer
    delete_time: Integer
    purge_time: Integer


class Undeletion(Base, table=True):
    """A time in which a version was deleted and after which it came back, for reading as of then."""

    __tablename__ = "undeletions"
    __table_args__ = (CLUSTERED,)

    model_id: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="models.id")]
    number: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True)]
    delete_time: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True)]
    undelete_time: Integer


class File(Base, table=True):
    """A file of a version; one with an ``external_uri`` has no blob here."""

    __tablename__ = "files"
    __table_args__ = (sqlalchemy.Index(None, "digest"), CLUSTERED)

    version_id: Annotated[
        int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="versions.id")
    ]
    path: TextKey
    digest: Text
    size_bytes: Integer
    role: Text
    external_uri: OptionalText


class Metric(Base, table=True):
    """A training metric, for filters and order.

    ``value_text`` is the exact value as the manifest writes it. ``value`` is what to compare with:
    ``comparable`` of it.
    """

    __tablename__ = "metrics"
    __table_args__ = (
        sqlalchemy.Index(None, "model_id", "name", "dataset", "slice", "value", "number"),
        CLUSTERED,
    )

    version_id: Annotated[
        int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="versions.id")
    ]
    name: TextKey
    dataset: TextKey
    slice: TextKey
    model_id: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, foreign_key="models.id")]
    number: Integer
    value: OptionalDouble
    value_text: Text


class Evaluation(Base, table=True):
    """Metrics that were measured after a version was made; a row never changes.

    ``metrics`` and ``datasets`` are JSON like those of a manifest. ``evaluate_time`` is when it was
    measured. The report, if there is one, is a blob that the namespace holds. Of an imported one
    ``origin`` says where it was recorded first, and ``origin_uid`` under which uid.
    """

    __tablename__ = "evaluations"
    __table_args__ = (
        sqlalchemy.UniqueConstraint("uid"),
        unique_where_given("version_id", "origin_uid"),
        sqlalchemy.Index(None, "version_id", "evaluate_time", "sequence"),
        where_given("report_digest"),
    )

    id: GeneratedKey
    uid: Text
    version_id: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, foreign_key="versions.id")]
    metrics: Text
    datasets: Text
    evaluate_time: Integer
    uri: Text
    report_path: OptionalText
    report_digest: OptionalText
    report_size_bytes: OptionalInteger
    report_role: OptionalText
    description: Text
    evaluator: Text
    origin: OptionalText
    origin_uid: OptionalText
    create_time: Integer
    sequence: Integer


class EvaluatedMetric(Base, table=True):
    """The newest measure of a metric by evaluations, for filters, order and comparisons.

    Columns are those of ``Metric`` and where the measure comes from. Newest is the latest
    ``evaluate_time``, of those the evaluation that was recorded last.
    """

    __tablename__ = "evaluated_metrics"
    __table_args__ = (
        sqlalchemy.Index(None, "model_id", "name", "dataset", "slice", "value", "number"),
        sqlalchemy.Index(None, "evaluation_id"),
        CLUSTERED,
    )

    version_id: Annotated[
        int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="versions.id")
    ]
    name: TextKey
    dataset: TextKey
    slice: TextKey
    model_id: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, foreign_key="models.id")]
    number: Integer
    value: OptionalDouble
    value_text: Text
    evaluation_id: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, foreign_key="evaluations.id")]
    evaluate_time: Integer


class Alias(Base, table=True):
    """A movable name for one version."""

    __tablename__ = "aliases"
    __table_args__ = (
        sqlalchemy.UniqueConstraint("model_id", "name"),
        sqlalchemy.Index(None, "model_id", "number"),
        sqlalchemy.ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),
    )

    id: GeneratedKey
    uid: Text
    model_id: Integer
    name: Text
    number: Integer
    create_time: Integer
    update_time: Integer
    sequence: Integer


class AliasMove(Base, table=True):
    """One change of an alias: ``action`` is set, delete or rollback.

    ``effective`` is the sequence of the set that holds after this move, NULL after a delete.
    ``previous`` is the sequence of the set that held before this set, NULL when there was none:
    rollback walks along it.
    """

    __tablename__ = "alias_moves"
    __table_args__ = (sqlalchemy.Index(None, "model_id", "name", "sequence"), CLUSTERED)

    sequence: GivenKey
    model_id: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="models.id")]
    name: TextKey
    action: Text
    from_number: OptionalInteger
    to_number: OptionalInteger
    move_time: Integer
    actor: Text
    effective: OptionalInteger
    previous: OptionalInteger


class Event(Base, table=True):
    """The exact bytes of one committed mutation, and what of it they are found by.

    Namespace and model are those that it concerns, by uid and without a foreign key: events outlive
    what they tell of, and keys of rows are used again. ``actor`` is the id of the actor.
    """

    __tablename__ = "events"
    __table_args__ = (
        sqlalchemy.Index(None, "actor", "sequence"),
        sqlalchemy.Index(None, "action", "sequence"),
        sqlalchemy.Index(None, "event_time", "sequence"),
        where_given("namespace_uid", "sequence"),
        where_given("model_uid", "sequence"),
    )

    sequence: GivenKey
    event_time: Integer
    content: Blob
    namespace_uid: OptionalText
    model_uid: OptionalText
    actor: Text
    action: Text


class EventText(Base, table=True):
    """Free text that an event binds by a salted hash, so that it can be erased."""

    __tablename__ = "event_texts"
    __table_args__ = (CLUSTERED,)

    sequence: Annotated[
        int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="events.sequence")
    ]
    name: TextKey
    salt: Blob
    content: Text


registry: Final = Registry.__table__
namespaces: Final = Namespace.__table__
models: Final = Model.__table__
model_names: Final = ModelName.__table__
manifests: Final = Manifest.__table__
versions: Final = Version.__table__
tombstones: Final = Tombstone.__table__
undeletions: Final = Undeletion.__table__
files: Final = File.__table__
metrics: Final = Metric.__table__
evaluations: Final = Evaluation.__table__
evaluated_metrics: Final = EvaluatedMetric.__table__
aliases: Final = Alias.__table__
alias_moves: Final = AliasMove.__table__
events: Final = Event.__table__
event_texts: Final = EventText.__table__
