"""``Client.export_bundle``: versions with all that belongs to them go into one file."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from steelyard import types
from steelyard.bundle import archive, records
from steelyard.bundle.records import About, EventRecord, VersionRecord
from steelyard.bundle.selection import Selection, select
from steelyard.download import Download, corrupt
from steelyard.errors import DestinationExists, DownloadCorrupt, LocalFileError
from steelyard.pull import BATCH_FILES, SMALL_BYTES

if TYPE_CHECKING:
    from steelyard.client import Client
    from steelyard.progress import Meter
    from steelyard.transfer import Transfer
    from steelyard.types import Event, File, Version
    from steelyard.v1 import content_pb2, evaluation_pb2, version_pb2

# Versions that are asked for at once; a manifest may have 3 MiB.
PORTION_VERSIONS = 32
THREADS = 4


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote.

    Args:
        deleted_count: versions of whole models that were left out because they are deleted.
        revoked_count: those that were left out because they were revoked, so that nothing is read of them.
        external_count: files that stay at their own address.
    """

    path: Path
    version_count: int
    evaluation_count: int
    event_count: int
    blob_count: int
    size_bytes: int
    deleted_count: int
    revoked_count: int
    external_count: int


@dataclass(slots=True)
class _Wanted:
    """Bytes to bring: a file of a version, or the report of an evaluation."""

    file: File
    place: version_pb2.Version | evaluation_pb2.Evaluation
    evaluation: str = ""


@dataclass(slots=True)
class _Export:
    """One export under way; `blobs` are wanted by digest."""

    client: Client
    transfer: Transfer
    writer: archive.Writer
    selections: list[Selection]
    meter: Meter
    blobs: dict[str, _Wanted] = field(default_factory=dict)
    evaluation_count: int = 0
    event_count: int = 0
    external_count: int = 0

    def run(self, about: About) -> None:
        """Write all members."""
        with self.writer.member(archive.ABOUT) as write:
            write(about.encode())
        with self.writer.member(archive.MODELS) as write:
            for selection in self.selections:
                write(selection.record.encode())
        self._lines(archive.VERSIONS, self._versions())
        self._lines(archive.EVALUATIONS, self._evaluations())
        self._lines(archive.EVENTS, self._events())
        self._write_blobs()
        self.writer.end()

    def _lines(self, name: str, lines: Iterator[tuple[str, bytes]]) -> None:
        with self.writer.member(name) as write:
            for what, line in lines:
                write(line)
                self.meter.add(len(line), file=what)

    def _portions(self) -> Iterator[list[version_pb2.Version]]:
        for selection in self.selections:
            versions = selection.ordered
            for start in range(0, len(versions), PORTION_VERSIONS):
                yield versions[start : start + PORTION_VERSIONS]

    def _versions(self) -> Iterator[tuple[str, bytes]]:
        manifests: dict[int, bytes] = {}

        def ask(version: version_pb2.Version) -> None:
            manifests[version.number] = self.client.versions.manifest(_reference(version)).encoded

        for portion in self._portions():
            self.transfer.run(ask, portion, threads=THREADS)
            for version in portion:
                record = _record(version, manifests.pop(version.number))
                for file in record.content.files:
                    self._want(file, version)
                yield _reference(version), record.encode()

    def _evaluations(self) -> Iterator[tuple[str, bytes]]:
        found: dict[int, list[evaluation_pb2.Evaluation]] = {}

        def ask(version: version_pb2.Version) -> None:
            listed = [each.message for each in self.client.evaluations.list(_reference(version))]
            found[version.number] = sorted(listed, key=lambda each: each.sequence)

        for portion in self._portions():
            self.transfer.run(ask, portion, threads=THREADS)
            for version in portion:
                for evaluation in found.pop(version.number):
                    if evaluation.HasField("report"):
                        self._want(evaluation.report, evaluation, evaluation=evaluation.uid)
                    self.evaluation_count += 1
                    yield _reference(version), records.evaluation_line(evaluation)

    def _events(self) -> Iterator[tuple[str, bytes]]:
        histories = (_history(selection, client=self.client) for selection in self.selections)
        for event in heapq.merge(*histories, key=lambda event: event.sequence):
            self.event_count += 1
            record = EventRecord(event.content, tuple(event.message.texts))
            yield f"event {event.sequence}", record.encode()

    def _want(
        self,
        file: content_pb2.File,
        place: version_pb2.Version | evaluation_pb2.Evaluation,
        *,
        evaluation: str = "",
    ) -> None:
        if file.uri:
            self.external_count += 1
            return
        self.blobs.setdefault(file.digest, _Wanted(types.file(file), place, evaluation))

    def _write_blobs(self) -> None:
        """Bring the blobs in the order in which they were wanted: those of one version follow each other."""
        total_bytes = sum(wanted.file.size_bytes for wanted in self.blobs.values())
        meter = self.transfer.meter("download", total_bytes=total_bytes)
        small: list[_Wanted] = []
        for wanted in self.blobs.values():
            if small and (small[0].place is not wanted.place or len(small) == BATCH_FILES):
                self._write_small(small, meter=meter)
                small = []
            if wanted.evaluation or wanted.file.size_bytes > SMALL_BYTES:
                self._write_large(wanted, meter=meter)
            else:
                small.append(wanted)
        if small:
            self._write_small(small, meter=meter)

    def _write_small(self, wanted: list[_Wanted], *, meter: Meter) -> None:
        def keep(file: File, data: bytes) -> None:
            with self.writer.member(archive.blob_name(file.digest)) as write:
                write(data)

        download = Download(wanted[0].place, meter, self.transfer)
        download.fetch_small((each.file for each in wanted), keep=keep)

    def _write_large(self, wanted: _Wanted, *, meter: Meter) -> None:
        file = wanted.file
        download = Download(wanted.place, meter, self.transfer, evaluation=wanted.evaluation)
        with self.writer.member(archive.blob_name(file.digest)) as write:
            for chunk in download.chunks(file) if file.size_bytes else ():
                write(chunk)
                meter.add(len(chunk), file=file.path)
        if f"sha256:{self.writer.members[-1].sha256}" != file.digest:
            raise corrupt(file)


def export(
    refs: Iterable[str | Version], path: Path, *, client: Client, overwrite: bool, transfer: Transfer
) -> ExportResult:
    """Write what *refs* name into a new file at *path*, which appears whole.

    Raises:
        DestinationExists: there is something at *path* and *overwrite* is not set.
        LocalFileError: it cannot be written.
        NotFound: one of *refs* is not there.
        DownloadCorrupt: bytes that arrived are not those that a version names.
    """
    _require_free(path, overwrite=overwrite)
    selections = select(refs, client=client)
    info = client.server_info()
    about = About(
        info.registry_uid,
        server_version=info.server_version,
        create_time=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        references=tuple(_names(selections)),
    )
    with _appearing(path, overwrite=overwrite) as file:
        writer = archive.Writer(file)
        ongoing = _Export(client, transfer, writer, selections, transfer.meter("read", total_bytes=0))
        ongoing.run(about)
        size_bytes = file.tell()
    return ExportResult(
        path,
        version_count=sum(len(selection.versions) for selection in selections),
        evaluation_count=ongoing.evaluation_count,
        event_count=ongoing.event_count,
        blob_count=len(ongoing.blobs),
        size_bytes=size_bytes,
        deleted_count=sum(selection.deleted_count for selection in selections),
        revoked_count=sum(selection.revoked_count for selection in selections),
        external_count=ongoing.external_count,
    )


@contextmanager
def _appearing(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Give a file that is at *path* once the block ends well."""
    partial = path.absolute().with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _require_free(path, overwrite=overwrite)
        partial.replace(path)
    except OSError as error:
        raise LocalFileError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        partial.unlink(missing_ok=True)


def _require_free(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise LocalFileError(f"{path} is a directory; name a file.")
    if not path.parent.is_dir():
        raise LocalFileError(f"The directory {path.parent} does not exist; make it before {path} is written.")
    if path.exists() and not overwrite:
        raise DestinationExists(f"{path} exists; name another file, or replace it with --overwrite.")


def _names(selections: Iterable[Selection]) -> Iterator[str]:
    for selection in selections:
        if selection.whole:
            yield selection.record.message.name
        else:
            yield from map(_reference, selection.ordered)


def _reference(version: version_pb2.Version) -> str:
    return f"{version.model}:{version.number}"


def _record(version: version_pb2.Version, encoded: bytes) -> VersionRecord:
    """Put a version and its manifest together, which must be the one of its digest."""
    try:
        return VersionRecord.of(version, encoded)
    except (records.Wrong, ValueError) as error:
        raise DownloadCorrupt(f"{_reference(version)} did not arrive as it should: {error}.") from None


def _history(selection: Selection, *, client: Client) -> Iterator[Event]:
    """Yield the events of a model; when only some versions are taken, those that concern them."""
    listed = client.events.list(selection.record.message.name)
    if selection.whole:
        yield from listed
        return
    uids = {selection.record.message.uid, *(version.uid for version in selection.versions.values())}
    digests = {version.digest for version in selection.versions.values()}
    for event in listed:
        concerned = [uid for uid, state in _changes(event) if uid in uids or _tells(state, uids, digests)]
        # From now on also when such an alias is deleted, of which its event says no version.
        uids.update(concerned)
        if concerned:
            yield event


def _changes(event: Event) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the uid and the state after each change of an event, as far as it was not erased."""
    for index, change in enumerate(json.loads(event.content)["changes"]):
        beside = event.texts.get(f"changes.{index}", "{}")
        yield change["uid"], change.get("after") or json.loads(beside)


def _tells(state: Mapping[str, Any], uids: set[str], digests: set[str]) -> bool:
    """Return whether an alias or evaluation is of one of these versions."""
    return state.get("version") in uids or ("name" in state and state.get("digest") in digests)
