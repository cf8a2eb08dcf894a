"""What a version needs to go somewhere, and the way of each: policies and promotions."""

from __future__ import annotations

from typing import Annotated, Final

import sqlalchemy
from sqlmodel import Field

from .columns import Base, GeneratedKey, Integer, Text

NamespaceKey = Annotated[int, Field(sa_type=sqlalchemy.BigInteger, foreign_key="namespaces.id")]


class Policy(Base, table=True):
    """What protects a target; ``content`` is JSON: models, checks, approvals, evaluations."""

    __tablename__ = "policies"
    __table_args__ = (
        sqlalchemy.UniqueConstraint("namespace_id", "name"),
        sqlalchemy.Index(None, "namespace_id", "target_kind", "target_name"),
    )

    id: GeneratedKey
    uid: Text
    namespace_id: NamespaceKey
    name: Text
    revision: Integer
    target_kind: Text
    target_name: Text
    description: Text
    content: Text
    creator: Text
    create_time: Integer
    update_time: Integer
    sequence: Integer


class Promotion(Base, table=True):
    """A request to move a version, or to change a policy; then model and version are 0.

    ``state`` is `open` also when its time is over, or when ``ended`` says that something else ended it,
    which has no event of its own. ``policies`` and ``content`` are JSON: the policies as they were when its
    checks ran; and what was looked at, found and said.
    """

    __tablename__ = "promotions"
    __table_args__ = (
        sqlalchemy.UniqueConstraint("namespace_id", "model_id", "number"),
        sqlalchemy.Index(None, "model_id", "target_kind", "target_name", "id"),
        *(
            sqlalchemy.Index(None, "namespace_id", *columns, "create_sequence")
            for columns in ((), ("model_id",), ("state",), ("author_id",))
        ),
        # A name made of its columns would be longer than PostgreSQL takes.
        sqlalchemy.Index(
            "ix_promotions_namespace_target", "namespace_id", "target_kind", "target_name", "create_sequence"
        ),
    )

    id: GeneratedKey
    uid: Text
    namespace_id: NamespaceKey
    model_id: Integer
    number: Integer
    target_kind: Text
    target_name: Text
    version_number: Integer
    state: Text
    ended: Text
    policies: Text
    content: Text
    author_id: Text
    author: Text
    create_time: Integer
    update_time: Integer
    expire_time: Integer
    create_sequence: Integer
    sequence: Integer


policies: Final = Policy.__table__
promotions: Final = Promotion.__table__
