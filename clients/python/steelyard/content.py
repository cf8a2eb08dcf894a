"""What a version is made of, as callers state it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard import enums, metric_keys
from steelyard.errors import FileUnreadable, InvalidArgument
from steelyard.v1 import content_pb2
from steelyard.walk import regular, walk

if TYPE_CHECKING:
    from steelyard.scan import LocalFile

ParameterValue = str | int | float | bool

UNKNOWN_DIGEST = "sha256:" + 64 * "0"
_INT64 = range(-(2**63), 2**63)


def checked_labels(given: Mapping[Any, Any] | None) -> dict[str, str]:
    """Return labels as requests have them.

    Raises:
        InvalidArgument: a key or a value is no text.
    """
    for key, value in (given or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidArgument(f"The label {key!r} is {value!r}; keys and values are text.")
    return dict(given or {})


def checked_number(given: object, *, name: str) -> int:
    """Return a whole number as requests have them.

    Raises:
        InvalidArgument: it is none, or has more than 64 bits.
    """
    if not isinstance(given, int) or given not in _INT64:
        raise InvalidArgument(f"{name} is {given!r}; it must be a whole number of at most 64 bits.")
    return given


def require_several(given: object, *, name: str) -> None:
    """Refuse a text where several are wanted: its letters would be taken for them.

    Raises:
        InvalidArgument: *given* is one text.
    """
    if isinstance(given, str | bytes):
        raise InvalidArgument(f"{name} is the text {given!r}; for one alone write [{given!r}].")


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a version was trained or measured on; metrics refer to its name.

    Args:
        role: `train`, `validation`, `test`, `holdout` or a word of your own.
        digest: `sha256:…` of its bytes, when known.
        version: in its own system.
    """

    name: str
    role: str = ""
    uri: str = ""
    digest: str = ""
    version: str = ""

    @classmethod
    def from_path(cls, path: str | Path, *, role: str = "", name: str = "") -> Dataset:
        """Name a dataset by the bytes at *path*; the digest of a directory covers all names and bytes in it.

        A directory's digest is the sha256 of the lines ``<sha256 of file>  <relative path>``, as
        ``sha256sum`` prints them, in the order of the paths as text with ``/`` between their parts. The
        path itself is not kept: it means nothing on another machine.

        Raises:
            FileUnreadable: something of it cannot be read.
            SymlinkRefused: there is a symbolic link in the directory.
        """
        path = Path(path)
        try:
            digest = _directory_digest(path) if path.is_dir() else _file_digest(path)
        except OSError as error:
            raise FileUnreadable(f"The dataset {path} cannot be read: {error.strerror}.") from None
        return cls(name or role or path.name, role=role, digest=f"sha256:{digest}")

    @classmethod
    def of(cls, message: content_pb2.Dataset) -> Dataset:
        """Read the dataset of a version."""
        return cls(message.name, message.role, message.uri, message.digest, message.version)


@dataclass(frozen=True, slots=True)
class Parent:
    """What a version was made from.

    Args:
        relation: `fine-tuned-from`, `distilled-from`, `quantized-from`, `retrained-from`, `merged-from`,
            `converted-from`, `adapter-of` or `derived-from`.
        digest: of the parent version; it need not be in this registry.
        uri: where it was found, for people; needed when there is no digest.
    """

    relation: str
    digest: str = ""
    uri: str = ""

    @classmethod
    def of(cls, message: content_pb2.Parent) -> Parent:
        """Read the parent of a version."""
        return cls(enums.word(content_pb2.ParentRelation, message.relation), message.digest, message.uri)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a version comes from; `dirty` says that the tree had changes that the commit does not have."""

    repository: str = ""
    commit: str = ""
    dirty: bool | None = None
    run: str = ""
    pipeline: str = ""
    user: str = ""

    @classmethod
    def of(cls, message: content_pb2.Source) -> Source:
        """Read the source of a version."""
        dirty = message.dirty if message.HasField("dirty") else None
        return cls(message.repository, message.commit, dirty, message.run, message.pipeline, message.user)


@dataclass(frozen=True, slots=True)
class Framework:
    """What loads a version, for example `onnx` 1.19."""

    name: str
    version: str = ""

    @classmethod
    def of(cls, message: content_pb2.Framework) -> Framework:
        """Read the framework of a version."""
        return cls(message.name, message.version)


@dataclass(frozen=True, slots=True)
class SchemaField:
    """One input or output; -1 in `shape` stands for any size, no shape for a scalar or column."""

    name: str
    type: str
    shape: tuple[int, ...] = ()
    optional: bool = False

    @classmethod
    def of(cls, message: content_pb2.SchemaField) -> SchemaField:
        """Read the field of a schema."""
        return cls(message.name, message.type, tuple(message.shape), message.optional)


@dataclass(frozen=True, slots=True)
class Schema:
    """What goes into a model and comes out of it."""

    inputs: tuple[SchemaField, ...] = ()
    outputs: tuple[SchemaField, ...] = ()

    @classmethod
    def of(cls, message: content_pb2.Schema) -> Schema:
        """Read the schema of a version."""
        return cls(tuple(map(SchemaField.of, message.inputs)), tuple(map(SchemaField.of, message.outputs)))


@dataclass(frozen=True, slots=True)
class Reference:
    """A file that stays where it is; the server never fetches it and pull skips it by name.

    Args:
        path: in the version.
        uri: address of the bytes.
        digest: `sha256:…` of the bytes, when known.
    """

    path: str
    uri: str
    size_bytes: int = 0
    digest: str = ""
    role: str = "other"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a version is made of beside the files that the registry keeps."""

    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    datasets: tuple[Dataset, ...] = ()
    parents: tuple[Parent, ...] = ()
    source: Source | None = None
    framework: Framework | None = None
    schema: Schema | None = None
    references: tuple[Reference, ...] = ()


def build(parts: Parts) -> content_pb2.Content:
    """Return the content of a version, of its files only the external references.

    Raises:
        InvalidArgument: a value cannot be sent; what can is checked by the server.
    """
    return content_pb2.Content(
        files=[_reference_file(each) for each in parts.references],
        parameters=[_parameter(name, value) for name, value in parts.parameters.items()],
        metrics=metric_messages(parts.metrics),
        datasets=dataset_messages(parts.datasets),
        parents=[_parent(each) for each in parts.parents],
        source=content_pb2.Source(**_stated(parts.source)) if parts.source else None,
        framework=content_pb2.Framework(**_stated(parts.framework)) if parts.framework else None,
        schema=_schema(parts.schema) if parts.schema else None,
    )


def metric_messages(metrics: Mapping[str, float]) -> list[content_pb2.Metric]:
    """Return metrics, which are named by their text, as requests have them.

    Raises:
        InvalidArgument: a text names no metric, or a value is no number.
    """
    return [_metric(key, value) for key, value in metrics.items()]


def dataset_messages(datasets: Iterable[Dataset]) -> list[content_pb2.Dataset]:
    """Return datasets as requests have them."""
    return [content_pb2.Dataset(**_stated(each)) for each in datasets]


def stored_files(files: Iterable[LocalFile], *, digests: Mapping[str, str]) -> Iterator[content_pb2.File]:
    """Yield files that the registry keeps; those whose digest is not known get one that no bytes have."""
    for file in files:
        yield content_pb2.File(
            path=file.path,
            digest=digests.get(file.path, UNKNOWN_DIGEST),
            size_bytes=file.size_bytes,
            role=enums.number(content_pb2.FileRole, file.role),
        )


def _reference_file(reference: Reference) -> content_pb2.File:
    """Return the file of an external reference."""
    return content_pb2.File(
        path=reference.path,
        uri=reference.uri,
        size_bytes=reference.size_bytes,
        digest=reference.digest,
        role=enums.number(content_pb2.FileRole, reference.role),
    )


def _stated(value: Dataset | Source | Framework) -> dict[str, Any]:
    """Return the fields of *value* that were given, by the names that they have on the wire."""
    return {name: stated for name, stated in asdict(value).items() if stated not in {None, ""}}


def _parameter(name: str, value: ParameterValue) -> content_pb2.Parameter:
    match value:
        case bool():
            return content_pb2.Parameter(name=name, boolean=value)
        case int() if value in _INT64:
            return content_pb2.Parameter(name=name, integer=value)
        case int():
            raise InvalidArgument(
                f"The parameter {name} is {value}; whole numbers have 64 bits. Pass it as text."
            )
        case float():
            return content_pb2.Parameter(name=name, real=value)
        case str():
            return content_pb2.Parameter(name=name, text=value)
    kind = type(value).__name__
    raise InvalidArgument(f"The parameter {name} is a {kind}; use text, a number or a truth value.")


def _metric(key: str, value: float) -> content_pb2.Metric:
    name, dataset, slice_ = metric_keys.parse(key)
    try:
        return content_pb2.Metric(name=name, dataset=dataset, slice=slice_, value=float(value))
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgument(f"The metric {key} is {value!r}, which is no number of 64 bits.") from None


def _parent(parent: Parent) -> content_pb2.Parent:
    relation = enums.number(content_pb2.ParentRelation, parent.relation)
    return content_pb2.Parent(relation=relation, digest=parent.digest, uri=parent.uri)


def _schema(schema: Schema) -> content_pb2.Schema:
    def fields(side: Iterable[SchemaField]) -> list[content_pb2.SchemaField]:
        return [
            content_pb2.SchemaField(name=each.name, type=each.type, shape=each.shape, optional=each.optional)
            for each in side
        ]

    return content_pb2.Schema(inputs=fields(schema.inputs), outputs=fields(schema.outputs))


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _directory_digest(directory: Path) -> str:
    lines = []
    for path, source in sorted(walk(directory)):
        regular(source, path=path, otherwise="take it out of the dataset")
        lines.append(f"{_file_digest(source)}  {path}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()
