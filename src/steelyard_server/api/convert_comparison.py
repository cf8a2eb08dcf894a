"""Comparisons as messages, as much of them as an answer holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message

from steelyard.v1 import comparison_pb2 as pb
from steelyard.v1 import content_pb2
from steelyard_server.api import convert, convert_content
from steelyard_server.api.enums import DIRECTIONS, FILE_CHANGES
from steelyard_server.core.content import Content
from steelyard_server.errors import LimitExceeded
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard.v1 import version_pb2
    from steelyard_server.core.comparisons import (
        Comparison,
        DatasetComparison,
        MetricComparison,
        ParameterComparison,
        SchemaFieldComparison,
    )
    from steelyard_server.core.file_differences import FileComparison, FileTotals
    from steelyard_server.core.versions import Version

# What surrounds an entry of a list: its tag, and its length in up to four bytes.
ENTRY_BYTES = 5
# The counts of what is left out, the sequence, and what surrounds the comparison.
FRAME_BYTES = 128

Entry = TypeVar("Entry", bound=Message)


@dataclass(slots=True)
class _Room:
    """How many bytes an answer still takes."""

    size_bytes: int

    def fill(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the first entries, as many as fit; the others are not even made."""
        taken = []
        for entry in entries:
            size_bytes = entry.ByteSize() + ENTRY_BYTES
            if size_bytes > self.size_bytes:
                break
            self.size_bytes -= size_bytes
            taken.append(entry)
        return taken


def comparison(value: Comparison) -> pb.Comparison:
    """Turn a comparison into a message of at most Limits.page_bytes.

    Raises:
        LimitExceeded: the versions alone have more.
    """
    message = pb.Comparison(
        versions=[_version(each) for each in value.versions],
        file_totals=[_file_totals(each) for each in value.files.totals],
    )
    room = _Room(LIMITS.page_bytes - FRAME_BYTES - message.ByteSize())
    if room.size_bytes < 0:
        text = f"The labels and descriptions of {len(value.versions)} versions do not fit; compare fewer."
        raise LimitExceeded(text, field="versions", limit=LIMITS.page_bytes)
    # The first to be filled are the last to be cut.
    message.metrics.extend(room.fill(map(_metric, value.metrics)))
    message.parameters.extend(room.fill(map(_parameter, value.parameters)))
    message.datasets.extend(room.fill(map(_dataset, value.datasets)))
    message.schema_fields.extend(room.fill(map(_schema_field, value.schema_fields)))
    ancestors = (
        pb.SharedAncestor(digest=each.digest, uri=each.uri, descendants=each.descendants)
        for each in value.shared_ancestors
    )
    message.shared_ancestors.extend(room.fill(ancestors))
    message.files.extend(room.fill(map(_file, value.files.files)))
    message.omitted.CopyFrom(
        pb.OmittedEntries(
            metrics=len(value.metrics) - len(message.metrics),
            parameters=len(value.parameters) - len(message.parameters),
            files=value.files.count - len(message.files),
            schema_fields=len(value.schema_fields) - len(message.schema_fields),
            datasets=len(value.datasets) - len(message.datasets),
            shared_ancestors=len(value.shared_ancestors) - len(message.shared_ancestors),
        )
    )
    return message


def _version(value: Version) -> version_pb2.Version:
    """Write what a comparison does not have elsewhere."""
    content = Content(source=value.content.source, framework=value.content.framework)
    return convert.version(replace(value, content=content))


def _metric(value: MetricComparison) -> pb.MetricComparison:
    return pb.MetricComparison(
        name=value.name,
        dataset=value.dataset,
        slice=value.slice,
        evaluated=value.evaluated,
        direction=DIRECTIONS.number(value.direction),
        values=[
            pb.MeasuredValue(value=each, best=best)
            for each, best in zip(value.values, value.best, strict=True)
        ],
        dataset_mismatch=value.dataset_mismatch,
    )


def _parameter(value: ParameterComparison) -> pb.ParameterComparison:
    values = [
        convert_content.parameter_message(replace(each, name="")) if each else content_pb2.Parameter()
        for each in value.parameters
    ]
    return pb.ParameterComparison(name=value.name, values=values)


def _file(value: FileComparison) -> pb.FileComparison:
    files = [
        convert_content.file_message(replace(each, path="")) if each else content_pb2.File()
        for each in value.files
    ]
    return pb.FileComparison(path=value.path, files=files, change=FILE_CHANGES.number(value.change))


def _file_totals(value: FileTotals) -> pb.FileTotals:
    return pb.FileTotals(
        added_count=value.added_count,
        added_bytes=value.added_bytes,
        removed_count=value.removed_count,
        removed_bytes=value.removed_bytes,
        changed_count=value.changed_count,
        changed_bytes=value.changed_bytes,
    )


def _schema_field(value: SchemaFieldComparison) -> pb.SchemaFieldComparison:
    fields = [
        convert_content.schema_field_message(replace(each, name="")) if each else content_pb2.SchemaField()
        for each in value.fields
    ]
    return pb.SchemaFieldComparison(output=value.output, name=value.name, fields=fields)


def _dataset(value: DatasetComparison) -> pb.DatasetComparison:
    datasets = [
        convert_content.dataset_message(replace(each, role="")) if each else content_pb2.Dataset()
        for each in value.datasets
    ]
    return pb.DatasetComparison(role=value.role, name=value.name, datasets=datasets)
