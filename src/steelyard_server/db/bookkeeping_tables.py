"""What comes and goes without an event, one class a table: bytes and who holds them, counts, answers."""

from __future__ import annotations

from typing import Annotated, Final

import sqlalchemy
from sqlmodel import Field

from .columns import (
    CLUSTERED,
    Base,
    BinaryText,
    Blob,
    GeneratedKey,
    Integer,
    OptionalInteger,
    Text,
    TextKey,
    where_given,
)


class NamespaceUsage(Base, table=True):
    """What a namespace has: the bytes of its holdings, and its versions, deleted ones included.

    It changes with every version, so it stands beside the row of the namespace, which many look at.
    """

    __tablename__ = "namespace_usages"
    __table_args__ = (CLUSTERED,)

    namespace_id: Annotated[
        int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="namespaces.id")
    ]
    size_bytes: Integer
    versions_count: Integer


class Request(Base, table=True):
    """The answer to a mutation that carried a request id, kept until ``expire_time``.

    Rows lie in the order in which they came: a tree of answers by their random ids would have each
    write change a page of its own.
    """

    __tablename__ = "requests"
    __table_args__ = (sqlalchemy.UniqueConstraint("request_id", "method", "principal"),)

    id: GeneratedKey
    request_id: Text
    method: Text
    principal: Text
    digest: Text
    answer: Blob
    expire_time: Integer


class TokenUse(Base, table=True):
    """When a token was used last, to some minutes."""

    __tablename__ = "token_uses"
    __table_args__ = (CLUSTERED,)

    uid: TextKey
    use_time: Integer


class StoredBlob(Base, table=True):
    """Bytes that the blob store has, whole and durable.

    ``condemn_time`` is set while the bytes are on their way out: nothing refers to such a blob, and no
    namespace holds it. ``verify_time`` is when they were read and found right, NULL when they were
    verified only as they came in.
    """

    __tablename__ = "blobs"
    __table_args__ = (where_given("digest", given="condemn_time"),)

    digest: TextKey
    size_bytes: Integer
    create_time: Integer
    condemn_time: OptionalInteger
    verify_time: OptionalInteger


class Holding(Base, table=True):
    """A blob that a namespace uploaded or refers to; without it the namespace does not see the blob."""

    __tablename__ = "holdings"
    __table_args__ = (
        sqlalchemy.Index(None, "namespace_id", "size_bytes"),
        sqlalchemy.Index(None, "digest"),
        CLUSTERED,
    )

    namespace_id: Annotated[
        int, Field(sa_type=sqlalchemy.BigInteger, primary_key=True, foreign_key="namespaces.id")
    ]
    digest: Annotated[str, Field(sa_type=BinaryText, primary_key=True, foreign_key="blobs.digest")]
    size_bytes: Integer
    lease_expire_time: Integer


namespace_usages: Final = NamespaceUsage.__table__
requests: Final = Request.__table__
blobs: Final = StoredBlob.__table__
holdings: Final = Holding.__table__
token_uses: Final = TokenUse.__table__
