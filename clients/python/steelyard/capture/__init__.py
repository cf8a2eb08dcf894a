"""What a push records by itself beside the files: commit, packages, run, and what headers of weights say.

What the caller states counts, value by value; only what is not stated is taken. All of it becomes content
of the version, so a push from another commit, environment or run makes another version.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from steelyard.capture import bounds, environment, git, headers, orchestrators
from steelyard.capture.reader import Header
from steelyard.content import Framework, ParameterValue, Parts, Schema, Source
from steelyard.scan import LocalFile, local_file

Part = TypeVar("Part")
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LockFile:
    """The packages of a Python environment, as a file of the version.

    Args:
        python: implementation and version, for example `CPython 3.11.7`.
    """

    file: LocalFile
    python: str
    packages_count: int


@dataclass(frozen=True, slots=True)
class Capture:
    """What was taken; empty where the caller stated it, or nothing was found.

    Args:
        parameters: facts of headers, for example `onnx.opset`.
        notes: what was not taken although it is there, and why.
    """

    source: Source | None = None
    framework: Framework | None = None
    schema: Schema | None = None
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    lock: LockFile | None = None
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[LocalFile, ...]:
        """What is pushed beside the caller's files."""
        return (self.lock.file,) if self.lock else ()

    def complete(self, stated: Parts) -> Parts:
        """Return *stated* with what was taken."""
        return replace(
            stated,
            source=_joined(stated.source, self.source),
            framework=stated.framework or self.framework,
            schema=stated.schema or self.schema,
            parameters={**self.parameters, **stated.parameters},
        )


@contextmanager
def capturing(
    path: Path,
    files: tuple[LocalFile, ...],
    *,
    stated: Parts,
    wanted: bool = True,
    prefix: str | Path | None = None,
) -> Iterator[Capture]:
    """Take what *stated* leaves open; the lock file lies in a directory that goes when the block ends.

    Nothing that goes wrong here is an error of the push: it is among the notes.

    Args:
        path: what is pushed.
        files: what was found there.
        wanted: False takes nothing.
        prefix: of the environment whose packages are listed, by default that of this process.
    """
    if not wanted:
        yield Capture()
        return
    notes: list[str] = []
    with ExitStack() as stack:
        taken = _take(path, files, stated=stated, note=notes.append)
        lock = _guarded(
            lambda: _lock(files, stated=stated, prefix=prefix, stack=stack, note=notes.append),
            instead=None,
            what="packages",
            note=notes.append,
        )
        yield replace(taken, lock=lock, notes=tuple(notes))


def _take(path: Path, files: tuple[LocalFile, ...], *, stated: Parts, note: Note) -> Capture:
    commit = _guarded(lambda: git.source(path, note=note), instead=Source(), what="git commit", note=note)
    run = orchestrators.source(os.environ)
    found: list[Header] = []
    found = _guarded(lambda: headers.read(files, note=note), instead=found, what="headers", note=note)
    schema = None if stated.schema else headers.schema(found, note=note)
    if schema and not bounds.is_schema(schema):
        note("schema: it is too large, or has names that cannot be kept")
        schema = None
    return Capture(
        source=_unstated(stated.source, replace(commit, run=run.run, pipeline=run.pipeline), note=note),
        framework=None if stated.framework else headers.framework(found, note=note),
        schema=schema,
        parameters=_facts(headers.facts(found), stated=stated, note=note),
    )


def _lock(
    files: tuple[LocalFile, ...],
    *,
    stated: Parts,
    prefix: str | Path | None,
    stack: ExitStack,
    note: Note,
) -> LockFile | None:
    if why := _lock_refused(files, stated=stated):
        note(f"packages: {why}")
        return None
    found = environment.lock(None if prefix is None else Path(prefix), note=note)
    if found is None:
        return None
    directory = TemporaryDirectory(prefix="steelyard-", ignore_cleanup_errors=True)
    written = Path(stack.enter_context(directory)) / environment.LOCK_PATH
    written.write_bytes(found.text.encode())
    file = local_file(environment.LOCK_PATH, source=written, role="lock")
    return LockFile(file, found.python, found.packages_count)


def _lock_refused(files: tuple[LocalFile, ...], *, stated: Parts) -> str:
    paths = [file.path.casefold() for file in files] + [each.path.casefold() for each in stated.references]
    if any(path == environment.LOCK_PATH or path.startswith(f"{environment.LOCK_PATH}/") for path in paths):
        return f"there is a {environment.LOCK_PATH} among the files, and it is kept as it is"
    is_full = len(paths) >= bounds.limit("files_count")
    return "there are as many files as a version may have" if is_full else ""


def _unstated(stated: Source | None, found: Source, *, note: Note) -> Source | None:
    """Return what is found and not stated; another commit than the stated one says nothing about it."""
    stated = stated or Source()
    if not found.commit.startswith(stated.commit):
        found = replace(found, repository="", commit="", dirty=None)
    kept: dict[str, str | bool] = {}
    for each in fields(Source):
        value = getattr(found, each.name)
        if isinstance(value, str) and not bounds.is_text(value):
            note(f"{each.name}: it is too long, or has characters that cannot be kept")
        elif value not in ("", None) and getattr(stated, each.name) in ("", None):
            kept[each.name] = value
    return Source(**kept) if kept else None  # type: ignore[arg-type]  # by the names of its own fields


def _facts(found: dict[str, ParameterValue], *, stated: Parts, note: Note) -> dict[str, ParameterValue]:
    unstated = {name: value for name, value in found.items() if name not in stated.parameters}
    kept = {name: value for name, value in unstated.items() if bounds.is_parameter(value)}
    for name in sorted(unstated.keys() - kept.keys()):
        note(f"{name}: it is too large, or has characters that cannot be kept")
    if len(kept) + len(stated.parameters) > bounds.limit("parameters_count"):
        note("headers: there are as many parameters as a version may have")
        return {}
    return kept


def _joined(stated: Source | None, taken: Source | None) -> Source | None:
    if stated is None or taken is None:
        return stated or taken
    pairs = {each.name: (getattr(stated, each.name), getattr(taken, each.name)) for each in fields(Source)}
    return Source(**{name: theirs if mine in ("", None) else mine for name, (mine, theirs) in pairs.items()})


def _guarded(take: Callable[[], Part], *, instead: Part, what: str, note: Note) -> Part:
    try:
        return take()
    except Exception as error:  # noqa: BLE001  a push does not fail for what it records beside
        note(f"{what}: {type(error).__name__}: {error}")
        return instead
