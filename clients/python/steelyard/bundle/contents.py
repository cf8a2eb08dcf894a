"""What is in a bundle, read only after all of it was checked: every byte, every line, and that all fits."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from steelyard.bundle import archive, records
from steelyard.bundle.archive import Member
from steelyard.bundle.records import About, EventRecord, ModelRecord, VersionRecord
from steelyard.errors import BundleInvalid, FileUnreadable, UnsafePath
from steelyard.manifest import require_safe
from steelyard.scan import LocalFile, identity_of

if TYPE_CHECKING:
    from steelyard.transfer import Transfer
    from steelyard.v1 import alias_pb2, content_pb2, evaluation_pb2, version_pb2

# Versions that are kept from the check to the import, as lines; those of a larger bundle are read again.
KEPT_BYTES_MAXIMUM = 32 * 1024 * 1024

# What no two versions of a model have in common.
_DISTINCT = ("digest", "semantic_version", "idempotency_key")

Record = TypeVar("Record")
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class BundleVersion:
    """A version of a bundle, in short."""

    number: int
    digest: str
    semantic_version: str
    file_count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BundleModel:
    """A model of a bundle.

    Args:
        versions: in the order of their numbers.
        aliases: numbers by name.
    """

    name: str
    versions: tuple[BundleVersion, ...]
    aliases: Mapping[str, int]
    evaluation_count: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is in a bundle, in short.

    Args:
        registry_uid: of the registry that it was exported from.
        create_time: when it was, RFC 3339.
        references: what was asked for.
        blob_count: files and reports with different bytes.
    """

    path: Path
    registry_uid: str
    create_time: str
    references: tuple[str, ...]
    models: tuple[BundleModel, ...]
    event_count: int
    blob_count: int
    blob_bytes: int


@dataclass
class Contents:
    """An open bundle that was checked.

    Args:
        identity: of the file when it was opened.
    """

    path: Path
    file: BinaryIO
    identity: tuple[int, int, int]
    members: Mapping[str, Member]
    about: About = field(init=False)
    models: tuple[ModelRecord, ...] = field(init=False)
    _versions: dict[str, dict[int, BundleVersion]] = field(init=False)
    _evaluation_counts: dict[str, int] = field(init=False)
    _needs: dict[str, dict[str, int]] = field(init=False)
    _parts: dict[str, Member] = field(init=False)
    _kept: dict[str, list[tuple[VersionRecord, int]]] | None = field(init=False)
    _event_count: int = 0

    def __post_init__(self) -> None:
        """Check what all lines say, and that they say it of the same things."""
        (self.about,) = self._records(archive.ABOUT, About.read)
        self.models = tuple(self._records(archive.MODELS, ModelRecord.read))
        self._versions = {record.message.name: {} for record in self.models}
        self._evaluation_counts = dict.fromkeys(self._versions, 0)
        if not self.models or len(self._versions) != len(self.models):
            raise _wrong(archive.MODELS, "has no model, or one twice")
        self._needs = {name: {} for name in self._versions}
        self._parts = {}
        is_small = self.members[archive.VERSIONS].size_bytes <= KEPT_BYTES_MAXIMUM
        self._kept = {} if is_small else None
        self._check_versions()
        self._check_aliases()
        self._check_evaluations()
        self._check_events()
        self._check_blobs()

    def versions(self, model: str) -> Iterator[tuple[VersionRecord, int]]:
        """Yield the versions of a model in the order of their numbers, and how many bytes each has here."""
        part = self._parts.get(model)
        if part is None or self._kept is not None:
            return iter((self._kept or {}).get(model, ()))
        return self._read(part, VersionRecord.read)

    def digests(self, model: str) -> Iterator[str]:
        """Yield the digests of the versions of a model."""
        return (version.digest for version in self._versions[model].values())

    def evaluations(self) -> Iterator[tuple[evaluation_pb2.Evaluation, int]]:
        """Yield the evaluations, those of one version in the order in which they were recorded."""
        return self._read(self.members[archive.EVALUATIONS], records.read_evaluation)

    def events(self) -> Iterator[EventRecord]:
        """Yield the events of the models in the registry that was exported from."""
        return self._records(archive.EVENTS, EventRecord.read)

    def files_of(self, model: str) -> dict[str, LocalFile]:
        """Return the parts of the bundle that have the files and reports of a model, by digest."""
        return {digest: self._local_file(digest) for digest in self._needs[model]}

    def _local_file(self, digest: str) -> LocalFile:
        """Return the part of the bundle that has the bytes of a digest."""
        member = self.members[archive.blob_name(digest)]
        return LocalFile(
            member.label, self.path, member.size_bytes, "other", self.identity, member.offset_bytes
        )

    def lines_bytes(self, *names: str) -> int:
        """Return the size of members."""
        return sum(self.members[name].size_bytes for name in names)

    def summary(self) -> Bundle:
        """Say in short what is there."""
        blobs = [each for each in self.members.values() if each.name.startswith(archive.BLOBS)]
        return Bundle(
            self.path,
            registry_uid=self.about.registry_uid,
            create_time=self.about.create_time,
            references=self.about.references,
            models=tuple(map(self._model, self.models)),
            event_count=self._event_count,
            blob_count=len(blobs),
            blob_bytes=sum(each.size_bytes for each in blobs),
        )

    def _model(self, record: ModelRecord) -> BundleModel:
        name = record.message.name
        return BundleModel(
            name,
            versions=tuple(self._versions[name].values()),
            aliases={alias.name: alias.number for alias in record.aliases},
            evaluation_count=self._evaluation_counts[name],
        )

    def _records(self, name: str, read: Callable[[bytes], Record]) -> Iterator[Record]:
        return (record for record, _ in self._read(self.members[name], read))

    def _read(self, member: Member, read: Callable[[bytes], Record]) -> Iterator[tuple[Record, int]]:
        for number, line in enumerate(archive.lines(self.file, member), start=1):
            try:
                record = read(line)
            except (records.Wrong, ValueError) as error:
                raise records.named(error, member=member.name, number=number) from None
            yield record, len(line)

    def _check_versions(self) -> None:
        """Check all versions, and note which part of the lines each model has."""
        places = {name: place for place, name in enumerate(self._versions)}
        whole = self.members[archive.VERSIONS]
        before, offset_bytes = (-1, 0), whole.offset_bytes
        taken: dict[tuple[str, str], int] = {}
        for record, size_bytes in self._read(whole, VersionRecord.read):
            message = record.message
            place = (places.get(message.model, -1), message.number)
            if place <= before or place[0] < 0 or message.number < 1:
                raise _wrong(whole.name, f"has {message.model}:{message.number} where it does not belong")
            if place[0] > before[0]:
                taken.clear()
            before = place
            _require_distinct(message, taken=taken)
            self._note(record)
            if self._kept is not None:
                self._kept.setdefault(message.model, []).append((record, size_bytes))
            part = self._parts.get(message.model, replace(whole, size_bytes=0, offset_bytes=offset_bytes))
            self._parts[message.model] = replace(part, size_bytes=part.size_bytes + size_bytes)
            offset_bytes += size_bytes

    def _note(self, record: VersionRecord) -> None:
        message = record.message
        _require_safe(message, [file.path for file in record.content.files])
        for file in record.content.files:
            if not file.uri:
                self._need(message.model, file)
        self._versions[message.model][message.number] = BundleVersion(
            message.number,
            digest=message.digest,
            semantic_version=message.semantic_version,
            file_count=message.file_count,
            size_bytes=message.size_bytes,
        )

    def _check_aliases(self) -> None:
        for record in self.models:
            for alias in record.aliases:
                self._require(alias, model=record.message.name, member=archive.MODELS)

    def _check_evaluations(self) -> None:
        for message, _ in self.evaluations():
            self._require(message, model=message.model, member=archive.EVALUATIONS)
            if not message.uid:
                raise _wrong(archive.EVALUATIONS, "has an evaluation without a uid")
            if message.HasField("report"):
                _require_safe(message, [message.report.path])
                self._need(message.model, message.report)
            self._evaluation_counts[message.model] += 1

    def _check_events(self) -> None:
        before = 0
        for record in self.events():
            told = record.told
            sequence = int(told["sequence"]) if _NUMBER.fullmatch(told["sequence"]) else 0
            if told["registry"] != self.about.registry_uid or sequence <= before:
                raise _wrong(archive.EVENTS, f"has event {sequence} of {told['registry']} out of place")
            before = sequence
            self._event_count += 1

    def _check_blobs(self) -> None:
        needed = {digest: size for needs in self._needs.values() for digest, size in needs.items()}
        there = {
            f"sha256:{member.sha256}": member.size_bytes
            for member in self.members.values()
            if member.name.startswith(archive.BLOBS)
        }
        if there != needed:
            digest = min(dict(there.items() ^ needed.items()))
            raise BundleInvalid(f"The blob {digest} is missing, of another size, or of no version.")

    def _need(self, model: str, file: content_pb2.File) -> None:
        size_bytes = self._needs[model].setdefault(file.digest, file.size_bytes)
        if size_bytes != file.size_bytes:
            raise BundleInvalid(f"The blob {file.digest} is said to have two sizes.")

    def _require(
        self, message: alias_pb2.Alias | evaluation_pb2.Evaluation, *, model: str, member: str
    ) -> None:
        """Demand that what an alias or evaluation is of is a version of the bundle."""
        version = self._versions.get(model, {}).get(message.number)
        if version is None or message.model != model or message.digest != version.digest:
            raise _wrong(member, f"tells of {message.model}:{message.number}, which is not there")


@contextmanager
def opened(path: Path, *, transfer: Transfer) -> Iterator[Contents]:
    """Open a bundle until the block ends.

    Raises:
        BundleInvalid: it is none, was cut, or was changed.
        FileUnreadable: it cannot be read.
    """
    path = path.resolve()
    with _readable(path) as file:
        status = os.fstat(file.fileno())
        meter = transfer.meter("verify", total_bytes=status.st_size)
        members = archive.checked(file, meter=meter)
        yield Contents(path, file, identity_of(status), members)


def _readable(path: Path) -> BinaryIO:
    # Opening what is no file, a named pipe above all, may wait for ever.
    if path.exists() and not path.is_file():
        raise FileUnreadable(f"{path} is no file; name a bundle.")
    try:
        return path.open("rb")
    except OSError as error:
        raise FileUnreadable(f"{path} cannot be read: {error.strerror}.") from None


def _wrong(member: str, what: str) -> BundleInvalid:
    return BundleInvalid(f"{member} {what}; the bundle is none, or was changed.")


def _require_distinct(message: version_pb2.Version, *, taken: dict[tuple[str, str], int]) -> None:
    """Demand that a version shares nothing with those before it that only one of a model may have.

    Args:
        taken: the numbers of those before it, by what they have.
    """
    for name in _DISTINCT:
        value: str = getattr(message, name)
        if value and (first := taken.setdefault((name, value), message.number)) != message.number:
            what = f"with the {name.replace('_', ' ')} of version {first}"
            raise _wrong(archive.VERSIONS, f"has {message.model}:{message.number} {what}")


def _require_safe(message: version_pb2.Version | evaluation_pb2.Evaluation, paths: Iterable[str]) -> None:
    """Demand that the paths of a version or of a report lead nowhere else."""
    try:
        require_safe(paths)
    except UnsafePath as error:
        raise BundleInvalid(f"{message.model}:{message.number} cannot be imported. {error}") from None
