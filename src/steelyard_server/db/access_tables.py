"""Who may do what, one class a table: tokens, groups, grants."""

from __future__ import annotations

from typing import Annotated, Final

import sqlalchemy
from sqlmodel import Field

from .columns import CLUSTERED, Base, GeneratedKey, Integer, OptionalInteger, Text, TextKey


class Token(Base, table=True):
    """What a principal logs in with; ``digest`` is the SHA-256 of its whole text, which is nowhere."""

    __tablename__ = "tokens"
    __table_args__ = (sqlalchemy.UniqueConstraint("uid"), sqlalchemy.Index(None, "principal"))

    id: GeneratedKey
    uid: Text
    principal: Text
    digest: Text
    description: Text
    create_time: Integer
    expire_time: Integer
    revoke_time: OptionalInteger
    creator: Text
    sequence: Integer


class Group(Base, table=True):
    """A named set of principals."""

    __tablename__ = "groups"
    __table_args__ = (sqlalchemy.UniqueConstraint("name"),)

    id: GeneratedKey
    uid: Text
    name: Text
    description: Text
    create_time: Integer
    update_time: Integer
    sequence: Integer


class GroupMember(Base, table=True):
    """One principal of a group."""

    __tablename__ = "group_members"
    __table_args__ = (sqlalchemy.Index(None, "principal"), CLUSTERED)

    group_id: Annotated[int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="groups.id")]
    principal: TextKey


class Grant(Base, table=True):
    """A role of a subject in a scope.

    ``scope`` is as people write it, ``scope_key`` with the name of a model folded. ``namespace`` and
    ``model_key`` are its parts, empty where it has none; both are names, of what may not exist.
    """

    __tablename__ = "grants"
    __table_args__ = (
        sqlalchemy.UniqueConstraint("subject", "role", "scope_key"),
        sqlalchemy.Index(None, "namespace", "model_key"),
    )

    id: GeneratedKey
    uid: Text
    subject: Text
    role: Text
    scope: Text
    scope_key: Text
    namespace: Text
    model_key: Text
    create_time: Integer
    creator: Text
    sequence: Integer


tokens: Final = Token.__table__
groups: Final = Group.__table__
group_members: Final = GroupMember.__table__
grants: Final = Grant.__table__
