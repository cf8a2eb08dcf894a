"""What a version is made of, as values, with the rules that each part obeys."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from steelyard_server.core import names, paths
from steelyard_server.errors import EmptyArtifact, FieldRequired, InvalidText
from steelyard_server.limits import LIMITS

INT64_MINIMUM = -(2**63)


@dataclass(frozen=True, slots=True)
class File:
    """A file; `uri` is set for an external reference, whose bytes the registry does not keep."""

    path: str
    digest: str
    size_bytes: int
    role: str = "other"
    uri: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A setting of the training, in the type that it has."""

    name: str
    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured number; `dataset` and `slice` are empty when not stated."""

    name: str
    dataset: str
    slice: str
    value: float


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a version was trained or measured on."""

    name: str
    version: str = ""
    uri: str = ""
    digest: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a version comes from; `dirty` is None when not known."""

    repository: str = ""
    commit: str = ""
    dirty: bool | None = None
    run: str = ""
    pipeline: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Parent:
    """What a version was made from, and how."""

    relation: str
    digest: str = ""
    uri: str = ""


@dataclass(frozen=True, slots=True)
class Framework:
    """What loads a version."""

    name: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class SchemaField:
    """One input or output; a dimension of -1 may have any size."""

    name: str
    type: str
    shape: tuple[int, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """What goes in and comes out."""

    inputs: tuple[SchemaField, ...] = ()
    outputs: tuple[SchemaField, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """Everything that the manifest of a version holds."""

    files: tuple[File, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    metrics: tuple[Metric, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    source: Source | None = None
    parents: tuple[Parent, ...] = ()
    framework: Framework | None = None
    schema: Schema | None = None


def check(content: Content) -> Content:
    """Check every rule that needs no look-up.

    Raises:
        InvalidArgument: in the subclass that fits, with the path of the field.
    """
    _check_files(content.files)
    _check_parameters(content.parameters)
    check_metrics(content.metrics, field="content.metrics")
    check_datasets(content.datasets, field="content.datasets")
    _check_parents(content.parents)
    if content.source is not None:
        _check_source(content.source)
    if content.framework is not None:
        _required(content.framework.name, field="content.framework.name")
        _short(content.framework.version, field="content.framework.version")
    if content.schema is not None:
        _check_fields(content.schema.inputs, field="content.schema.inputs")
        _check_fields(content.schema.outputs, field="content.schema.outputs")
    return content


def check_metrics(metrics: tuple[Metric, ...], *, field: str) -> None:
    """Check the metrics of a version or evaluation, which stand in the request at *field*."""
    names.at_most(len(metrics), LIMITS.metrics_count, field=field)
    for index, metric in enumerate(metrics):
        check_metric_key(metric.name, metric.dataset, metric.slice, field=f"{field}[{index}]")
    names.distinct([(metric.name, metric.dataset, metric.slice) for metric in metrics], field=field)


def check_metric_key(name: str, dataset: str, slice_: str, *, field: str) -> None:
    """Check what identifies a metric."""
    names.key(name, field=f"{field}.name")
    if dataset:
        names.key(dataset, field=f"{field}.dataset")
    if slice_:
        names.key(slice_, field=f"{field}.slice")
        if not dataset:
            raise FieldRequired(f"`{field}` has a slice and no dataset; name it.", field=f"{field}.dataset")


def check_datasets(datasets: tuple[Dataset, ...], *, field: str) -> None:
    """Check the datasets of a version or evaluation, which stand in the request at *field*."""
    names.at_most(len(datasets), LIMITS.datasets_count, field=field)
    names.distinct([(dataset.name, dataset.role) for dataset in datasets], field=field)
    for index, dataset in enumerate(datasets):
        place = f"{field}[{index}]"
        names.key(dataset.name, field=f"{place}.name")
        if dataset.role:
            names.key(dataset.role, field=f"{place}.role")
        if dataset.digest:
            names.digest(dataset.digest, field=f"{place}.digest")
        _short(dataset.version, field=f"{place}.version")
        _short(dataset.uri, field=f"{place}.uri")


def _check_files(files: tuple[File, ...]) -> None:
    if not files:
        raise EmptyArtifact("A version needs at least one file.", field="content.files")
    names.at_most(len(files), LIMITS.files_count, field="content.files")
    paths.check_all((file.path for file in files), field="content.files.path")
    for index, file in enumerate(files):
        field = f"content.files[{index}]"
        names.number(file.size_bytes, field=f"{field}.size_bytes", maximum=LIMITS.file_bytes)
        _short(file.uri, field=f"{field}.uri")
        if file.digest or not file.uri:
            names.digest(file.digest, field=f"{field}.digest")


def _check_parameters(parameters: tuple[Parameter, ...]) -> None:
    names.at_most(len(parameters), LIMITS.parameters_count, field="content.parameters")
    names.distinct([parameter.name for parameter in parameters], field="content.parameters")
    for index, parameter in enumerate(parameters):
        field = f"content.parameters[{index}]"
        names.key(parameter.name, field=f"{field}.name")
        if isinstance(parameter.value, str):
            names.prose(parameter.value, field=f"{field}.text", maximum_bytes=LIMITS.parameter_bytes)
        elif type(parameter.value) is int:
            names.number(parameter.value, field=f"{field}.integer", minimum=INT64_MINIMUM)


def _check_parents(parents: tuple[Parent, ...]) -> None:
    names.at_most(len(parents), LIMITS.parents_count, field="content.parents")
    names.distinct([(each.relation, each.digest, each.uri) for each in parents], field="content.parents")
    for index, parent in enumerate(parents):
        field = f"content.parents[{index}]"
        _short(parent.uri, field=f"{field}.uri")
        if parent.digest or not parent.uri:
            names.digest(parent.digest, field=f"{field}.digest")


def _check_source(source: Source) -> None:
    for name in ("repository", "commit", "run", "pipeline", "user"):
        _short(getattr(source, name), field=f"content.source.{name}")
    if _has_secret(source.repository):
        message = "`content.source.repository` holds credentials; remove what stands before the @."
        raise InvalidText(message, field="content.source.repository")


def _has_secret(uri: str) -> bool:
    """Return whether *uri* carries a password or token; the user of an SSH address is none."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    return bool(parts.password or (parts.username and parts.scheme in {"http", "https"}))


def _check_fields(fields: tuple[SchemaField, ...], *, field: str) -> None:
    names.at_most(len(fields), LIMITS.schema_fields_count, field=field)
    names.distinct([each.name for each in fields], field=field)
    for index, each in enumerate(fields):
        _required(each.name, field=f"{field}[{index}].name")
        _required(each.type, field=f"{field}[{index}].type")
        names.at_most(len(each.shape), LIMITS.schema_dimensions_count, field=f"{field}[{index}].shape")
        for dimension in each.shape:
            names.number(dimension, field=f"{field}[{index}].shape", minimum=-1)


def _short(value: str, *, field: str) -> str:
    return names.text(value, field=field, maximum_bytes=LIMITS.text_bytes)


def _required(value: str, *, field: str) -> str:
    if not value:
        raise FieldRequired(f"`{field}` is empty; set it.", field=field)
    return _short(value, field=field)
