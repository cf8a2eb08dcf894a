"""What a comparison of versions answers; each list inside has a place for each version."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from steelyard import enums, types
from steelyard.content import Dataset, SchemaField
from steelyard.v1 import comparison_pb2 as pb
from steelyard.v1 import model_pb2

if TYPE_CHECKING:
    from steelyard.content import ParameterValue
    from steelyard.types import File, Version


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric, side by side.

    Args:
        metric: its text, for example `precision@holdout`.
        evaluated: whether evaluations measured it; else it stands in the manifests.
        direction: `higher-is-better` or `lower-is-better`; empty when it is not known.
        values: None where a version has none.
        best: whether no other value is better.
        dataset_mismatch: whether the values were measured on different data of one name.
    """

    metric: str
    evaluated: bool
    direction: str
    values: tuple[float | None, ...]
    best: tuple[bool, ...]
    dataset_mismatch: bool

    @classmethod
    def of(cls, message: pb.MetricComparison) -> Self:
        """Read a message."""
        return cls(
            metric=types.metric_key(message),
            evaluated=message.evaluated,
            direction=enums.word(model_pb2.MetricDirection, message.direction) if message.direction else "",
            values=tuple(each.value if each.HasField("value") else None for each in message.values),
            best=tuple(each.best for each in message.values),
            dataset_mismatch=message.dataset_mismatch,
        )


@dataclass(frozen=True, slots=True)
class ParameterComparison:
    """One parameter that differs; None where a version has none."""

    name: str
    values: tuple[ParameterValue | None, ...]

    @classmethod
    def of(cls, message: pb.ParameterComparison) -> Self:
        """Read a message."""
        values = (
            types.parameter_value(each) if each.WhichOneof("value") else None for each in message.values
        )
        return cls(message.name, tuple(values))


@dataclass(frozen=True, slots=True)
class FileComparison:
    """One path where files differ; None where a version has none.

    Args:
        change: from the first version to the last: `added`, `removed`, `changed`, or empty.
    """

    path: str
    files: tuple[File | None, ...]
    change: str

    @classmethod
    def of(cls, message: pb.FileComparison) -> Self:
        """Read a message."""
        change = enums.word(pb.FileChange, message.change) if message.change else ""
        files = (types.file(each) if each.digest or each.uri else None for each in message.files)
        return cls(message.path, tuple(files), change)


@dataclass(frozen=True, slots=True)
class FileTotals:
    """What makes the files of one version of those of the first; sizes of changed files are the new ones."""

    added_count: int
    added_bytes: int
    removed_count: int
    removed_bytes: int
    changed_count: int
    changed_bytes: int

    @classmethod
    def of(cls, message: pb.FileTotals) -> Self:
        """Read a message."""
        return cls(
            added_count=message.added_count,
            added_bytes=message.added_bytes,
            removed_count=message.removed_count,
            removed_bytes=message.removed_bytes,
            changed_count=message.changed_count,
            changed_bytes=message.changed_bytes,
        )


@dataclass(frozen=True, slots=True)
class SchemaFieldComparison:
    """One input or output that differs; None where a version has none."""

    output: bool
    name: str
    fields: tuple[SchemaField | None, ...]

    @classmethod
    def of(cls, message: pb.SchemaFieldComparison) -> Self:
        """Read a message."""
        fields = (SchemaField.of(each) if each.type else None for each in message.fields)
        return cls(message.output, message.name, tuple(fields))


@dataclass(frozen=True, slots=True)
class DatasetComparison:
    """One dataset that differs; None where a version has none."""

    role: str
    name: str
    datasets: tuple[Dataset | None, ...]

    @classmethod
    def of(cls, message: pb.DatasetComparison) -> Self:
        """Read a message."""
        datasets = (Dataset.of(each) if each.name else None for each in message.datasets)
        return cls(message.role, message.name, tuple(datasets))


@dataclass(frozen=True, slots=True)
class SharedAncestor:
    """What at least two versions were made from, or are; `descendants` are their places, from 0."""

    digest: str
    uri: str
    descendants: tuple[int, ...]

    @classmethod
    def of(cls, message: pb.SharedAncestor) -> Self:
        """Read a message."""
        return cls(message.digest, message.uri, tuple(message.descendants))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Versions side by side; the first is the baseline.

    Args:
        versions: of their content only source and framework.
        metrics: all; of everything else what is not alike in all versions.
        omitted: how many entries of a list did not fit into the answer, by the name of the list.
    """

    versions: tuple[Version, ...]
    metrics: tuple[MetricComparison, ...]
    parameters: tuple[ParameterComparison, ...]
    files: tuple[FileComparison, ...]
    file_totals: tuple[FileTotals, ...]
    schema_fields: tuple[SchemaFieldComparison, ...]
    datasets: tuple[DatasetComparison, ...]
    shared_ancestors: tuple[SharedAncestor, ...]
    omitted: dict[str, int]
    message: pb.Comparison = field(repr=False, compare=False)

    @classmethod
    def of(cls, message: pb.Comparison) -> Self:
        """Read a message."""
        return cls(
            versions=tuple(map(types.version, message.versions)),
            metrics=tuple(map(MetricComparison.of, message.metrics)),
            parameters=tuple(map(ParameterComparison.of, message.parameters)),
            files=tuple(map(FileComparison.of, message.files)),
            file_totals=tuple(map(FileTotals.of, message.file_totals)),
            schema_fields=tuple(map(SchemaFieldComparison.of, message.schema_fields)),
            datasets=tuple(map(DatasetComparison.of, message.datasets)),
            shared_ancestors=tuple(map(SharedAncestor.of, message.shared_ancestors)),
            omitted={each.name: count for each, count in message.omitted.ListFields()},
            message=message,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Return the shortest texts that tell the versions apart, `:3` where all are of one model."""
        if len({each.model for each in self.versions}) == 1:
            return tuple(f":{each.number}" for each in self.versions)
        return tuple(f"{each.model.partition('/')[2]}:{each.number}" for each in self.versions)
