"""Versions: immutable content with a number, and what may change around it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import bindparam, insert, select, update

from steelyard_server.core import (
    blobs,
    files,
    manifest,
    masks,
    models,
    names,
    namespaces,
    pages,
    references,
    terms,
)
from steelyard_server.core.content import Content
from steelyard_server.core.filters import search
from steelyard_server.core.filters.fields import VERSION_FIELDS
from steelyard_server.core.filters.scope import VersionScope
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of, insert_generated, insert_new
from steelyard_server.errors import (
    FieldRequired,
    IdempotencyKeyReused,
    LimitExceeded,
    ResourceMismatch,
    SemanticVersionAlreadyExists,
    VersionAlreadyExists,
)
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change, Text
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steelyard_server.core.manifest import Manifest
    from steelyard_server.core.models import Model
    from steelyard_server.core.references import Reference
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.canonical import Json

MUTABLE = ("description", "labels")
SET_ONCE = ("semantic_version", "idempotency_key")
IMMUTABLE = ("content", "digest", "number", *SET_ONCE, "origin")
FIRST_STAGE = "development"

_V, _A = tables.versions.c, tables.aliases.c
_OF_MODEL = select(tables.versions).where(_V.model_id == bindparam("model"))
_BY_DIGEST = _OF_MODEL.where(_V.digest == bindparam("digest"))
_BY_KEY = _OF_MODEL.where(_V.idempotency_key == bindparam("idempotency_key"))
_BY_SEMANTIC_VERSION = _OF_MODEL.where(_V.semantic_version == bindparam("semantic_version"))
_BY_IDS = select(tables.versions).where(any_of(_V.id, "ids"))
_ALIASES = (
    select(_V.id, _A.name)
    .join(tables.aliases, (_A.model_id == _V.model_id) & (_A.number == _V.number))
    .where(any_of(_V.id, "ids"))
    .order_by(_A.name)
)
_MANIFEST = select(tables.manifests.c.content).where(tables.manifests.c.digest == bindparam("digest"))
_TAKE_NUMBER = (
    update(tables.models)
    .where(tables.models.c.id == bindparam("model"))
    .values(last_number=tables.models.c.last_number + 1)
    .returning(tables.models.c.last_number)
)
_INSERT_MANIFEST = insert_new(tables.manifests)
_INSERT = insert_generated(tables.versions)
_INSERT_FILES = insert(tables.files)
_UPDATE = (
    update(tables.versions)
    .where(_V.id == bindparam("version"))
    .values({name: bindparam(name) for name in (*MUTABLE, *SET_ONCE, "update_time", "sequence")})
)


@dataclass(frozen=True, slots=True)
class Version:
    """A version as it stands; times are microseconds, `id` is the key of its row.

    `content` is as complete as the call that returned it promises.
    """

    id: int
    uid: str
    model: str
    model_uid: str
    number: int
    digest: str
    content: Content
    file_count: int
    size_bytes: int
    description: str
    labels: Mapping[str, str]
    stage: str
    aliases: Sequence[str]
    semantic_version: str
    idempotency_key: str
    origin: Mapping[str, str] | None
    creator: Mapping[str, Any]
    create_time: int
    update_time: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Draft:
    """What a caller asks for beside the content of a new version."""

    description: str = ""
    labels: Mapping[str, str] | None = None
    semantic_version: str = ""
    idempotency_key: str = ""

    def check(self) -> dict[str, str]:
        """Check all fields and return the labels."""
        names.description(self.description)
        names.text(self.idempotency_key, field="idempotency_key", maximum_bytes=LIMITS.text_bytes)
        if self.semantic_version:
            names.semantic_version(self.semantic_version, field="semantic_version")
        return names.labels(self.labels or {})


def create(
    tx: Transaction, act: Act, *, model: str, built: Manifest, draft: Draft
) -> tuple[Version, bool, int]:
    """Append a version; return it, whether it is new, and the sequence of its event or of the last one.

    Raises:
        ModelNotFound: no such model.
        BlobMissing: the namespace does not hold a file.
        IdempotencyKeyReused, SemanticVersionAlreadyExists, VersionAlreadyExists: a set-once field clashes.
    """
    labels = draft.check()
    parent = models.find(tx, name=model, lock=True)
    existing = _existing(tx, parent=parent, digest=built.digest, draft=draft)
    if existing is not None:
        before = _full(tx, existing, model=parent)
        wanted = {name: getattr(draft, name) for name in SET_ONCE if not getattr(before, name)}
        wanted = {name: value for name, value in wanted.items() if value}
        if not wanted:
            return before, False, events.seen(tx)
        after = _changed(tx, act, before, **wanted)
        return after, False, after.sequence
    blobs.require(tx, namespace_id=parent.namespace_id, namespace=parent.namespace, files=built.content.files)
    at = events.stamp(tx)
    taken = tx.one(_TAKE_NUMBER, model=parent.id)
    if taken is None:
        raise RuntimeError("A locked model disappeared.")
    version = Version(
        id=0,
        uid=str(uuid.uuid4()),
        model=parent.text,
        model_uid=parent.uid,
        number=taken.last_number,
        digest=built.digest,
        content=replace(built.content, files=built.content.files[: LIMITS.version_files_count]),
        file_count=len(built.content.files),
        size_bytes=built.size_bytes,
        description=draft.description,
        labels=labels,
        stage=FIRST_STAGE,
        aliases=(),
        semantic_version=draft.semantic_version,
        idempotency_key=draft.idempotency_key,
        origin=None,
        creator=act.caller.as_json(),
        create_time=at.time,
        update_time=at.time,
        sequence=at.sequence,
    )
    _insert(tx, version, parent=parent, built=built)
    events.append(tx, act, at, action="version.create", changes=[_change(version, previous=0)])
    return version, True, at.sequence


def get(tx: Transaction, *, reference: Reference, read_time: int | None = None) -> Version:
    """Return one version with all its content, of the files the first ``Limits.version_files_count``."""
    model, row = references.resolve(tx, reference, read_time=read_time)
    return _full(tx, row, model=model)


def batch_get(tx: Transaction, *, namespace: str, wanted: Sequence[Reference]) -> list[Version]:
    """Return versions of one namespace in the order asked for, as lists have them.

    Raises:
        ResourceMismatch: a reference leads out of the namespace.
        LimitExceeded: together they are too large for an answer.
    """
    names.namespace(namespace)
    if not wanted:
        raise FieldRequired("`versions` is empty; name at least one version.", field="versions")
    names.at_most(len(wanted), LIMITS.batch_versions_count, field="versions")
    found: list[Version] = []
    total_bytes = 0
    for reference in wanted:
        if names.model(reference.model, field=f"{reference.field}.model")[0] != namespace:
            message = f"{names.quoted(reference.model)} is not in the namespace {namespace}."
            raise ResourceMismatch(message, field=f"{reference.field}.model")
        _, row = references.resolve(tx, reference)
        total_bytes += _listed_bytes(row)
        if total_bytes > LIMITS.page_bytes and found:
            count = len(found) + 1
            message = f"The first {count} versions have more than {LIMITS.page_bytes} bytes; ask for fewer."
            raise LimitExceeded(message, field="versions", limit=LIMITS.page_bytes)
        found += _summaries(tx, [row])
    return found


def page(
    tx: Transaction,
    *,
    model: str,
    filter: str = "",  # noqa: A002 - as the request calls it
    order_by: str = "",
    after: search.Position | None = None,
    page_size: int = 0,
) -> tuple[list[Version], search.Position | None]:
    """Return the versions that pass a filter and follow *after*, and the position behind them.

    Args:
        model: `namespace/model`, or `namespace/-` for all models of the namespace.

    Raises:
        NamespaceNotFound, ModelNotFound: no such namespace or model.
        FilterInvalid, OrderByInvalid, MetricAmbiguous, TooLong: with the column where one stands.
    """
    rows, position = search.page(
        tx,
        _listing(tx, model),
        statement=_BY_IDS,
        size_bytes=_listed_bytes,
        page_size=page_size,
        filter=filter,
        order_by=order_by,
        after=after,
    )
    return _summaries(tx, rows), position


def _listing(tx: Transaction, model: str) -> search.Listing:
    space, _, short = model.partition("/")
    if short == names.ALL_MODELS:
        names.namespace(space, field="model")
        scope = VersionScope(namespaces.find_id(tx, name=space))
        return search.Listing(VERSION_FIELDS, scope, unique=("model", "number"))
    parent = models.find(tx, name=model)
    scope = VersionScope(parent.namespace_id, parent.id)
    return search.Listing(VERSION_FIELDS, scope, unique=("number",))


def modify(
    tx: Transaction,
    act: Act,
    *,
    reference: Reference,
    description: str,
    labels: Mapping[str, str],
    mask: tuple[str, ...] | None,
    etag: str = "",
) -> Version:
    """Change description or labels of a version, as far as *mask* names them.

    Raises:
        EtagMismatch: it changed since *etag* was given out.
    """
    given = {"description": names.description(description), "labels": names.labels(labels)}
    wanted = masks.chosen(given, mask, mutable=MUTABLE, immutable=IMMUTABLE)
    model, row = references.resolve(tx, reference, lock=True)
    before = _full(tx, row, model=model)
    masks.check_etag(etag, before.sequence)
    return _changed(tx, act, before, **wanted)


def read_manifest(tx: Transaction, *, reference: Reference) -> tuple[int, str, bytes]:
    """Return number, digest and manifest of a version."""
    _, row = references.resolve(tx, reference)
    stored = tx.one(_MANIFEST, digest=row.digest)
    if stored is None:
        raise RuntimeError("A version has no manifest.")
    return row.number, row.digest, bytes(stored.content)


def _changed(tx: Transaction, act: Act, before: Version, **wanted: Any) -> Version:
    at = events.stamp(tx)
    after = replace(before, **wanted, update_time=at.time, sequence=at.sequence)
    row = {
        "description": after.description,
        "labels": canonical.text(after.labels),
        "semantic_version": after.semantic_version or None,
        "idempotency_key": after.idempotency_key or None,
        "update_time": after.update_time,
        "sequence": after.sequence,
    }
    tx.run(_UPDATE, row | {"version": after.id})
    terms.change_version(tx, version_id=after.id, changed=wanted)
    events.append(tx, act, at, action="version.update", changes=[_change(after, previous=before.sequence)])
    return after


def _existing(tx: Transaction, *, parent: Model, digest: str, draft: Draft) -> Row | None:
    """Find the version that has this content already, and refuse clashes of set-once fields."""
    if draft.idempotency_key:
        keyed = tx.one(_BY_KEY, model=parent.id, idempotency_key=draft.idempotency_key)
        if keyed is not None and keyed.digest != digest:
            message = (
                f"The idempotency key {names.quoted(draft.idempotency_key)} belongs to "
                f"{parent.text}:{keyed.number}, which has other content; use a new key."
            )
            facts = {"number": keyed.number, "idempotency_key": names.quoted(draft.idempotency_key)}
            raise IdempotencyKeyReused(message, model=parent.text, **facts)
    same = tx.one(_BY_DIGEST, model=parent.id, digest=digest)
    if same is None or not same.semantic_version:
        _check_semantic_version(tx, parent=parent, draft=draft)
    if same is None:
        return None
    for name in SET_ONCE:
        asked, stands = getattr(draft, name), getattr(same, name)
        if asked and stands and asked != stands:
            message = (
                f"This content is {parent.text}:{same.number}, whose {name} is {names.quoted(stands)} "
                f"and stays so; leave {name} empty, or use that version."
            )
            raise VersionAlreadyExists(message, model=parent.text, number=same.number)
    return same


def _check_semantic_version(tx: Transaction, *, parent: Model, draft: Draft) -> None:
    if not draft.semantic_version:
        return
    taken = tx.one(_BY_SEMANTIC_VERSION, model=parent.id, semantic_version=draft.semantic_version)
    if taken is not None:
        message = (
            f"{parent.text}:{taken.number} is {draft.semantic_version} already; raise the semantic version."
        )
        facts = {"number": taken.number, "semantic_version": draft.semantic_version}
        raise SemanticVersionAlreadyExists(message, model=parent.text, **facts)


def _insert(tx: Transaction, version: Version, *, parent: Model, built: Manifest) -> None:
    tx.run(_INSERT_MANIFEST, {"digest": built.digest, "content": built.encoded})
    inserted = tx.one(
        _INSERT,
        uid=version.uid,
        model_id=parent.id,
        number=version.number,
        digest=version.digest,
        description=version.description,
        labels=canonical.text(version.labels),
        stage=version.stage,
        semantic_version=version.semantic_version or None,
        idempotency_key=version.idempotency_key or None,
        origin=None,
        summary=built.summary,
        details=built.details,
        file_count=version.file_count,
        size_bytes=version.size_bytes,
        creator=canonical.text(version.creator),
        creator_id=version.creator["id"],
        create_time=version.create_time,
        update_time=version.update_time,
        sequence=version.sequence,
    )
    if inserted is None:
        raise RuntimeError("An insert returned no key.")
    tx.run(_INSERT_FILES, [files.row(file, version_id=inserted.id) for file in built.content.files])
    terms.add_version(
        tx,
        terms.OfVersion(inserted.id, parent.id, version.number),
        content=built.content,
        labels=version.labels,
        description=version.description,
        semantic_version=version.semantic_version,
    )


def _full(tx: Transaction, row: Row, *, model: Model) -> Version:
    listed, _ = files.page_of(tx, version_id=row.id, page_size=LIMITS.version_files_count)
    content = manifest.parse(row.summary, row.details, files=tuple(listed))
    return _value(row, model=model, content=content, aliases=_aliases(tx, [row.id]).get(row.id, ()))


def _summaries(tx: Transaction, rows: Sequence[Row]) -> list[Version]:
    aliases = _aliases(tx, [row.id for row in rows])
    parents = models.by_ids(tx, list({row.model_id for row in rows}))
    return [
        _value(
            row,
            model=parents[row.model_id],
            content=manifest.parse(row.summary),
            aliases=aliases.get(row.id, ()),
        )
        for row in rows
    ]


def _aliases(tx: Transaction, ids: list[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for row in tx.all(_ALIASES, ids=ids):
        found.setdefault(row.id, []).append(row.name)
    return found


def _listed_bytes(row: Row) -> int:
    return pages.utf8_bytes(row.summary, row.description, row.labels, row.creator, row.origin) + 512


def _value(row: Row, *, model: Model, content: Content, aliases: Sequence[str]) -> Version:
    return Version(
        id=row.id,
        uid=row.uid,
        model=model.text,
        model_uid=model.uid,
        number=row.number,
        digest=row.digest,
        content=content,
        file_count=row.file_count,
        size_bytes=row.size_bytes,
        description=row.description,
        labels=orjson.loads(row.labels),
        stage=row.stage,
        aliases=aliases,
        semantic_version=row.semantic_version or "",
        idempotency_key=row.idempotency_key or "",
        origin=orjson.loads(row.origin) if row.origin else None,
        creator=orjson.loads(row.creator),
        create_time=row.create_time,
        update_time=row.update_time,
        sequence=row.sequence,
    )


def _change(version: Version, *, previous: int) -> Change:
    after: dict[str, Json | Text] = {
        "model": version.model_uid,
        "number": str(version.number),
        "digest": version.digest,
        "description": Text(version.description),
        "labels": version.labels,
        "stage": version.stage,
        "semantic_version": version.semantic_version,
        "idempotency_key": version.idempotency_key,
        "origin": version.origin or {},
        "creator": version.creator,
        "create_time": events.time_text(version.create_time),
        "update_time": events.time_text(version.update_time),
    }
    name = f"version/{version.model}:{version.number}"
    return Change(name, version.uid, previous, after, model_uid=version.model_uid)
