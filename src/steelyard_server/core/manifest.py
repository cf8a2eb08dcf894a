"""The manifest: canonical JSON of a version's content, whose sha256 is the version's digest.

Empty members are left out. Files are sorted by path, parameters by name, metrics by name, dataset
and slice; datasets, parents and schema fields keep their order. An int64 is a decimal string, a
double the text of :func:`steelyard_server.history.canonical.double`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from steelyard_server.core import names
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
    check,
)
from steelyard_server.history import canonical
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from steelyard_server.history.canonical import Json

FORMAT = "1"
# What lists of versions show; parameters and schema are the rest.
SUMMARY = ("metrics", "datasets", "source", "parents", "framework")
DETAILS = ("parameters", "schema")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Content that was checked, with its canonical bytes.

    Args:
        content: with files sorted by path, parameters by name, metrics by name, dataset and slice.
        encoded: the manifest.
        digest: of the manifest, and so of the version.
        summary: canonical JSON of what lists show.
        details: canonical JSON of parameters and schema.
    """

    content: Content
    encoded: bytes
    digest: str
    summary: str
    details: str

    @property
    def size_bytes(self) -> int:
        """Sum the sizes of all files, external references included."""
        return sum(file.size_bytes for file in self.content.files)


def build(content: Content) -> Manifest:
    """Check *content* and write its manifest.

    Raises:
        InvalidArgument: a rule of ``content.check`` is broken, or it is too large in sum.
    """
    check(content)
    content = Content(
        files=tuple(sorted(content.files, key=lambda file: file.path)),
        parameters=tuple(sorted(content.parameters, key=lambda parameter: parameter.name)),
        metrics=tuple(
            sorted(content.metrics, key=lambda metric: (metric.name, metric.dataset, metric.slice))
        ),
        datasets=content.datasets,
        source=content.source,
        parents=content.parents,
        framework=content.framework,
        schema=content.schema,
    )
    members = {name: canonical.text(member) for name, member in _members(content).items()}
    summary = _joined({name: members[name] for name in SUMMARY if name in members})
    details = _joined({name: members[name] for name in DETAILS if name in members})
    names.at_most(
        len(summary.encode()) + len(details.encode()),
        LIMITS.content_bytes,
        field="content",
        unit="bytes without files",
    )
    encoded = _joined({"format": canonical.text(FORMAT), **members}).encode()
    names.at_most(len(encoded), LIMITS.manifest_bytes, field="content", unit="bytes")
    return Manifest(
        content=content,
        encoded=encoded,
        digest=canonical.digest(encoded),
        summary=summary,
        details=details,
    )


def parse(*texts: str, files: tuple[File, ...] = ()) -> Content:
    """Read content back from the JSON texts that together hold its members."""
    members: dict[str, Any] = {}
    for text in texts:
        members |= orjson.loads(text)
    source = members.get("source")
    framework = members.get("framework")
    schema = members.get("schema")
    return Content(
        files=files,
        parameters=tuple(_parameter(each) for each in members.get("parameters", ())),
        metrics=parse_metrics(members.get("metrics", ())),
        datasets=parse_datasets(members.get("datasets", ())),
        source=Source(**source) if source else None,
        parents=parse_parents(members.get("parents", ())),
        framework=Framework(**framework) if framework else None,
        schema=_schema(schema) if schema else None,
    )


def file_json(file: File) -> dict[str, Json]:
    """Write a file as a manifest has it."""
    return _texts(file, "path", "digest", "role", "uri") | {"size_bytes": str(file.size_bytes)}


def metrics_json(metrics: Iterable[Metric]) -> list[dict[str, Json]]:
    """Write metrics as a manifest has them."""
    return [
        _texts(each, "name", "dataset", "slice") | {"value": canonical.double(each.value)} for each in metrics
    ]


def datasets_json(datasets: Iterable[Dataset]) -> list[dict[str, Json]]:
    """Write datasets as a manifest has them."""
    return [_texts(each, "name", "version", "uri", "digest", "role") for each in datasets]


def parse_metrics(members: Iterable[Mapping[str, str]]) -> tuple[Metric, ...]:
    """Read metrics from parsed JSON."""
    return tuple(
        Metric(each["name"], each.get("dataset", ""), each.get("slice", ""), float(each["value"]))
        for each in members
    )


def parse_datasets(members: Iterable[Mapping[str, str]]) -> tuple[Dataset, ...]:
    """Read datasets from parsed JSON."""
    return tuple(Dataset(**each) for each in members)


def parse_parents(members: Iterable[Mapping[str, str]]) -> tuple[Parent, ...]:
    """Read parents from parsed JSON."""
    return tuple(Parent(**each) for each in members)


def _joined(texts: dict[str, str]) -> str:
    """Write a canonical object whose members are canonical texts already."""
    return "{" + ",".join(f'"{name}":{texts[name]}' for name in sorted(texts)) + "}"


def _members(content: Content) -> dict[str, Json]:
    members: dict[str, Json] = {
        "files": [file_json(file) for file in content.files],
        "parameters": [_parameter_json(parameter) for parameter in content.parameters],
        "metrics": metrics_json(content.metrics),
        "datasets": datasets_json(content.datasets),
        "parents": [_texts(each, "relation", "digest", "uri") for each in content.parents],
    }
    if content.source is not None:
        source = _texts(content.source, "repository", "commit", "run", "pipeline", "user")
        dirty: dict[str, Json] = {} if content.source.dirty is None else {"dirty": content.source.dirty}
        members["source"] = source | dirty
    if content.framework is not None:
        members["framework"] = _texts(content.framework, "name", "version")
    if content.schema is not None:
        sides = {"inputs": content.schema.inputs, "outputs": content.schema.outputs}
        members["schema"] = {
            side: [_field_json(each) for each in fields] for side, fields in sides.items() if fields
        }
    return {name: member for name, member in members.items() if member}


def _texts(value: object, *members: str) -> dict[str, Json]:
    return {member: text for member in members if (text := getattr(value, member))}


def _parameter_json(parameter: Parameter) -> dict[str, Json]:
    match parameter.value:
        case bool():
            return {"name": parameter.name, "boolean": parameter.value}
        case int():
            return {"name": parameter.name, "integer": str(parameter.value)}
        case float():
            return {"name": parameter.name, "real": canonical.double(parameter.value)}
        case str():
            return {"name": parameter.name, "text": parameter.value}


def _parameter(member: dict[str, Any]) -> Parameter:
    name = member["name"]
    if "integer" in member:
        return Parameter(name, int(member["integer"]))
    if "real" in member:
        return Parameter(name, float(member["real"]))
    return Parameter(name, member["boolean"] if "boolean" in member else member["text"])


def _field_json(each: SchemaField) -> dict[str, Json]:
    entry = _texts(each, "name", "type")
    if each.shape:
        entry["shape"] = [str(dimension) for dimension in each.shape]
    return entry | ({"optional": True} if each.optional else {})


def _schema(member: dict[str, Any]) -> Schema:
    return Schema(
        inputs=tuple(_field(each) for each in member.get("inputs", ())),
        outputs=tuple(_field(each) for each in member.get("outputs", ())),
    )


def _field(member: dict[str, Any]) -> SchemaField:
    shape = tuple(int(dimension) for dimension in member.get("shape", ()))
    return SchemaField(member["name"], member["type"], shape=shape, optional=member.get("optional", False))
