"""Tables as files of JSON lines: one text for one content, whatever database it comes from.

The first line is a header: the name of the table, its key, and its columns with their kinds. Each
other line is one row, an array in the order of the columns: integers as JSON integers, texts as JSON
strings, bytes in base64, doubles as ``canonical.double`` writes them. Rows are in the order of their
key, texts compared byte by byte.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
import sqlalchemy

from steelyard_server.backups.inventory import Folder
from steelyard_server.db import tables
from steelyard_server.db.database import Transaction
from steelyard_server.history import canonical

Kind = Literal["integer", "text", "double", "bytes"]

# Every table is in one of these three. Registry state changes by events only, and is what the logical
# digest covers.
STATE: Final = (
    tables.registry,
    tables.namespaces,
    tables.models,
    tables.model_names,
    tables.manifests,
    tables.versions,
    tables.tombstones,
    tables.undeletions,
    tables.evaluations,
    tables.aliases,
    tables.alias_moves,
    tables.tokens,
    tables.groups,
    tables.group_members,
    tables.grants,
    tables.policies,
    tables.promotions,
    tables.environments,
    tables.events,
    tables.event_texts,
)
# What repeats registry state in another form, to be found in it: parts of manifests, the newest of
# measures, what filters look at. It comes and goes with that, so it proves nothing besides.
DERIVED: Final = (
    tables.files,
    tables.metrics,
    tables.evaluated_metrics,
    tables.version_labels,
    tables.parameters,
    tables.version_facts,
    tables.datasets,
    tables.parents,
    tables.schema_fields,
    tables.version_words,
    tables.model_labels,
    tables.model_owners,
    tables.model_directions,
    tables.model_words,
    tables.event_resources,
)
# What comes and goes without an event: what is stored, who holds it and until when, and answers to
# requests, which are forgotten by the clock. What namespaces use is counted of both kinds.
BOOKKEEPING: Final = (
    tables.blobs,
    tables.holdings,
    tables.namespace_usages,
    tables.requests,
    tables.token_uses,
)
FOLDERS: Final[dict[Folder, tuple[sqlalchemy.Table, ...]]] = {
    "state": STATE,
    "derived": DERIVED,
    "bookkeeping": BOOKKEEPING,
}

# Written or inserted at once.
PORTION_ROWS: Final = 500
PORTION_BYTES: Final = 1 << 20

_KINDS: Final[tuple[tuple[type[Any], Kind], ...]] = (
    (sqlalchemy.BigInteger, "integer"),
    (sqlalchemy.Text, "text"),
    (sqlalchemy.Double, "double"),
    (sqlalchemy.LargeBinary, "bytes"),
)


class MalformedTable(Exception):
    """A line of a table is not what a backup has there."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a table is made of.

    Args:
        key: columns of the primary key.
        columns: names with kinds, in the order of the values of a row.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[tuple[str, Kind], ...]

    @property
    def table(self) -> sqlalchemy.TableClause:
        """Return the table for statements; it need not be one of this server's schema."""
        return sqlalchemy.table(self.name, *(sqlalchemy.column(name) for name, _ in self.columns))

    def header(self) -> bytes:
        """Write the first line."""
        return orjson.dumps({"table": self.name, "key": self.key, "columns": self.columns}) + b"\n"


def folder(table: sqlalchemy.Table) -> Folder:
    """Return in which folder of a backup a table is."""
    for name, listed in FOLDERS.items():
        if table in listed:
            return name
    raise LookupError(f"{table.name} is in none of STATE, DERIVED and BOOKKEEPING.")


def shape(table: sqlalchemy.Table) -> Shape:
    """Return the shape of a table of this server's schema."""
    columns = tuple((column.name, _kind(column)) for column in table.columns)
    return Shape(table.name, tuple(column.name for column in table.primary_key), columns)


def parse_header(line: bytes) -> Shape:
    """Read the first line of a table.

    Raises:
        MalformedTable: it is none.
    """
    try:
        header = orjson.loads(line)
        columns = tuple((name, kind) for name, kind in header["columns"])
        found = Shape(header["table"], tuple(header["key"]), columns)
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedTable("The first line is no header of a table.") from error
    kinds = {kind for _, kind in _KINDS}
    names = [name for name, _ in columns]
    if not {kind for _, kind in columns} <= kinds or not {*found.key} <= {*names} or not found.key:
        raise MalformedTable("The first line is no header of a table that this server knows.")
    return found


def portions(tx: Transaction, shape: Shape) -> Iterator[tuple[bytes, int]]:
    """Yield the text of a table piece by piece, with the number of rows in each."""
    yield shape.header(), 0
    table = shape.table
    statement = sqlalchemy.select(*table.columns).order_by(*(table.c[name] for name in shape.key))
    encode = _encoder(shape)
    lines: list[bytes] = []
    size_bytes = 0
    for row in tx.each(statement):
        line = encode(row)
        lines.append(line)
        size_bytes += len(line)
        if len(lines) == PORTION_ROWS or size_bytes >= PORTION_BYTES:
            yield b"".join(lines), len(lines)
            lines, size_bytes = [], 0
    if lines:
        yield b"".join(lines), len(lines)


def load(tx: Transaction, shape: Shape, lines: Iterable[bytes]) -> None:
    """Insert the rows of a table, which is empty.

    Raises:
        MalformedTable: a line is no row of it.
    """
    statement = sqlalchemy.insert(shape.table).values(
        {name: sqlalchemy.bindparam(name) for name, _ in shape.columns}
    )
    for portion in _portioned(lines):
        tx.run(statement, list(rows(shape, portion)))


def rows(shape: Shape, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Read lines as rows: values by the names of their columns.

    Raises:
        MalformedTable: a line is no row.
    """
    names = [name for name, _ in shape.columns]
    decode = [(name, _DECODE[kind]) for name, kind in shape.columns if kind in _DECODE]
    for line in lines:
        try:
            row = dict(zip(names, orjson.loads(line), strict=True))
            for name, function in decode:
                if row[name] is not None:
                    row[name] = function(row[name])
        except (ValueError, TypeError) as error:
            raise MalformedTable(f"A line of the table {shape.name} is no row of it.") from error
        yield row


def _kind(column: sqlalchemy.Column[Any]) -> Kind:
    for kind, name in _KINDS:
        if isinstance(column.type, kind):
            return name
    raise TypeError(f"A backup has no form for columns like {column}.")


def _encoder(shape: Shape) -> Callable[[Iterable[Any]], bytes]:
    special = [(index, _ENCODE[kind]) for index, (_, kind) in enumerate(shape.columns) if kind in _ENCODE]

    def encode(row: Iterable[Any]) -> bytes:
        values = list(row)
        for index, function in special:
            if values[index] is not None:
                values[index] = function(values[index])
        return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)

    return encode


def _portioned(lines: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    portion: list[bytes] = []
    size_bytes = 0
    for line in lines:
        portion.append(line)
        size_bytes += len(line)
        if len(portion) == PORTION_ROWS or size_bytes >= PORTION_BYTES:
            yield portion
            portion, size_bytes = [], 0
    yield portion


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


_ENCODE: Final[dict[Kind, Callable[[Any], str]]] = {
    "bytes": lambda value: base64.b64encode(value).decode(),
    "double": canonical.double,
}
_DECODE: Final[dict[Kind, Callable[[Any], Any]]] = {"bytes": _from_base64, "double": float}
