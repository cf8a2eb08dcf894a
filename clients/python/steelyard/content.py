"""What a version is made of, as callers state it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard import metric_keys
from steelyard.errors import FileUnreadable, InvalidArgument
from steelyard.v1 import content_pb2

if TYPE_CHECKING:
    from steelyard.scan import LocalFile

ParameterValue = str | int | float | bool

UNKNOWN_DIGEST = "sha256:" + 64 * "0"
_RELATION = "PARENT_RELATION_"
_ROLE = "FILE_ROLE_"
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

        A directory's digest is the sha256 of the lines ``<sha256 of file>  <relative path>``, sorted by path,
        as ``sha256sum`` prints them. The path itself is not kept: it means nothing on another machine.

        Raises:
            FileUnreadable: it cannot be read.
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
        name = content_pb2.ParentRelation.Name(message.relation).removeprefix(_RELATION)
        return cls(name.lower().replace("_", "-"), message.digest, message.uri)


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


def build(
    *,
    parameters: Mapping[str, ParameterValue],
    metrics: Mapping[str, float],
    datasets: Iterable[Dataset],
    parents: Iterable[Parent],
    source: Source | None,
    framework: Framework | None,
    schema: Schema | None,
) -> content_pb2.Content:
    """Return the content of a version, without files yet.

    Raises:
        InvalidArgument: a value cannot be sent; what can is checked by the server.
    """
    return content_pb2.Content(
        parameters=[_parameter(name, value) for name, value in parameters.items()],
        metrics=metric_messages(metrics),
        datasets=dataset_messages(datasets),
        parents=[_parent(each) for each in parents],
        source=content_pb2.Source(**_stated(source)) if source else None,
        framework=content_pb2.Framework(**_stated(framework)) if framework else None,
        schema=_schema(schema) if schema else None,
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
            role=file_role(file.role),
        )


def reference_file(reference: Reference) -> content_pb2.File:
    """Return the file of an external reference."""
    return content_pb2.File(
        path=reference.path,
        uri=reference.uri,
        size_bytes=reference.size_bytes,
        digest=reference.digest,
        role=file_role(reference.role),
    )


def file_role(word: str) -> content_pb2.FileRole.ValueType:
    """Return the role that *word* names.

    Raises:
        InvalidArgument: there is no such role.
    """
    return content_pb2.FileRole.Value(_enum_name(word, content_pb2.FileRole.keys(), prefix=_ROLE))


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
    name = _enum_name(parent.relation, content_pb2.ParentRelation.keys(), prefix=_RELATION)
    relation = content_pb2.ParentRelation.Value(name)
    return content_pb2.Parent(relation=relation, digest=parent.digest, uri=parent.uri)


def _schema(schema: Schema) -> content_pb2.Schema:
    def fields(side: Iterable[SchemaField]) -> list[content_pb2.SchemaField]:
        return [
            content_pb2.SchemaField(name=each.name, type=each.type, shape=each.shape, optional=each.optional)
            for each in side
        ]

    return content_pb2.Schema(inputs=fields(schema.inputs), outputs=fields(schema.outputs))


def _enum_name(word: str, names: Iterable[str], *, prefix: str) -> str:
    words = {each.removeprefix(prefix).lower().replace("_", "-"): each for each in names}
    words.pop("unspecified")
    if word not in words:
        raise InvalidArgument(f"{word!r} is none of: {', '.join(words)}.")
    return words[word]


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _directory_digest(directory: Path) -> str:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    lines = [f"{_file_digest(path)}  {path.relative_to(directory).as_posix()}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
