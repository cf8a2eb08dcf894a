"""The rows that filters look at: written with what they repeat, in the same transaction.

They are no state of their own: each follows from the row of its version or model and its manifest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Delete, Insert, Table, bindparam, delete, insert, select

from steelyard_server.db import search_keys, tables
from steelyard_server.db.statements import any_of
from steelyard_server.history import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from steelyard_server.core.content import Content, Source
    from steelyard_server.db.database import Transaction

SEMANTIC_VERSION = "semantic_version"
FRAMEWORK = ("name", "version")
SOURCE = ("repository", "commit", "dirty", "run", "pipeline", "user")
SIDES = ("inputs", "outputs")
ORIGIN = ("system", "uri", "version", "uid", "creator", "create_time")


@dataclass(frozen=True, slots=True)
class OfVersion:
    """What names a version in each of its rows."""

    version_id: int
    model_id: int
    number: int


@dataclass(frozen=True, slots=True)
class OfModel:
    """What names a model in each of its rows."""

    model_id: int
    namespace_id: int


_OF_VERSION = select(tables.versions.c.model_id, tables.versions.c.number).where(
    tables.versions.c.id == bindparam("version")
)
_METRICS = insert(tables.metrics)
_PARAMETERS = insert(tables.parameters)
_DATASETS = insert(tables.datasets)
_PARENTS = insert(tables.parents)
_SCHEMA = insert(tables.schema_fields)
_FACTS = insert(tables.version_facts)


def _replacement(table: Table, owner: str) -> tuple[Delete, Insert]:
    return delete(table).where(table.c[owner] == bindparam("owner")), insert(table)


_VERSION_LABELS = _replacement(tables.version_labels, "version_id")
_VERSION_WORDS = _replacement(tables.version_words, "version_id")
_MODEL_LABELS = _replacement(tables.model_labels, "model_id")
_MODEL_OWNERS = _replacement(tables.model_owners, "model_id")
_MODEL_DIRECTIONS = _replacement(tables.model_directions, "model_id")
_MODEL_WORDS = _replacement(tables.model_words, "model_id")
_OF_MODEL = (_MODEL_LABELS, _MODEL_OWNERS, _MODEL_DIRECTIONS, _MODEL_WORDS)
# Tables of versions beside that of metrics.
OF_VERSIONS = (
    tables.parameters,
    tables.datasets,
    tables.parents,
    tables.schema_fields,
    tables.version_facts,
    tables.version_labels,
    tables.version_words,
)
_REMOVE_VERSIONS = tuple(
    delete(table).where(any_of(table.c.version_id, "versions")) for table in (tables.metrics, *OF_VERSIONS)
)
# Of all other facts the key is their beginning.
_FACT_KEYS: dict[str, Callable[[str], str | None]] = {
    SEMANTIC_VERSION: search_keys.semantic_version,
    "origin.create_time": search_keys.time,
}


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What filters look at of a new version."""

    of: OfVersion
    content: Content
    labels: Mapping[str, str]
    description: str
    semantic_version: str
    origin: Mapping[str, Any] | None = None


def add_versions(tx: Transaction, added: Iterable[NewVersion]) -> None:
    """Write all rows of new versions, each table in one go."""
    collected: dict[Insert, list[dict[str, Any]]] = {}
    for each in added:
        named = {name: getattr(each.of, name) for name in each.of.__slots__}
        for statement, rows in _rows(each):
            collected.setdefault(statement, []).extend(named | row for row in rows)
    for statement, rows in collected.items():
        tx.fill(statement, rows)


def change_version(tx: Transaction, *, version_id: int, changed: Mapping[str, Any]) -> None:
    """Write anew the rows that repeat what is *changed* of a version; what is set once was empty before."""
    row = tx.one(_OF_VERSION, version=version_id)
    if row is None:
        raise RuntimeError("A locked version disappeared.")
    of = OfVersion(version_id, row.model_id, row.number)
    if "labels" in changed:
        _replace(tx, _VERSION_LABELS, of, _labels(changed["labels"]), owner=version_id)
    if "description" in changed:
        _replace(tx, _VERSION_WORDS, of, _words(changed["description"]), owner=version_id)
    _insert(tx, _FACTS, of, _facts({SEMANTIC_VERSION: changed.get(SEMANTIC_VERSION, "")}))


def remove_versions(tx: Transaction, version_ids: list[int]) -> None:
    """Remove all rows of versions; a bounded number."""
    for statement in _REMOVE_VERSIONS:
        tx.run(statement, {"versions": version_ids})


def remove_model(tx: Transaction, *, model_id: int) -> None:
    """Remove all rows of a model, those of its versions aside."""
    for remove, _ in _OF_MODEL:
        tx.run(remove, {"owner": model_id})


def _rows(added: NewVersion) -> Iterator[tuple[Insert, list[dict[str, Any]]]]:
    content, origin = added.content, added.origin or {}
    yield _METRICS, _metrics(content)
    yield _PARAMETERS, _parameters(content)
    yield _DATASETS, _placed(content.datasets, ("name", "version", "uri", "digest", "role"))
    yield _PARENTS, _placed(content.parents, ("relation", "digest", "uri"))
    for side in SIDES if content.schema else ():
        fields = _placed(getattr(content.schema, side), ("name", "type"))
        yield _SCHEMA, [{"side": side} | row for row in fields]
    facts = {f"origin.{name}": origin.get(name, "") for name in ORIGIN}
    facts[SEMANTIC_VERSION] = added.semantic_version
    if content.framework is not None:
        facts |= {f"framework.{name}": getattr(content.framework, name) for name in FRAMEWORK}
    if content.source is not None:
        facts |= {f"source.{name}": _source(content.source, name) for name in SOURCE}
    yield _FACTS, _facts(facts)
    yield _VERSION_LABELS[1], _labels(added.labels)
    yield _VERSION_WORDS[1], _words(added.description)


def _facts(facts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Write what is set once, as far as it is not empty, by the names of fields."""
    return [
        {"name": name, "value_key": _fact_key(name, value), "value": value}
        for name, value in facts.items()
        if value
    ]


def set_model(
    tx: Transaction,
    of: OfModel,
    *,
    name: str,
    description: str,
    labels: Mapping[str, str],
    owners: Iterable[str],
    metric_directions: Mapping[str, str],
) -> None:
    """Write all rows of a model in place of those it had."""
    words = [
        {"field": field, "word": word}
        for field, text in (("name", name), ("description", description))
        for word in sorted(set(search_keys.words(text)))
    ]
    directions = [{"name": metric, "value": value} for metric, value in metric_directions.items()]
    _replace(tx, _MODEL_LABELS, of, _labels(labels), owner=of.model_id)
    _replace(tx, _MODEL_OWNERS, of, [{"owner": each} for each in owners], owner=of.model_id)
    _replace(tx, _MODEL_DIRECTIONS, of, directions, owner=of.model_id)
    _replace(tx, _MODEL_WORDS, of, words, owner=of.model_id)


def _replace(
    tx: Transaction,
    statements: tuple[Delete, Insert],
    of: OfVersion | OfModel,
    rows: list[dict[str, Any]],
    *,
    owner: int,
) -> None:
    tx.run(statements[0], {"owner": owner})
    _insert(tx, statements[1], of, rows)


def _insert(tx: Transaction, statement: Insert, of: OfVersion | OfModel, rows: list[dict[str, Any]]) -> None:
    if rows:
        named = {name: getattr(of, name) for name in of.__slots__}
        tx.run(statement, [named | row for row in rows])


def _metrics(content: Content) -> list[dict[str, Any]]:
    return [
        {
            "name": metric.name,
            "dataset": metric.dataset,
            "slice": metric.slice,
            "value": tables.comparable(metric.value),
            "value_text": canonical.double(metric.value),
        }
        for metric in content.metrics
    ]


def _parameters(content: Content) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "value_key": search_keys.parameter(parameter.value),
            "value": parameter.value if isinstance(parameter.value, str) else None,
        }
        for parameter in content.parameters
    ]


def _placed(members: Iterable[object], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"position": position} | {name: getattr(member, name) for name in names}
        for position, member in enumerate(members)
    ]


def _labels(labels: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "value_key": search_keys.cut(value), "value": value} for name, value in labels.items()
    ]


def _words(description: str) -> list[dict[str, Any]]:
    return [{"word": word} for word in sorted(set(search_keys.words(description)))]


def _source(source: Source, name: str) -> str:
    value = getattr(source, name)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value or ""


def _fact_key(name: str, value: str) -> str | None:
    return _FACT_KEYS.get(name, search_keys.cut)(value)
