"""Every field of versions and of models: where its values lie, and of which kind they are."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, Table, and_, or_, select, true, tuple_

from steelyard_server.core import names
from steelyard_server.core.filters import scope as scopes
from steelyard_server.core.filters.choices import Choices
from steelyard_server.core.filters.kinds import (
    Condition,
    Integer,
    KeyedText,
    KeyedTime,
    Kind,
    OptionalTime,
    ParameterValue,
    Real,
    SemanticVersion,
    ShortName,
    Text,
    Time,
    Truth,
    Word,
)
from steelyard_server.core.filters.scope import Rows, Scope, VersionScope, where
from steelyard_server.core.filters.tree import Fault, Path, Value
from steelyard_server.db import search_keys, tables

_V, _M = tables.versions, tables.models


class Field(Protocol):
    """What a field is to a list."""

    @property
    def nullable(self) -> bool:
        """Return whether it may be absent."""

    @property
    def rows(self) -> Rows | None:
        """Return the rows that hold the value of each, if it lies elsewhere and is the only one."""

    @property
    def kind(self) -> Kind:
        """Return how its values compare."""

    @property
    def single(self) -> bool:
        """Return whether there is at most one value, so that it can be ordered by."""

    def constant(self, scope: Scope) -> bool:
        """Return whether all that is listed has the same value."""

    def compare(self, scope: Scope, comparator: str, value: Value) -> Condition:
        """Hold where a value compares so; never NULL."""

    def present(self, scope: Scope) -> Condition:
        """Hold where there is a value; never NULL."""

    def order(self, scope: Scope) -> ColumnElement[Any]:
        """Return what to order by, NULL where there is no value; only of a single one."""


@dataclass(frozen=True, slots=True)
class Own:
    """A column of what is listed."""

    kind: Kind
    nullable: bool = False

    rows = None
    single = True

    def constant(self, _: Scope) -> bool:
        """See `Field.constant`."""
        return False

    def compare(self, scope: Scope, comparator: str, value: Value) -> Condition:
        """See `Field.compare`."""
        columns = scope.own()
        compared = self.kind.condition(columns, comparator, value)
        return and_(self.kind.present(columns), compared) if self.nullable else compared

    def present(self, scope: Scope) -> Condition:
        """See `Field.present`."""
        return self.kind.present(scope.own())

    def order(self, scope: Scope) -> ColumnElement[Any]:
        """See `Field.order`."""
        return self.kind.order(scope.own())


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Rows of another table; of several values one is enough."""

    held: Rows

    nullable = True

    @property
    def rows(self) -> Rows | None:
        """See `Field.rows`."""
        return self.held if self.held.single else None

    @property
    def kind(self) -> Kind:
        """See `Field.kind`."""
        return self.held.kind

    @property
    def single(self) -> bool:
        """See `Field.single`."""
        return self.held.single

    def constant(self, _: Scope) -> bool:
        """See `Field.constant`."""
        return False

    def compare(self, scope: Scope, comparator: str, value: Value) -> Condition:
        """See `Field.compare`."""
        return scopes.matches(
            scope,
            self.held,
            lambda c: and_(self.kind.present(c), self.kind.condition(c, comparator, value)),
        )

    def present(self, scope: Scope) -> Condition:
        """See `Field.present`."""
        return scopes.matches(scope, self.held, self.kind.present)

    def order(self, scope: Scope) -> ColumnElement[Any]:
        """See `Field.order`."""
        return scopes.value(scope, self.held)


@dataclass(frozen=True, slots=True)
class ModelOfVersion:
    """The name of the model that a version belongs to."""

    kind: Kind
    nullable = False
    rows = None
    single = True

    def constant(self, scope: Scope) -> bool:
        """See `Field.constant`."""
        return isinstance(scope, VersionScope) and scope.model_id is not None

    def compare(self, scope: Scope, comparator: str, value: Value) -> Condition:
        """See `Field.compare`."""
        return scope.having(Rows(_M, self.kind), self.kind.condition(_M.c, comparator, value))

    def present(self, _: Scope) -> Condition:
        """See `Field.present`."""
        return true()

    def order(self, _: Scope) -> ColumnElement[Any]:
        """See `Field.order`. A list of several models joins them; in one of one model it is constant."""
        return _M.c.name


@dataclass(frozen=True, slots=True)
class AliasOfVersion(Elsewhere):
    """The aliases of a version; `latest` means the newest version and nothing else."""

    def compare(self, scope: Scope, comparator: str, value: Value) -> Condition:
        """See `Field.compare`."""
        if value.text == names.LATEST and not value.has_star and comparator in {"=", ":"}:
            return _is_latest(scope)
        return Elsewhere.compare(self, scope, comparator, value)


def _is_latest(scope: Scope) -> Condition:
    if not isinstance(scope, VersionScope):
        return _M.c.latest_number > 0
    newest = scope.models().with_only_columns(_M.c.latest_number)
    if scope.model_id is not None:
        return scope.number == newest.correlate(None).scalar_subquery()
    return tuple_(scope.number, scope.model).in_(newest.add_columns(_M.c.id).correlate(None))


# How much of a name must be right for a suggestion; below that they are guesses.
NEARNESS: Final = 0.7

# A field whose parts have names of their own: from a name to the field, and how `group:name` is meant.
Named = Callable[[str], Field]


@dataclass(frozen=True, slots=True)
class Group:
    """What has parts: `labels:team` asks for a part, `labels:*` for any, `labels.team` is one.

    Args:
        key: column of the names of the parts; empty when parts have none.
        part: makes the field of one part; None when all of them are fields of the table.
        measured: whether a part may name dataset and slice.
        where: what makes rows of the table those of the group, as `Rows` has it.
    """

    table: Table
    key: str = ""
    part: Named | None = None
    measured: bool = False
    probe: bool = False
    where: tuple[tuple[str, str], ...] = ()

    def has(self, scope: Scope, comparator: str, value: Value, *, column: int) -> Condition:
        """Hold for what has a part of that name.

        Raises:
            Fault: anything else is asked.
        """
        if comparator != ":" or not (self.key or value.is_star):
            expected = ":* behind it, or a dot and the name of a part"
            raise Fault("this has parts, and none is named", column=column, expected=expected)
        if value.is_star:
            return scope.having(Rows(self.table, Text(""), self.where, probe=self.probe), true())
        kind = Text(self.key)
        rows = Rows(self.table, kind, self.where, probe=self.probe)
        return scope.having(rows, kind.condition(self.table.c, "=", value))


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one kind of list, and where its words lie."""

    plain: Mapping[str, Field]
    groups: Mapping[str, Group]
    words: Callable[[Scope, Kind, Value], Condition]

    def find(self, path: Path, *, choices: Choices, field: str) -> Field:
        """Return the field that *path* names.

        Args:
            field: of the request, for errors.

        Raises:
            Fault: there is none.
            MetricAmbiguous: it is a metric that was measured on several datasets.
        """
        group = self.groups.get(path.segments[0])
        measured = group is not None and group.measured and len(path.segments) > 1
        if path.dataset is not None and not measured:
            if group is None and path.text not in self.plain:
                raise self._unknown(path)
            raise Fault(f"{path.text} is measured on no dataset", column=path.column, expected="no @")
        if path.text in self.plain:
            return self.plain[path.text]
        if group is None or group.part is None or len(path.segments) == 1:
            raise self._unknown(path)
        name = ".".join(path.segments[1:])
        if not measured:
            return group.part(name)
        if path.dataset is None:
            dataset, slice_ = choices.of(group.table, path, name=name, field=field)
        else:
            dataset, slice_ = path.dataset, path.slice
        return _metric(group.table, name, dataset=dataset, slice_=slice_)

    def orderable(self) -> list[str]:
        """Return what a list can be ordered by; NAME stands for that of a part."""
        plain = [name for name, field in self.plain.items() if field.single]
        return plain + [f"{name}.NAME" for name, group in self.groups.items() if group.part]

    def _beginnings(self) -> list[str]:
        """Return what a field may begin with: all of them would be more than anybody reads."""
        short = [name if "." not in name else f"{name.partition('.')[0]}.…" for name in self.plain]
        parts = [f"{name}.NAME" for name, group in self.groups.items() if group.part]
        return list(dict.fromkeys(short + parts))

    def _unknown(self, path: Path) -> Fault:
        head, *rest = path.segments
        near = difflib.get_close_matches(path.text, self.plain, n=1, cutoff=NEARNESS)
        near = near or [name for name in self.plain if name.startswith(f"{path.text}_")]
        near = near or [
            ".".join([each, *rest])
            for each in difflib.get_close_matches(head, self.groups, n=1, cutoff=NEARNESS)
        ]
        expected = f"perhaps {near[0]}" if near else f"one of {', '.join(self._beginnings())}"
        if head in self.groups and not rest:
            expected = f"a dot behind {head} and the name of a part"
        return Fault(
            f"there is no field {names.quoted(path.text)} here", column=path.column, expected=expected
        )


def _metric(table: Table, name: str, *, dataset: str, slice_: str) -> Field:
    return Elsewhere(
        Rows(table, Real("value"), (("name", name), ("dataset", dataset), ("slice", slice_)), single=True)
    )


def _measured(table: Table) -> Group:
    return Group(table, "name", lambda name: _metric(table, name, dataset="", slice_=""), measured=True)


def _named(table: Table, kind: Kind) -> Group:
    return Group(table, "name", lambda name: Elsewhere(Rows(table, kind, where(name=name), single=True)))


def _fact(name: str, kind: Kind) -> Field:
    return Elsewhere(Rows(tables.version_facts, kind, where(name=name), single=True))


def _many(table: Table, column: str, *, probe: bool = False) -> Field:
    return Elsewhere(Rows(table, Text(column), probe=probe))


def _schema(side: str, column: str) -> Field:
    return Elsewhere(Rows(tables.schema_fields, Text(column), where(side=side)))


def _version_words(scope: Scope, kind: Kind, value: Value) -> Condition:
    """Find words of the description of a version, and of the name of its model."""
    if not isinstance(scope, VersionScope):
        raise TypeError("These are words of versions.")
    rows, columns = Rows(tables.version_words, kind), tables.model_words.c
    described = scope.having(rows, kind.condition(rows.table.c, "=", value))
    named = select(columns.model_id).where(
        columns.namespace_id == scope.namespace_id,
        columns.field == "name",
        kind.condition(columns, "=", value),
    )
    return or_(described, scope.model.in_(named.correlate(None)))


def _model_words(scope: Scope, kind: Kind, value: Value) -> Condition:
    return scope.having(Rows(tables.model_words, kind), kind.condition(tables.model_words.c, "=", value))


VERSION_FIELDS: Final = Fields(
    plain={
        "number": Own(Integer("number")),
        "model": ModelOfVersion(ShortName("name")),
        "digest": Own(Word("digest")),
        "uid": Own(Word("uid")),
        "description": Own(Text("description"), nullable=True),
        "stage": Own(Word("stage")),
        "alias": AliasOfVersion(Rows(tables.aliases, Text("name"))),
        "semantic_version": _fact("semantic_version", SemanticVersion()),
        "idempotency_key": Own(Text("idempotency_key"), nullable=True),
        "creator": Own(Word("creator_id")),
        "create_time": Own(Time("create_time")),
        "update_time": Own(Time("update_time")),
        "import_time": Own(OptionalTime("import_time"), nullable=True),
        "delete_time": Own(OptionalTime("delete_time"), nullable=True),
        "size_bytes": Own(Integer("size_bytes")),
        "file_count": Own(Integer("file_count")),
        "datasets.name": _many(tables.datasets, "name"),
        "datasets.version": _many(tables.datasets, "version"),
        "datasets.uri": _many(tables.datasets, "uri"),
        "datasets.digest": _many(tables.datasets, "digest"),
        "datasets.role": _many(tables.datasets, "role"),
        "parents.relation": _many(tables.parents, "relation"),
        "parents.digest": _many(tables.parents, "digest"),
        "parents.uri": _many(tables.parents, "uri"),
        "files.path": _many(tables.files, "path", probe=True),
        "files.role": _many(tables.files, "role", probe=True),
        "files.size_bytes": Elsewhere(Rows(tables.files, Integer("size_bytes"), probe=True)),
        "files.digest": _many(tables.files, "digest"),
        "files.uri": _many(tables.files, "external_uri", probe=True),
        "inputs.name": _schema("inputs", "name"),
        "inputs.type": _schema("inputs", "type"),
        "outputs.name": _schema("outputs", "name"),
        "outputs.type": _schema("outputs", "type"),
        "framework.name": _fact("framework.name", KeyedText()),
        "framework.version": _fact("framework.version", KeyedText()),
        "source.repository": _fact("source.repository", KeyedText()),
        "source.commit": _fact("source.commit", KeyedText()),
        "source.dirty": _fact("source.dirty", Truth()),
        "source.run": _fact("source.run", KeyedText()),
        "source.pipeline": _fact("source.pipeline", KeyedText()),
        "source.user": _fact("source.user", KeyedText()),
        "origin.system": _fact("origin.system", KeyedText()),
        "origin.uri": _fact("origin.uri", KeyedText()),
        "origin.version": _fact("origin.version", KeyedText()),
        "origin.uid": _fact("origin.uid", KeyedText()),
        "origin.creator": _fact("origin.creator", KeyedText()),
        "origin.create_time": _fact("origin.create_time", KeyedTime()),
    },
    groups={
        "labels": _named(tables.version_labels, KeyedText()),
        "parameters": _named(tables.parameters, ParameterValue()),
        "metrics": _measured(tables.metrics),
        "evaluations": _measured(tables.evaluated_metrics),
        "datasets": Group(tables.datasets, "name"),
        "parents": Group(tables.parents),
        "files": Group(tables.files, "path", probe=True),
        "inputs": Group(tables.schema_fields, "name", where=where(side="inputs")),
        "outputs": Group(tables.schema_fields, "name", where=where(side="outputs")),
    },
    words=_version_words,
)
MODEL_FIELDS: Final = Fields(
    plain={
        "name": Own(ShortName("name")),
        "uid": Own(Word("uid")),
        "description": Own(Text("description"), nullable=True),
        "owners": _many(tables.model_owners, "owner"),
        "alias": AliasOfVersion(Rows(tables.aliases, Text("name"), probe=True)),
        "creator": Own(Word("creator_id")),
        "create_time": Own(Time("create_time")),
        "update_time": Own(Time("update_time")),
        "delete_time": Own(OptionalTime("delete_time"), nullable=True),
        "latest_number": Own(Integer("latest_number")),
    },
    groups={
        "labels": _named(tables.model_labels, KeyedText()),
        "metric_directions": _named(tables.model_directions, KeyedText("value", "value")),
    },
    words=_model_words,
)


def words(fields: Fields, scope: Scope, text: str, *, prefix: bool, column: int) -> list[Condition]:
    """Return a condition for each word of *text*; with *prefix* the last one may go on.

    Raises:
        Fault: there is no word in it.
    """
    found = search_keys.words(text)
    if not found:
        message = f"{names.quoted(text)} holds no word to look for"
        raise Fault(message, column=column, expected="letters or digits")
    last = len(found) - 1
    values = (Value(word, column, open_end=prefix and at == last) for at, word in enumerate(found))
    return [fields.words(scope, Word("word"), value) for value in dict.fromkeys(values)]
