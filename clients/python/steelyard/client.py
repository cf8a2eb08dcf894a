"""The client: one object for one server."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from steelyard import content, manifest, pull, push, tls, transfer, types, verify
from steelyard.access import Access
from steelyard.aliases import Aliases
from steelyard.bundle.contents import opened
from steelyard.bundle.export import export
from steelyard.bundle.importing import import_bundle
from steelyard.cache import BlobCache, cache_directory
from steelyard.capture import capturing
from steelyard.connection import Connection
from steelyard.digests import DigestCache
from steelyard.download import Download
from steelyard.environments import Environments
from steelyard.errors import InvalidArgument
from steelyard.evaluations import Evaluations
from steelyard.events import Events
from steelyard.maintenance import Maintenance
from steelyard.models import Models
from steelyard.namespaces import Namespaces
from steelyard.policies import Policies
from steelyard.promotions import Promotions
from steelyard.reasons import (
    AliasNotFound,
    BlobMissing,
    FileIsExternal,
    FileNotFound,
    IdempotencyKeyReused,
    ModelAlreadyExists,
    ModelNotFound,
    SemanticVersionAlreadyExists,
)
from steelyard.refs import References
from steelyard.scan import scan
from steelyard.v1 import content_pb2, server_service_pb2
from steelyard.versions import Versions

if TYPE_CHECKING:
    from steelyard.bundle.contents import Bundle
    from steelyard.bundle.export import ExportResult
    from steelyard.bundle.importing import ImportResult
    from steelyard.comparison import Comparison
    from steelyard.content import Dataset, Framework, ParameterValue, Parent, Reference, Schema, Source
    from steelyard.progress import OnProgress
    from steelyard.pull import PullResult
    from steelyard.push import PushResult, Stored
    from steelyard.scan import LocalFile
    from steelyard.types import Actor, File, Version
    from steelyard.verify import VerifyResult
    from steelyard.workers import Stop

CACHE_BYTES = 10 * 1024**3


class Client:
    """Calls one server. Safe to use from many threads, and in a process that is forked later.

    Args:
        server: `host:port`, or `https://host:port` for TLS with the authorities that the system trusts; by
            default the variable `STEELYARD_SERVER`, or `localhost:7433`.
        namespace: where models are looked up that name none.
        actor: name that you state to the server; by default the variable `STEELYARD_ACTOR`, or your
            account's name. A server that wants a login takes no notice of it.
        token: what you log in with, `steelyard_…`; by default the variable `STEELYARD_TOKEN`. Empty for none.
        timeout_seconds: for each call, its retries included; transfers have limits by their size.
        patience_seconds: how long a transfer goes on trying while nothing moves, be the server gone or
            only silent.
        cache_dir: where pulled blobs and digests of pushed files are kept; by default the variable
            `STEELYARD_CACHE_DIR`, or the user's directory for caches.
        cache_bytes: limit of the pulled blobs there; 0 keeps none.
        tls_ca: PEM file of the authorities to trust instead, which asks for TLS too; by default the
            variable `STEELYARD_TLS_CA`.
        tls_cert: PEM file of your own certificate, where the server wants one, and *tls_key* of its key;
            by default `STEELYARD_TLS_CLIENT_CERT` and `STEELYARD_TLS_CLIENT_KEY`.
    """

    def __init__(  # noqa: PLR0913 - one parameter per setting
        self,
        server: str | None = None,
        *,
        namespace: str = "default",
        actor: str | None = None,
        token: str | None = None,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 60.0,
        cache_dir: str | Path | None = None,
        cache_bytes: int = CACHE_BYTES,
        tls_ca: str | Path | None = None,
        tls_cert: str | Path | None = None,
        tls_key: str | Path | None = None,
    ) -> None:
        address = server or os.environ.get("STEELYARD_SERVER") or "localhost"
        self._connection = Connection(
            address,
            actor=_account() if actor is None else actor,
            token=os.environ.get("STEELYARD_TOKEN", "") if token is None else token,
            timeout_seconds=timeout_seconds,
            tls=tls.chosen(address, ca=tls_ca, cert=tls_cert, key=tls_key),
        )
        if not patience_seconds > 0:
            raise InvalidArgument(f"patience_seconds is {patience_seconds!r}; it must be above 0.")
        self._patience_seconds = patience_seconds
        directory = cache_directory(cache_dir)
        self._blob_cache = BlobCache(directory / "blobs", limit_bytes=cache_bytes)
        self._digest_cache = DigestCache(directory / "digests.sqlite3")
        references = References(namespace)
        self.references = references
        self.namespaces = Namespaces(self._connection)
        self.models = Models(self._connection, references=references)
        self.versions = Versions(self._connection, references=references)
        self.aliases = Aliases(self._connection, references=references)
        self.events = Events(self._connection, patience_seconds=patience_seconds)
        self.access = Access(self._connection)
        self.policies = Policies(self._connection)
        self.environments = Environments(self._connection)
        self.promotions = Promotions(
            self._connection, references=references, patience_seconds=patience_seconds
        )
        self.evaluations = Evaluations(
            self._connection,
            references=references,
            cache=self._digest_cache,
            patience_seconds=patience_seconds,
        )
        self.maintenance = Maintenance(self._connection, patience_seconds=patience_seconds)

    def __enter__(self) -> Self:
        """Return the client; the end of the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close the channel to the server."""
        self._connection.close()

    def get(self, ref: str | Version) -> Version:
        """Return a version.

        Args:
            ref: `fraud:3`, `fraud:1.4.0`, `fraud@champion`, `fraud@sha256:…`, or `fraud` for the newest.

        Raises:
            NotFound: no such model, version or alias.
        """
        return self.versions.get(ref)

    def compare(self, refs: Iterable[str | Version], *, metrics: Iterable[str] = ()) -> Comparison:
        """Compare 2 to 20 versions of one namespace as of one moment; the first is the baseline.

        Args:
            metrics: only these, as `precision` or `precision@holdout`; none means all.

        Raises:
            NotFound: one of the versions is not there.
            DuplicateKey: two references mean one version.
            ResourceMismatch: one is of another namespace than the first.
        """
        return self.versions.compare(refs, metrics=metrics)

    def push(  # noqa: PLR0913  one name for each thing that a version carries
        self,
        model: str,
        path: str | Path,
        *,
        metrics: Mapping[str, float] | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
        datasets: Iterable[Dataset] = (),
        parents: Iterable[Parent] = (),
        source: Source | None = None,
        framework: Framework | None = None,
        schema: Schema | None = None,
        references: Iterable[Reference] = (),
        roles: Mapping[str, str] | None = None,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        semantic_version: str = "",
        idempotency_key: str = "",
        alias: str | Iterable[str] | None = None,
        reason: str = "",
        capture: bool = False,
        environment: str | Path | None = None,
        progress: OnProgress | None = None,
        stop: Stop | None = None,
    ) -> PushResult:
        """Upload the file or directory at *path* as a version of a model.

        A model that is not there is created. The version appears whole or not at all. The same content
        again is the same version. A push that broke off is simply made again and goes on where it was.

        Args:
            metrics: by their text, for example `precision@holdout[region=EU]`.
            references: files that stay where they are.
            roles: of files by path; of the others the name decides.
            alias: to point to the version afterwards, or several.
            capture: record beside what is stated here the git commit around *path*, the packages of the
                environment as `steelyard.lock`, the run of an orchestrator, and what headers of ONNX,
                safetensors and GGUF files say. It is content: another commit, environment or run makes
                another version.
            environment: prefix of the Python environment to record; by default its own.
            progress: called with each step; what it raises ends the push.
            stop: ends the push when another thread sets it.

        Raises:
            LocalFileError: a file is a symbolic link, cannot be read, or changed meanwhile.
            Stopped: *stop* was set.
            SteelyardError: the server refused; its reason is the class.
        """
        name = self.references.model(model)
        stated = content.Parts(
            parameters=parameters or {},
            metrics=metrics or {},
            datasets=tuple(datasets),
            parents=tuple(parents),
            source=source,
            framework=framework,
            schema=schema,
            references=tuple(references),
        )
        draft: dict[str, Any] = {
            "description": description,
            "labels": labels,
            "semantic_version": semantic_version,
            "idempotency_key": idempotency_key,
            "reason": reason,
        }
        aliases = _list(alias)
        found = scan(Path(path), roles=roles or {})
        with capturing(Path(path), found.files, stated=stated, wanted=capture, prefix=environment) as taken:
            files, made = (*found.files, *taken.files), content.build(taken.complete(stated))
            model_exists = self._rehearse(name, made, files, draft=draft, aliases=aliases)
            stored = self._store(name, files, report=progress, stop=stop)
        made.files.extend(content.stored_files(files, digests=stored.digests))
        model_created = not model_exists and self._create_model(name)
        created = self.versions.create(name, made, **draft)
        return push.PushResult(
            self._aliased(created.version, aliases, reason=reason),
            created=created.created,
            model_created=model_created,
            uploaded_bytes=stored.uploaded_bytes,
            excluded=found.excluded,
            captured=taken if capture else None,
        )

    def pull(
        self,
        ref: str | Version,
        dest: str | Path,
        *,
        include: Iterable[str] = (),
        overwrite: bool = False,
        progress: OnProgress | None = None,
        stop: Stop | None = None,
    ) -> PullResult:
        """Download a version into the directory *dest*, which appears whole, with every byte verified.

        A pull that broke off is simply made again and goes on where it was. External references are
        skipped by name.

        Args:
            include: patterns as in a .gitignore; only files that match one. Empty means all.
            overwrite: replace what is at *dest*.
            progress: called with each step; what it raises ends the pull.
            stop: ends the pull when another thread sets it.

        Raises:
            DestinationNotEmpty: there is something at *dest*.
            Stopped: *stop* was set.
            DownloadCorrupt: bytes that arrived are not those that the version names.
        """
        with self._transfer(progress, stop) as ongoing:
            return pull.pull(
                self.get(ref),
                Path(dest),
                versions=self.versions,
                cache=self._blob_cache,
                include=include,
                overwrite=overwrite,
                transfer=ongoing,
            )

    def verify(
        self,
        ref: str | Version,
        directory: str | Path | None = None,
        *,
        progress: OnProgress | None = None,
        stop: Stop | None = None,
    ) -> VerifyResult:
        """Compare every byte of a version with its digests: in *directory*, or else what the server has.

        Raises:
            DataLoss: bytes are missing or differ; the message names the files.
            Stopped: *stop* was set.
        """
        place = None if directory is None else Path(directory)
        with self._transfer(progress, stop) as ongoing:
            return verify.verify(self.get(ref), place, versions=self.versions, transfer=ongoing)

    def export_bundle(
        self,
        refs: str | Version | Iterable[str | Version],
        path: str | Path,
        *,
        overwrite: bool = False,
        progress: OnProgress | None = None,
        stop: Stop | None = None,
    ) -> ExportResult:
        """Write versions with all that belongs to them into one file, to be imported elsewhere.

        Args:
            refs: a version, a model for all its versions that are not deleted, or several of them.
            overwrite: replace what is at *path*.

        Raises:
            DestinationExists: there is something at *path*.
            NotFound: one of *refs* is not there.
        """
        chosen = [refs] if isinstance(refs, str | types.Version) else refs
        with self._transfer(progress, stop) as ongoing:
            return export(chosen, Path(path), client=self, overwrite=overwrite, transfer=ongoing)

    def import_bundle(
        self,
        path: str | Path,
        *,
        into: str = "",
        renumber: bool = False,
        reason: str = "",
        progress: OnProgress | None = None,
        stop: Stop | None = None,
    ) -> ImportResult:
        """Bring the versions of a bundle here, with their numbers, evaluations and aliases.

        Each says that it was imported, and where it was before. What is here already stays as it is.
        An import that broke off is simply made again and goes on where it was.

        Args:
            into: `risk/other` for the only model of the bundle, or `risk/` for all models into another
                namespace; by default they keep their names.
            renumber: give new numbers instead of keeping those that the versions had.

        Raises:
            BundleInvalid: it is no bundle, or one that was cut or changed.
            NumberTaken: a number was used here before; nothing of the bundle was imported.
            ContentDeleted: a version is here and deleted.
        """
        with self._transfer(progress, stop) as ongoing:
            return import_bundle(
                Path(path), client=self, into=into, renumber=renumber, reason=reason, transfer=ongoing
            )

    def read_bundle(
        self, path: str | Path, *, progress: OnProgress | None = None, stop: Stop | None = None
    ) -> Bundle:
        """Check a bundle and say what is in it; no server is asked.

        Raises:
            BundleInvalid: it is no bundle, or one that was cut or changed.
        """
        with self._transfer(progress, stop) as ongoing, opened(Path(path), transfer=ongoing) as contents:
            return contents.summary()

    @contextmanager
    def open(self, ref: str | Version, path: str) -> Iterator[Iterator[bytes]]:
        """Read one file in chunks; the last step fails when all of them are not those of its digest.

        Raises:
            FileNotFound: the version has no such file.
            FileIsExternal: its bytes stay at their own address.
            DownloadCorrupt: the bytes that arrived are not those of the digest.
        """
        version = self.get(ref)
        file = self._file(version, path)
        with self._transfer(None, None) as ongoing:
            try:
                download = Download(version, ongoing.meter("read", total_bytes=file.size_bytes), ongoing)
                yield map(bytes, download.verified(file))
            finally:
                ongoing.stop.set()

    def read(self, ref: str | Version, path: str) -> bytes:
        """Return the bytes of one file, verified; for large ones use `open`."""
        with self.open(ref, path) as chunks:
            return b"".join(chunks)

    def server_info(self) -> server_service_pb2.GetServerInfoResponse:
        """Return what the server says of itself: version, limits, sequence."""
        request = server_service_pb2.GetServerInfoRequest()
        return self._connection.ask(
            "ServerService/GetServerInfo", request, server_service_pb2.GetServerInfoResponse
        )

    def who_am_i(self) -> Actor:
        """Return who the server takes you for."""
        request = server_service_pb2.WhoAmIRequest()
        answer = self._connection.ask("ServerService/WhoAmI", request, server_service_pb2.WhoAmIResponse)
        return types.actor(answer.actor)

    def _rehearse(
        self,
        model: str,
        made: content_pb2.Content,
        files: Iterable[LocalFile],
        *,
        draft: dict[str, Any],
        aliases: Iterable[str],
    ) -> bool:
        """Have the server check all but the bytes before they are sent; return whether the model exists."""
        rehearsed = content_pb2.Content()
        rehearsed.CopyFrom(made)
        rehearsed.files.extend(content.stored_files(files, digests={}))
        for alias in aliases:
            with suppress(ModelNotFound, AliasNotFound):
                self.aliases.get(model, alias)
        try:
            self.versions.create(model, rehearsed, validate_only=True, **draft)
        except ModelNotFound:
            return False
        except (BlobMissing, IdempotencyKeyReused, SemanticVersionAlreadyExists):
            # The digests are not known yet: the bytes may be there, and be that very version.
            return True
        return True

    def _store(
        self, model: str, files: tuple[LocalFile, ...], *, report: OnProgress | None, stop: Stop | None
    ) -> Stored:
        with self._transfer(report, stop) as ongoing:
            namespace = model.partition("/")[0]
            stored = push.store(
                files,
                namespace=namespace,
                cache=self._digest_cache,
                transfer=ongoing,
                versions_count=1,
            )
            ongoing.stop.check()
        return stored

    def _aliased(self, version: Version, aliases: list[str], *, reason: str) -> Version:
        for alias in aliases:
            self.aliases.set(version, alias, reason=reason)
        return self.get(version) if aliases else version

    def _create_model(self, name: str) -> bool:
        try:
            self.models.create(name)
        except ModelAlreadyExists:
            return False
        return True

    def _file(self, version: Version, path: str) -> File:
        encoded = self.versions.manifest(version).encoded
        for file in manifest.files(encoded, version=version):
            if file.path == path and not file.uri:
                return file
            if file.path == path:
                raise FileIsExternal(f"The bytes of {path} stay at {file.uri}; fetch them from there.")
        raise FileNotFound(f"{version} has no file {path!r}; `steelyard files {version}` lists them.")

    def _transfer(
        self, report: OnProgress | None, stop: Stop | None
    ) -> AbstractContextManager[transfer.Transfer]:
        return transfer.begin(
            self._connection, report=report, stop=stop, patience_seconds=self._patience_seconds
        )


def _list(texts: str | Iterable[str] | None) -> list[str]:
    """Take one text, several or none; an empty one is none."""
    return [each for each in ([texts] if isinstance(texts, str) else texts or ()) if each]


def _account() -> str:
    """Return the name to state: a variable, the account, or nothing where neither is known."""
    try:
        name = os.environ.get("STEELYARD_ACTOR") or getpass.getuser()
    except (OSError, KeyError):
        return ""
    return name if name.isascii() else ""
