"""Framework, schema and facts that files of weights say of themselves; files that run code are not opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from steelyard.capture import gguf, onnx, safetensors
from steelyard.capture.reader import Budget, Header, HeaderUnreadable, Reader
from steelyard.content import Framework, ParameterValue, Schema

if TYPE_CHECKING:
    from steelyard.scan import LocalFile

FILES_MAXIMUM = 100
_WEIGHTS = "weights"
_BLOCK_BYTES = 1024

Note = Callable[[str], None]


class Format(NamedTuple):
    """How files of one format are read: by what, and how much at once."""

    read: Callable[[Reader], Header]
    block_bytes: int = _BLOCK_BYTES


FORMATS = {
    ".onnx": Format(onnx.read),
    ".safetensors": Format(safetensors.read),
    ".gguf": Format(gguf.read, gguf.BLOCK_BYTES),
}


def read(files: Iterable[LocalFile], *, note: Note) -> list[Header]:
    """Read the headers of all files of weights whose format has one.

    Args:
        note: is told which file cannot be read.
    """
    known = [file for file in files if file.role == _WEIGHTS and _ending(file) in FORMATS]
    if len(known) > FILES_MAXIMUM:
        note(f"headers: there are {len(known):,} files of weights; only {FILES_MAXIMUM} are read")
    budget = Budget()
    found = (_header(file, budget=budget, note=note) for file in known[:FILES_MAXIMUM])
    return [header for header in found if header is not None]


def framework(headers: Iterable[Header], *, note: Note) -> Framework | None:
    """Return the framework that all name; *note* is told when they differ."""
    names = sorted({header.framework for header in headers})
    if len(names) > 1:
        note(f"framework: there are files of {', '.join(names)}; state which one loads the version")
    return Framework(names[0]) if len(names) == 1 else None


def schema(headers: Iterable[Header], *, note: Note) -> Schema | None:
    """Return the schema of the only file that has one; *note* is told when several have."""
    schemas = [header.schema for header in headers if header.schema is not None]
    if len(schemas) > 1:
        note(f"schema: {len(schemas)} files have one; state which one is that of the version")
    return schemas[0] if len(schemas) == 1 else None


def facts(headers: Iterable[Header]) -> dict[str, ParameterValue]:
    """Join what the headers say beside: one value as it is, different ones as a text of all."""
    values: dict[str, set[str | int]] = {}
    for header in headers:
        for name, some in header.facts.items():
            values.setdefault(name, set()).update(some)
    return {
        name: next(iter(some)) if len(some) == 1 else ", ".join(sorted(map(str, some)))
        for name, some in values.items()
        if some
    }


def _header(file: LocalFile, *, budget: Budget, note: Note) -> Header | None:
    known = FORMATS[_ending(file)]
    try:
        with file.source.open("rb", buffering=0) as stream:
            reader = Reader(stream, size_bytes=file.size_bytes, budget=budget, block_bytes=known.block_bytes)
            return known.read(reader)
    except HeaderUnreadable as error:
        note(f"header of {file.path}: {error}")
    except OSError as error:
        note(f"header of {file.path}: {error.strerror}")
    return None


def _ending(file: LocalFile) -> str:
    return PurePosixPath(file.path).suffix.lower()
