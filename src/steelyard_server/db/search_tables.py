"""What filters look at and no answer shows: rows that repeat parts of other rows, one class a table.

Those of a version name it and, so that one index serves a list, the model and number of it. Such
rows are written with the version, and anew when what they repeat changes. ``value_key`` is what to
compare and order by, short enough for an index of either database: see ``search_keys.py``.
"""

from __future__ import annotations

from typing import Annotated, Final

import sqlalchemy
from sqlmodel import Field

from .columns import CLUSTERED, Base, Integer, OptionalText, Text, TextKey

VersionKey = Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="versions.id")]
ModelKey = Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="models.id")]
OfModel = Annotated[int, Field(sa_type=sqlalchemy.BigInteger, foreign_key="models.id")]
OfNamespace = Annotated[int, Field(sa_type=sqlalchemy.BigInteger, foreign_key="namespaces.id")]


class VersionLabel(Base, table=True):
    """A label of a version."""

    __tablename__ = "version_labels"
    __table_args__ = (sqlalchemy.Index(None, "model_id", "name", "value_key", "number"), CLUSTERED)

    version_id: VersionKey
    name: TextKey
    model_id: OfModel
    number: Integer
    value_key: Text
    value: Text


class Parameter(Base, table=True):
    """A training parameter; ``value`` is NULL unless it is a text, ``value_key`` when it is NaN."""

    __tablename__ = "parameters"
    __table_args__ = (sqlalchemy.Index(None, "model_id", "name", "value_key", "number"), CLUSTERED)

    version_id: VersionKey
    name: TextKey
    model_id: OfModel
    number: Integer
    value_key: OptionalText
    value: OptionalText


class VersionFact(Base, table=True):
    """What few versions have and no more than once, by the name of its field, as ``framework.name``."""

    __tablename__ = "version_facts"
    __table_args__ = (sqlalchemy.Index(None, "model_id", "name", "value_key", "number"), CLUSTERED)

    version_id: VersionKey
    name: TextKey
    model_id: OfModel
    number: Integer
    value_key: Text
    value: Text


class Dataset(Base, table=True):
    """A dataset of a version."""

    __tablename__ = "datasets"
    __table_args__ = (
        sqlalchemy.Index(None, "model_id", "digest", "number"),
        sqlalchemy.Index(None, "model_id", "name", "number"),
        CLUSTERED,
    )

    version_id: VersionKey
    position: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True)]
    model_id: OfModel
    number: Integer
    name: Text
    version: Text
    uri: Text
    digest: Text
    role: Text


class Parent(Base, table=True):
    """What a version was made from."""

    __tablename__ = "parents"
    __table_args__ = (sqlalchemy.Index(None, "model_id", "digest", "number"), CLUSTERED)

    version_id: VersionKey
    position: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True)]
    model_id: OfModel
    number: Integer
    relation: Text
    digest: Text
    uri: Text


class SchemaField(Base, table=True):
    """An input or output of a version; ``side`` is `inputs` or `outputs`."""

    __tablename__ = "schema_fields"
    __table_args__ = (sqlalchemy.Index(None, "model_id", "side", "name", "number"), CLUSTERED)

    version_id: VersionKey
    side: TextKey
    position: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True)]
    model_id: OfModel
    number: Integer
    name: Text
    type: Text


class VersionWord(Base, table=True):
    """A word of the description of a version."""

    __tablename__ = "version_words"
    __table_args__ = (sqlalchemy.Index(None, "model_id", "word", "number"), CLUSTERED)

    version_id: VersionKey
    word: TextKey
    model_id: OfModel
    number: Integer


class ModelLabel(Base, table=True):
    """A label of a model."""

    __tablename__ = "model_labels"
    __table_args__ = (sqlalchemy.Index(None, "namespace_id", "name", "value_key"), CLUSTERED)

    model_id: ModelKey
    name: TextKey
    namespace_id: OfNamespace
    value_key: Text
    value: Text


class ModelOwner(Base, table=True):
    """Who answers for a model."""

    __tablename__ = "model_owners"
    __table_args__ = (sqlalchemy.Index(None, "namespace_id", "owner"), CLUSTERED)

    model_id: ModelKey
    owner: TextKey
    namespace_id: OfNamespace


class ModelDirection(Base, table=True):
    """Which way a metric of a model is better."""

    __tablename__ = "model_directions"
    __table_args__ = (sqlalchemy.Index(None, "namespace_id", "name"), CLUSTERED)

    model_id: ModelKey
    name: TextKey
    namespace_id: OfNamespace
    value: Text


class ModelWord(Base, table=True):
    """A word of a model; ``field`` is `name` or `description`."""

    __tablename__ = "model_words"
    __table_args__ = (sqlalchemy.Index(None, "namespace_id", "word"), CLUSTERED)

    model_id: ModelKey
    field: TextKey
    word: TextKey
    namespace_id: OfNamespace


class EventResource(Base, table=True):
    """A resource that an event changed, as the event names it.

    The key is in the order in which it is looked for, so that it is the only index to write.
    """

    __tablename__ = "event_resources"
    __table_args__ = (CLUSTERED,)

    resource: TextKey
    sequence: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True)]


version_labels: Final = VersionLabel.__table__
parameters: Final = Parameter.__table__
version_facts: Final = VersionFact.__table__
datasets: Final = Dataset.__table__
parents: Final = Parent.__table__
schema_fields: Final = SchemaField.__table__
version_words: Final = VersionWord.__table__
model_labels: Final = ModelLabel.__table__
model_owners: Final = ModelOwner.__table__
model_directions: Final = ModelDirection.__table__
model_words: Final = ModelWord.__table__
event_resources: Final = EventResource.__table__
