"""Comparisons: what differs between versions, side by side, and what they have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import bindparam, select

from steelyard_server.core import (
    access,
    ancestors,
    content,
    file_differences,
    manifest,
    names,
    references,
    roles,
    versions,
)
from steelyard_server.core.content import Metric
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.errors import DuplicateKey, OutOfBounds
from steelyard_server.history import canonical
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from steelyard_server.core.ancestors import SharedAncestor
    from steelyard_server.core.content import Dataset, Parameter, SchemaField
    from steelyard_server.core.file_differences import FileDifferences
    from steelyard_server.core.models import Model
    from steelyard_server.core.references import Reference
    from steelyard_server.core.versions import Version
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.caller import Caller

HIGHER_IS_BETTER = "higher-is-better"
VERSIONS_MINIMUM = 2

Key = tuple[str, str, str]

_M, _E = tables.evaluated_metrics.c, tables.evaluations.c
_EVALUATED = select(_M.version_id, _M.name, _M.dataset, _M.slice, _M.value_text, _M.evaluation_id).where(
    any_of(_M.version_id, "versions")
)
_COUNTING = select(_M.evaluation_id).where(any_of(_M.version_id, "versions"))
_DATASETS = select(_E.id, _E.datasets).where(_E.id.in_(_COUNTING), _E.datasets != bindparam("none"))


@dataclass(frozen=True, slots=True)
class MetricSelector:
    """Which metrics to compare; an empty dataset or slice means any."""

    name: str
    dataset: str = ""
    slice: str = ""


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric, with a place for each version; a value is None where a version has none."""

    name: str
    dataset: str
    slice: str
    evaluated: bool
    direction: str
    values: tuple[float | None, ...]
    best: tuple[bool, ...]
    dataset_mismatch: bool


@dataclass(frozen=True, slots=True)
class ParameterComparison:
    """One parameter that differs, with a place for each version."""

    name: str
    parameters: tuple[Parameter | None, ...]


@dataclass(frozen=True, slots=True)
class SchemaFieldComparison:
    """One input or output that differs, with a place for each version."""

    output: bool
    name: str
    fields: tuple[SchemaField | None, ...]


@dataclass(frozen=True, slots=True)
class DatasetComparison:
    """One dataset that differs, with a place for each version."""

    role: str
    name: str
    datasets: tuple[Dataset | None, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Versions side by side; the first is the baseline. Their content comes without files."""

    versions: Sequence[Version]
    metrics: Sequence[MetricComparison]
    parameters: Sequence[ParameterComparison]
    files: FileDifferences
    schema_fields: Sequence[SchemaFieldComparison]
    datasets: Sequence[DatasetComparison]
    shared_ancestors: Sequence[SharedAncestor]


@dataclass(slots=True)
class _Measures:
    """The measures of one version: the value of each metric, and known digests of each dataset.

    Attributes:
        digests: by the dataset as a metric names it; several when it has several roles.
    """

    values: dict[Key, float] = field(default_factory=dict)
    digests: dict[Key, frozenset[str]] = field(default_factory=dict)

    def add(self, metric: Metric, *, datasets: Iterable[Dataset]) -> None:
        """Add a metric that was measured on one of *datasets*."""
        key = (metric.name, metric.dataset, metric.slice)
        self.values[key] = metric.value
        known = (each.digest for each in datasets if each.name == metric.dataset and each.digest)
        self.digests[key] = frozenset(known)


def compare(
    tx: Transaction,
    *,
    namespace: str,
    wanted: Sequence[Reference],
    selectors: Sequence[MetricSelector] = (),
    caller: Caller = access.UNLIMITED,
) -> Comparison:
    """Compare versions of one namespace.

    Raises:
        PermissionMissing: *caller* may not read the model of one of them.
        OutOfBounds, LimitExceeded: too few or too many references.
        DuplicateKey: two of them mean one version.
        ResourceMismatch: one leads out of the namespace.
        ModelNotFound, VersionNotFound, AliasNotFound: the first one that is not found.
    """
    names.namespace(namespace)
    _check_count(len(wanted))
    _check_selectors(selectors)
    for reference in wanted:
        references.require_namespace(reference, namespace=namespace)
        access.require(caller, roles.READ, reference.model)
    found = _resolve(tx, wanted=wanted)
    compared = [version for _, version in found]
    models = [model for model, _ in found]
    trained = [_trained(version) for version in compared]
    evaluated = _evaluated(tx, compared)
    return Comparison(
        versions=compared,
        metrics=[
            *_metrics(trained, models=models, selectors=selectors, evaluated=False),
            *_metrics(evaluated, models=models, selectors=selectors, evaluated=True),
        ],
        parameters=[ParameterComparison(*each) for each in _parameters(compared)],
        files=file_differences.find(tx, compared),
        schema_fields=[SchemaFieldComparison(*key, fields) for key, fields in _schema_fields(compared)],
        datasets=[DatasetComparison(*key, datasets) for key, datasets in _datasets(compared)],
        shared_ancestors=ancestors.shared(tx, compared, space=models[0], caller=caller),
    )


def _check_count(count: int) -> None:
    maximum = LIMITS.compared_versions_count
    if count < VERSIONS_MINIMUM:
        message = f"`versions` names {count} of {VERSIONS_MINIMUM} to {maximum} versions; name more."
        raise OutOfBounds(message, field="versions", minimum=VERSIONS_MINIMUM, maximum=maximum)
    names.at_most(count, maximum, field="versions", unit="references")


def _check_selectors(selectors: Sequence[MetricSelector]) -> None:
    names.at_most(len(selectors), LIMITS.metrics_count, field="metrics")
    for index, each in enumerate(selectors):
        content.check_metric_key(each.name, each.dataset, each.slice, field=f"metrics[{index}]")


def _resolve(tx: Transaction, *, wanted: Sequence[Reference]) -> list[tuple[Model, Version]]:
    """Find the versions in the order wanted, each model once."""
    known: dict[str, Model] = {}
    rows: dict[int, list[Row]] = {}
    places: dict[int, Model] = {}
    for reference in wanted:
        model, row = references.resolve(tx, reference, model=known.get(reference.model))
        if row.id in places:
            text = f"{model.text}:{row.number}"
            message = f"`{reference.field}` is {text}, which is named twice; leave one out."
            raise DuplicateKey(message, field=reference.field, key=names.quoted(text))
        known[reference.model] = places[row.id] = model
        rows.setdefault(model.id, []).append(row)
    models = {model.id: model for model in places.values()}
    read = (versions.without_files(tx, each, model=models[key]) for key, each in rows.items())
    found = {version.id: version for each in read for version in each}
    return [(model, found[key]) for key, model in places.items()]


def _trained(version: Version) -> _Measures:
    measures = _Measures()
    for metric in version.content.metrics:
        measures.add(metric, datasets=version.content.datasets)
    return measures


def _evaluated(tx: Transaction, compared: Sequence[Version]) -> list[_Measures]:
    """Read the newest measures of all evaluations; a dataset is the one that its evaluation names."""
    ids = [version.id for version in compared]
    measures = {key: _Measures() for key in ids}
    stated = {
        row.id: manifest.parse_datasets(orjson.loads(row.datasets))
        for row in tx.all(_DATASETS, versions=ids, none="[]")
    }
    for row in tx.all(_EVALUATED, versions=ids):
        metric = Metric(row.name, row.dataset, row.slice, float(row.value_text))
        measures[row.version_id].add(metric, datasets=stated.get(row.evaluation_id, ()))
    return [measures[key] for key in ids]


def _metrics(
    measures: Sequence[_Measures],
    *,
    models: Sequence[Model],
    selectors: Sequence[MetricSelector],
    evaluated: bool,
) -> Iterator[MetricComparison]:
    chosen: dict[str, list[MetricSelector]] = {}
    for each in selectors:
        chosen.setdefault(each.name, []).append(each)
    for key in sorted({key for each in measures for key in each.values}):
        if selectors and not any(_selects(each, key) for each in chosen.get(key[0], ())):
            continue
        values = tuple(each.values.get(key) for each in measures)
        mismatch = len({each.digests[key] for each in measures if each.digests.get(key)}) > 1
        direction = _direction(key[0], models=models)
        best = _best(values, direction="" if mismatch else direction)
        yield MetricComparison(*key, evaluated, direction, values, best, mismatch)


def _selects(selector: MetricSelector, key: Key) -> bool:
    _, dataset, slice_ = key
    return selector.dataset in {"", dataset} and selector.slice in {"", slice_}


def _direction(name: str, *, models: Sequence[Model]) -> str:
    """Return which way a metric is better, empty unless all models that say so agree."""
    stated = {model.metric_directions[name] for model in models if name in model.metric_directions}
    return stated.pop() if len(stated) == 1 else ""


def _best(values: Sequence[float | None], *, direction: str) -> tuple[bool, ...]:
    """Mark the values that no other is better than, where there are two numbers and a direction."""
    numbers = [value for value in values if value is not None and not math.isnan(value)]
    if not direction or len(numbers) < VERSIONS_MINIMUM:
        return (False,) * len(values)
    best = max(numbers) if direction == HIGHER_IS_BETTER else min(numbers)
    return tuple(value == best for value in values)


def _parameters(compared: Sequence[Version]) -> list[tuple[str, tuple[Parameter | None, ...]]]:
    found = [{each.name: each for each in version.content.parameters} for version in compared]
    return sorted(_differing(found, identity=_typed_value), key=lambda entry: entry[0])


def _typed_value(parameter: Parameter) -> Hashable:
    """Tell 1 from 1.0 and from true, and NaN from nothing but other numbers."""
    value = parameter.value
    return type(value), canonical.double(value) if isinstance(value, float) else value


def _schema_fields(
    compared: Sequence[Version],
) -> list[tuple[tuple[bool, str], tuple[SchemaField | None, ...]]]:
    found: list[dict[tuple[bool, str], SchemaField]] = []
    for version in compared:
        schema = version.content.schema
        sides = ((False, schema.inputs), (True, schema.outputs)) if schema else ()
        found.append({(output, each.name): each for output, fields in sides for each in fields})
    return sorted(_differing(found, identity=lambda each: each), key=lambda entry: entry[0][0])


def _datasets(compared: Sequence[Version]) -> list[tuple[tuple[str, str], tuple[Dataset | None, ...]]]:
    found = [{(each.role, each.name): each for each in version.content.datasets} for version in compared]
    return sorted(_differing(found, identity=lambda each: each), key=lambda entry: entry[0])


def _differing(
    found: Sequence[Mapping[Any, Any]], *, identity: Callable[[Any], Hashable]
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield what not all versions have alike, by its key, in the order in which they name the keys."""
    for key in dict.fromkeys(key for each in found for key in each):
        items = tuple(each.get(key) for each in found)
        if len({None if item is None else identity(item) for item in items}) > 1:
            yield key, items
