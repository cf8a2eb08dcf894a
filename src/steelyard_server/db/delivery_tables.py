"""Where models run, one class a table: environments."""

from __future__ import annotations

from typing import Final

import sqlalchemy

from .columns import Base, GeneratedKey, Integer, Text


class Environment(Base, table=True):
    """A place where models run; ``accepts`` is JSON: the stages that it takes, none for any."""

    __tablename__ = "environments"
    __table_args__ = (sqlalchemy.UniqueConstraint("name"),)

    id: GeneratedKey
    uid: Text
    name: Text
    description: Text
    labels: Text
    accepts: Text
    creator: Text
    create_time: Integer
    update_time: Integer
    sequence: Integer


environments: Final = Environment.__table__
