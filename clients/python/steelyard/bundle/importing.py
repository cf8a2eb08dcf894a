"""``Client.import_bundle``: what is in a bundle comes into a registry, and is marked as imported."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard import push, types, upload
from steelyard.bundle import archive, targets
from steelyard.bundle.batch import Batch
from steelyard.bundle.contents import Contents, opened
from steelyard.bundle.evaluations import Recording
from steelyard.bundle.targets import Target
from steelyard.errors import BundleInvalid, FileChanged, SteelyardError
from steelyard.reasons import BlobMissing, ModelAlreadyExists, NamespaceAlreadyExists, NamespaceNotFound
from steelyard.upload import Upload
from steelyard.v1 import version_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.bundle.records import VersionRecord
    from steelyard.client import Client
    from steelyard.progress import Meter
    from steelyard.scan import LocalFile
    from steelyard.transfer import Transfer
    from steelyard.v1 import limits_pb2


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """What an import did with one model of a bundle.

    Args:
        source: its name in the bundle.
        name: of the model here.
        model_created: whether it was made.
        numbers: of its versions here, by their numbers in the bundle.
        created_count: versions that were made; the others were there already.
        evaluation_count: evaluations that were recorded; the others were there already.
        aliases: that were set.
        left: what is other here than in the bundle, and was left as it is, in words.
    """

    source: str
    name: str
    model_created: bool
    numbers: dict[int, int]
    created_count: int
    evaluation_count: int
    aliases: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did.

    Args:
        registry_uid: of the registry that the bundle comes from.
        uploaded_bytes: that went over the wire; the others were there already.
    """

    registry_uid: str
    models: tuple[ImportedModel, ...]
    uploaded_bytes: int

    @property
    def changed(self) -> bool:
        """Whether anything is here that was not before."""
        return any(
            model.model_created or model.created_count or model.evaluation_count or model.aliases
            for model in self.models
        )


@dataclass
class _Import:
    """One import under way."""

    client: Client
    transfer: Transfer
    contents: Contents
    renumber: bool
    reason: str
    limits: limits_pb2.Limits
    uploaded_bytes: int = 0

    def run(self, found: list[Target]) -> ImportResult:
        """Do what is to be done; what can be known of refusals is known before anything changes."""
        for target in found:
            if target.exists:
                self._create(target, validate_only=True)
        by_namespace = groupby(sorted(found, key=_namespace), key=_namespace)
        missing = {namespace: self._missing(namespace, list(group)) for namespace, group in by_namespace}
        for target in found:
            self._make_model(target)
        for namespace, uploads in missing.items():
            self._upload(namespace, uploads)
        names = (archive.VERSIONS, archive.EVALUATIONS)
        meter = self.transfer.meter("import", total_bytes=self.contents.lines_bytes(*names))
        for target in found:
            self._create(target, meter=meter)
        by_source = {target.record.message.name: target for target in found}
        Recording(self.client, self.transfer, self.contents, by_source, self.reason, meter).run()
        for target in found:
            self._set_aliases(target)
        return ImportResult(self.contents.about.registry_uid, tuple(map(_result, found)), self.uploaded_bytes)

    def _make_model(self, target: Target) -> None:
        if target.exists:
            return
        with suppress(NamespaceAlreadyExists):
            self.client.namespaces.create(target.namespace, reason=self.reason)
        model = types.model(target.record.message)
        with suppress(ModelAlreadyExists):
            self.client.models.create(
                target.name,
                description=model.description,
                labels=model.labels,
                owners=model.owners,
                metric_directions=model.metric_directions,
                reason=self.reason,
            )

    def _missing(self, namespace: str, found: list[Target]) -> list[Upload]:
        """Return the files and reports that a namespace does not hold.

        Raises:
            QuotaExceeded: it has no room for them, or for the versions that are new.
        """
        files: dict[str, LocalFile] = {}
        for target in found:
            files |= self.contents.files_of(target.record.message.name)
        uploads = [Upload(file, digest) for digest, file in files.items()]
        try:
            space = self.client.namespaces.get(namespace)
        except NamespaceNotFound:
            return uploads
        missing: list[Upload] = []
        for start in range(0, len(uploads), self.limits.find_blobs_count):
            part = uploads[start : start + self.limits.find_blobs_count]
            wanted, _ = push.missing(part, connection=self.transfer.connection, namespace=namespace)
            missing += wanted
        targets.require_room(
            space,
            size_bytes=sum(each.file.size_bytes for each in missing),
            versions_count=sum(
                digest not in target.here
                for target in found
                for digest in self.contents.digests(target.record.message.name)
            ),
        )
        return missing

    def _upload(self, namespace: str, uploads: list[Upload]) -> None:
        """Make a namespace hold bytes."""
        try:
            upload.send(uploads, namespace=namespace, transfer=self.transfer)
        except FileChanged:
            raise BundleInvalid(
                f"{self.contents.path} changed while it was imported; import it again."
            ) from None
        self.uploaded_bytes += sum(each.sent_bytes for each in uploads)

    def _create(self, target: Target, *, validate_only: bool = False, meter: Meter | None = None) -> None:
        """Create the versions that are not there, batch after batch, preparing one while another is made."""
        pending: Future[None] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="steelyard-import") as thread:
            for batch in self._batches(target, meter=meter):
                self.transfer.stop.check()
                if pending is not None:
                    pending.result()
                pending = thread.submit(self._send, target, batch, validate_only=validate_only)
            if pending is not None:
                pending.result()

    def _batches(
        self, target: Target, *, meter: Meter | None
    ) -> Iterator[dict[int, pb.CreateVersionRequest]]:
        """Yield requests for the versions that are not there, by their numbers in the bundle."""
        batch = Batch(self.limits)
        for record, size_bytes in self.contents.versions(target.record.message.name):
            if meter is not None:
                meter.add(size_bytes, file=f"{target.name}:{record.message.number}")
            if target.has(record, renumber=self.renumber):
                continue
            request = self._request(record)
            if not batch.fits(request):
                yield batch.requests
                batch = Batch(self.limits)
            batch.add(record.message.number, request)
        if batch.requests:
            yield batch.requests

    def _request(self, record: VersionRecord) -> pb.CreateVersionRequest:
        message = record.message
        return pb.CreateVersionRequest(
            content=record.content,
            description=message.description,
            labels=message.labels,
            semantic_version=message.semantic_version,
            idempotency_key=message.idempotency_key,
            origin=targets.version_origin(message, about=self.contents.about),
            number=0 if self.renumber else message.number,
            digest=message.digest,
        )

    def _send(
        self, target: Target, batch: dict[int, pb.CreateVersionRequest], *, validate_only: bool
    ) -> None:
        """Create a batch of versions, or learn that nothing but their bytes is missing."""
        try:
            created = self.client.versions.batch_create(
                target.name, batch.values(), validate_only=validate_only, reason=self.reason
            )
        except SteelyardError as error:
            if validate_only and isinstance(error, BlobMissing):
                return
            at = f"Versions {min(batch)}-{max(batch)}"
            if validate_only:
                message = f"{at} of {target.name}: {error.message} This import changed nothing."
                raise targets.said(error, message) from None
            raise target.halted(error, at=at) from None
        if validate_only:
            return
        for number, member in zip(batch, created.versions, strict=True):
            target.numbers[number] = member.number
            target.created_count += member.created

    def _set_aliases(self, target: Target) -> None:
        """Set aliases that are not there; those that are may be what others serve from, and stay."""
        there = {alias.name: alias.number for alias in self.client.aliases.list(target.name)}
        for alias in target.record.aliases:
            number = target.numbers[alias.number]
            if alias.name not in there:
                reference = f"{target.name}:{number}"
                self.client.aliases.set(reference, alias.name, must_not_exist=True, reason=self.reason)
                target.aliases.append(alias.name)
            elif there[alias.name] != number:
                target.left.append(f"the alias {alias.name} stays at version {there[alias.name]}")


def import_bundle(
    path: Path, *, client: Client, into: str, renumber: bool, reason: str, transfer: Transfer
) -> ImportResult:
    """Bring what is in a bundle into the registry; see `Client.import_bundle`."""
    with opened(path, transfer=transfer) as contents:
        found = targets.find(contents, into=into, client=client)
        why = f"imported from {contents.about.uri}"
        ongoing = _Import(
            client,
            transfer,
            contents,
            renumber=renumber,
            reason=f"{why}: {reason}" if reason else why,
            limits=client.server_info().limits,
        )
        return ongoing.run(found)


def _namespace(target: Target) -> str:
    return target.namespace


def _result(target: Target) -> ImportedModel:
    left = list(target.left)
    if target.changed_words_count:
        count = target.changed_words_count
        whose = "version keeps its own" if count == 1 else "versions keep their own"
        left.append(f"{count} {whose} description or labels")
    return ImportedModel(
        target.record.message.name,
        target.name,
        model_created=not target.exists,
        numbers=dict(sorted(target.numbers.items())),
        created_count=target.created_count,
        evaluation_count=sum(target.recorded),
        aliases=tuple(target.aliases),
        left=tuple(left),
    )
