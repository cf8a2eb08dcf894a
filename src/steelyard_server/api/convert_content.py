"""The content of a version: messages to values and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import content_pb2 as pb
from steelyard_server.api.enums import RELATIONS, ROLES
from steelyard_server.core.content import (
    Content,
    Dataset,
    File,
    Framework,
    Metric,
    Parameter,
    Parent,
    Schema,
    SchemaField,
    Source,
)
from steelyard_server.core.names import quoted
from steelyard_server.errors import OneofRequired

if TYPE_CHECKING:
    from collections.abc import Iterable

PARAMETER_TYPES = "text, integer, real, boolean"


def from_message(message: pb.Content) -> Content:
    """Read content as a client sent it, unchecked but for enums and choices.

    Raises:
        EnumInvalid: a relation is unspecified or unknown, or a role unknown.
        OneofRequired: a parameter has no value.
    """
    return Content(
        files=tuple(file(each, field=f"content.files[{index}]") for index, each in enumerate(message.files)),
        parameters=tuple(_parameter(each) for each in message.parameters),
        metrics=metrics(message.metrics),
        datasets=datasets(message.datasets),
        source=_source(message.source) if message.HasField("source") else None,
        parents=tuple(_parent(parent, index=index) for index, parent in enumerate(message.parents)),
        framework=_framework(message.framework) if message.HasField("framework") else None,
        schema=_schema(message.schema) if message.HasField("schema") else None,
    )


def to_message(content: Content) -> pb.Content:
    """Write content as an answer has it."""
    return pb.Content(
        files=[file_message(each) for each in content.files],
        parameters=[parameter_message(each) for each in content.parameters],
        metrics=[metric_message(each) for each in content.metrics],
        datasets=[dataset_message(each) for each in content.datasets],
        source=_source_message(content.source) if content.source else None,
        parents=[
            pb.Parent(relation=RELATIONS.number(each.relation), digest=each.digest, uri=each.uri)
            for each in content.parents
        ],
        framework=_framework_message(content.framework) if content.framework else None,
        schema=_schema_message(content.schema) if content.schema else None,
    )


def file(message: pb.File, *, field: str) -> File:
    """Read one file, which stands in the request at *field*.

    Raises:
        EnumInvalid: its role is unknown.
    """
    role = ROLES.word(message.role, field=f"{field}.role")
    return File(message.path, message.digest, message.size_bytes, role=role, uri=message.uri)


def file_message(file: File) -> pb.File:
    """Write one file."""
    role = ROLES.number(file.role)
    return pb.File(path=file.path, digest=file.digest, size_bytes=file.size_bytes, role=role, uri=file.uri)


def metrics(messages: Iterable[pb.Metric]) -> tuple[Metric, ...]:
    """Read metrics."""
    return tuple(Metric(each.name, each.dataset, each.slice, each.value) for each in messages)


def metric_message(metric: Metric) -> pb.Metric:
    """Write one metric."""
    return pb.Metric(name=metric.name, dataset=metric.dataset, slice=metric.slice, value=metric.value)


def datasets(messages: Iterable[pb.Dataset]) -> tuple[Dataset, ...]:
    """Read datasets."""
    return tuple(
        Dataset(each.name, version=each.version, uri=each.uri, digest=each.digest, role=each.role)
        for each in messages
    )


def dataset_message(dataset: Dataset) -> pb.Dataset:
    """Write one dataset."""
    return pb.Dataset(
        name=dataset.name,
        version=dataset.version,
        uri=dataset.uri,
        digest=dataset.digest,
        role=dataset.role,
    )


def parameter_message(parameter: Parameter) -> pb.Parameter:
    """Write one parameter in the type that it has."""
    match parameter.value:
        case bool():
            return pb.Parameter(name=parameter.name, boolean=parameter.value)
        case int():
            return pb.Parameter(name=parameter.name, integer=parameter.value)
        case float():
            return pb.Parameter(name=parameter.name, real=parameter.value)
        case str():
            return pb.Parameter(name=parameter.name, text=parameter.value)


def schema_field_message(field: SchemaField) -> pb.SchemaField:
    """Write one input or output."""
    return pb.SchemaField(name=field.name, type=field.type, shape=field.shape, optional=field.optional)


def _parameter(message: pb.Parameter) -> Parameter:
    kind = message.WhichOneof("value")
    if kind is None:
        text = f"The parameter {quoted(message.name)} has no value; set one of {PARAMETER_TYPES}."
        raise OneofRequired(text, field="content.parameters.value", allowed=PARAMETER_TYPES)
    return Parameter(message.name, getattr(message, kind))


def _source(message: pb.Source) -> Source:
    return Source(
        repository=message.repository,
        commit=message.commit,
        dirty=message.dirty if message.HasField("dirty") else None,
        run=message.run,
        pipeline=message.pipeline,
        user=message.user,
    )


def _source_message(source: Source) -> pb.Source:
    message = pb.Source(
        repository=source.repository,
        commit=source.commit,
        run=source.run,
        pipeline=source.pipeline,
        user=source.user,
    )
    if source.dirty is not None:
        message.dirty = source.dirty
    return message


def _parent(message: pb.Parent, *, index: int) -> Parent:
    relation = RELATIONS.word(message.relation, field=f"content.parents[{index}].relation")
    return Parent(relation, digest=message.digest, uri=message.uri)


def _framework(message: pb.Framework) -> Framework:
    return Framework(message.name, version=message.version)


def _framework_message(framework: Framework) -> pb.Framework:
    return pb.Framework(name=framework.name, version=framework.version)


def _schema(message: pb.Schema) -> Schema:
    return Schema(inputs=_fields(message.inputs), outputs=_fields(message.outputs))


def _fields(messages: Iterable[pb.SchemaField]) -> tuple[SchemaField, ...]:
    return tuple(
        SchemaField(each.name, each.type, shape=tuple(each.shape), optional=each.optional)
        for each in messages
    )


def _schema_message(schema: Schema) -> pb.Schema:
    return pb.Schema(
        inputs=[schema_field_message(each) for each in schema.inputs],
        outputs=[schema_field_message(each) for each in schema.outputs],
    )
