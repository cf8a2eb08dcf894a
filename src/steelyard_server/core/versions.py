"""Versions: immutable content with a number, and what may change around it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import bindparam, func, insert, select, update

from steelyard_server.core import (
    access,
    blobs,
    files,
    identity,
    manifest,
    marks,
    masks,
    models,
    names,
    pages,
    quotas,
    references,
    roles,
    stages,
    terms,
)
from steelyard_server.core.content import Content
from steelyard_server.core.drafts import Draft
from steelyard_server.core.filters import search
from steelyard_server.core.filters.fields import VERSION_FIELDS
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of, insert_generated, insert_new
from steelyard_server.errors import FieldRequired, LimitExceeded
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change, Scope, Text
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steelyard_server.core.manifest import Manifest
    from steelyard_server.core.models import Model
    from steelyard_server.core.references import Reference
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.caller import Caller
    from steelyard_server.history.canonical import Json
    from steelyard_server.history.events import Stamp

MUTABLE = ("description", "labels")
IMMUTABLE = ("content", "digest", "number", *identity.SET_ONCE, "origin")
# What the encoding of an answer adds to each alias.
ALIAS_BYTES = 3

_V, _A, _M = tables.versions.c, tables.aliases.c, tables.models.c
# Aliases have a byte a character.
_ALIASES_BYTES = (
    select(func.coalesce(func.sum(func.length(_A.name) + ALIAS_BYTES), 0))
    .where(_A.model_id == _V.model_id, _A.number == _V.number)
    .correlate(tables.versions)
    .scalar_subquery()
)
_BY_IDS = (
    select(tables.versions, _M.name.label("model_name"), _ALIASES_BYTES.label("aliases_bytes"))
    .join(tables.models, _M.id == _V.model_id)
    .where(any_of(_V.id, "ids"))
)
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
    .values(last_number=bindparam("number"), latest_number=bindparam("number"))
)
INSERT_MANIFEST = insert_new(tables.manifests)
_INSERT = insert_generated(tables.versions)
INSERT_FILES = insert(tables.files)
_UPDATE = (
    update(tables.versions)
    .where(_V.id == bindparam("version"))
    .values({name: bindparam(name) for name in (*MUTABLE, *identity.SET_ONCE, "update_time", "sequence")})
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
    namespace_uid: str
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
    marks: Mapping[str, Any] = field(default_factory=dict)
    import_time: int | None = None
    delete_time: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a create did; `sequence` is that of its event, or of the last one when it made none."""

    version: Version
    sequence: int
    created: bool = False
    changed: bool = False


def create(tx: Transaction, act: Act, *, model: str, built: Manifest, draft: Draft) -> Outcome:
    """Append a version, unless the model has its content already.

    Raises:
        ModelNotFound: no such model.
        BlobMissing: the namespace does not hold a file.
        IdempotencyKeyReused, SemanticVersionAlreadyExists, VersionAlreadyExists: a set-once field clashes.
        NumberTaken: the number that it is to keep was used already.
        ContentDeleted: the model has the content in a deleted version.
        DigestMismatch: the content is not what is expected.
        QuotaExceeded: the namespace may not have more versions.
    """
    draft.check(digest=built.digest)
    parent = models.find(tx, name=model, lock=True)
    existing = known(tx, act, parent=parent, digest=built.digest, draft=draft)
    if existing is not None:
        return existing
    blobs.require(tx, namespace_id=parent.namespace_id, namespace=parent.namespace, files=built.content.files)
    at = events.stamp(tx)
    number = draft.number or parent.last_number + 1
    take_number(tx, parent=parent, number=number)
    version = new(act, at, parent=parent, built=built, draft=draft, number=number)
    tx.run(INSERT_MANIFEST, {"digest": built.digest, "content": built.encoded})
    key = insert_row(tx, version, parent=parent, summary=built.summary, details=built.details)
    tx.run(INSERT_FILES, [files.row(file, version_id=key) for file in built.content.files])
    action = "version.import" if draft.origin else "version.create"
    events.append(tx, act, at, action=action, changes=[change(version, previous=0)])
    return Outcome(version, sequence=at.sequence, created=True, changed=True)


def new(act: Act, at: Stamp, *, parent: Model, built: Manifest, draft: Draft, number: int) -> Version:
    """Return the version that is to have *number*; nothing is written."""
    return Version(
        id=0,
        uid=str(uuid.uuid4()),
        model=parent.text,
        model_uid=parent.uid,
        namespace_uid=parent.namespace_uid,
        number=number,
        digest=built.digest,
        content=replace(built.content, files=built.content.files[: LIMITS.version_files_count]),
        file_count=len(built.content.files),
        size_bytes=built.size_bytes,
        description=draft.description,
        labels=draft.labels,
        stage=stages.FIRST,
        aliases=(),
        semantic_version=draft.semantic_version,
        idempotency_key=draft.idempotency_key,
        origin=draft.origin.as_json() if draft.origin else None,
        creator=act.caller.as_json(),
        create_time=at.time,
        update_time=at.time,
        import_time=at.time if draft.origin else None,
        sequence=at.sequence,
    )


def known(tx: Transaction, act: Act, *, parent: Model, digest: str, draft: Draft) -> Outcome | None:
    """Return what `create` answers for content that *parent* has already; None for new content.

    A set-once field that the version does not have yet is set.
    """
    existing = identity.find(tx, parent=parent, digest=digest, draft=draft)
    if existing is None:
        return None
    before = complete(tx, existing, model=parent)
    wanted = identity.unset(before, draft=draft)
    if not wanted:
        return Outcome(before, sequence=events.seen(tx))
    after = _changed(tx, act, before, **wanted)
    return Outcome(after, sequence=after.sequence, changed=True)


def take_number(tx: Transaction, *, parent: Model, number: int) -> None:
    """Make *number*, above all that were used, the last and the newest one of a locked model."""
    tx.run(_TAKE_NUMBER, {"model": parent.id, "number": number})


def get(tx: Transaction, *, reference: Reference, read_time: int | None = None) -> Version:
    """Return one version with all its content, of the files the first ``Limits.version_files_count``."""
    model, row = references.resolve(tx, reference, read_time=read_time)
    return complete(tx, row, model=model)


def batch_get(
    tx: Transaction, *, namespace: str, wanted: Sequence[Reference], caller: Caller = access.UNLIMITED
) -> list[Version]:
    """Return versions of one namespace in the order asked for, as lists have them.

    Raises:
        PermissionMissing: *caller* may not read the model of one of them.
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
        references.require_namespace(reference, namespace=namespace)
        access.require(caller, roles.READ, reference.model)
        model, row = references.resolve(tx, reference)
        summaries = _summaries(tx, [row])
        total_bytes += _row_bytes(row) + pages.utf8_bytes(model.text, *summaries[0].aliases)
        if total_bytes > LIMITS.page_bytes and found:
            count = len(found) + 1
            message = f"The first {count} versions have more than {LIMITS.page_bytes} bytes; ask for fewer."
            raise LimitExceeded(message, field="versions", limit=LIMITS.page_bytes, actual=total_bytes)
        found += summaries
    return found


def page(
    tx: Transaction,
    *,
    model: str,
    filter: str = "",  # noqa: A002 - as the request calls it
    order_by: str = "",
    after: search.Position | None = None,
    page_size: int = 0,
    show_deleted: bool = False,
    caller: Caller = access.UNLIMITED,
) -> search.Page[Version]:
    """Return a page of the versions that pass a filter and follow *after*.

    Deleted ones are left out unless *show_deleted*; those of deleted models always.

    Args:
        model: `namespace/model`, or `namespace/-` for all models of the namespace.
        caller: who gets only those of models that they may read.

    Raises:
        NamespaceNotFound, ModelNotFound, ModelDeleted: no such namespace or model.
        FilterInvalid, OrderByInvalid, MetricAmbiguous, TooLong: with the column where one stands.
    """
    scope = references.scope(tx, model, show_deleted=show_deleted, caller=caller)
    found = search.page(
        tx,
        search.Listing(VERSION_FIELDS, scope, unique=("model", "number")[scope.model_id is not None :]),
        statement=_BY_IDS,
        size_bytes=_listed_bytes,
        page_size=page_size,
        filter=filter,
        order_by=order_by,
        after=after,
    )
    return found.of(_summaries(tx, found.entries))


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
    before = complete(tx, row, model=model)
    masks.check_etag(etag, before.sequence)
    return _changed(tx, act, before, **wanted)


def read_manifest(tx: Transaction, *, reference: Reference) -> tuple[int, str, bytes]:
    """Return number, digest and manifest of a version."""
    _, row = references.resolve(tx, reference)
    stored = tx.one(_MANIFEST, digest=row.digest)
    if stored is None:
        raise RuntimeError("A version has no manifest.")
    return row.number, row.digest, bytes(stored.content)


def without_files(tx: Transaction, rows: Sequence[Row], *, model: Model) -> list[Version]:
    """Read versions of one model with all their content but files."""
    aliases = _aliases(tx, [row.id for row in rows])
    contents = (manifest.parse(row.summary, row.details) for row in rows)
    return [
        _value(row, model=model, content=content, aliases=aliases.get(row.id, ()))
        for row, content in zip(rows, contents, strict=True)
    ]


def _changed(tx: Transaction, act: Act, before: Version, **wanted: Any) -> Version:
    at = events.stamp(tx)
    after = save(tx, at, before, **wanted)
    events.append(tx, act, at, action="version.update", changes=[change(after, previous=before.sequence)])
    return after


def save(tx: Transaction, at: Stamp, before: Version, **wanted: Any) -> Version:
    """Write changed fields of a version and return it as it then is."""
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
    return after


def insert_row(tx: Transaction, version: Version, *, parent: Model, summary: str, details: str) -> int:
    """Insert the row of a version whose manifest is there, and what filters look at; return its key.

    To be called behind the stamp, and after what its namespace is to hold; see ``quotas``.

    Raises:
        QuotaExceeded: the namespace may not have more versions.
    """
    quotas.add(tx, namespace_id=parent.namespace_id, versions_count=1)
    inserted = tx.one(_INSERT, **row_of(version, parent=parent, summary=summary, details=details))
    if inserted is None:
        raise RuntimeError("An insert returned no key.")
    key: int = inserted.id
    terms.add_versions(tx, [terms_of(version, key=key, parent=parent)])
    return key


def terms_of(version: Version, *, key: int, parent: Model) -> terms.NewVersion:
    """Return what filters look at of a new version, whose row has this key."""
    return terms.NewVersion(
        terms.OfVersion(key, parent.id, version.number),
        content=version.content,
        labels=version.labels,
        description=version.description,
        semantic_version=version.semantic_version,
        origin=version.origin,
    )


def row_of(version: Version, *, parent: Model, summary: str, details: str) -> dict[str, object]:
    """Write a new version as a row without its key."""
    return {
        "uid": version.uid,
        "model_id": parent.id,
        "number": version.number,
        "digest": version.digest,
        "description": version.description,
        "labels": canonical.text(version.labels),
        "stage": version.stage,
        "semantic_version": version.semantic_version or None,
        "idempotency_key": version.idempotency_key or None,
        "origin": canonical.text(version.origin) if version.origin else None,
        "marks": None,
        "summary": summary,
        "details": details,
        "file_count": version.file_count,
        "size_bytes": version.size_bytes,
        "creator": canonical.text(version.creator),
        "creator_id": version.creator["id"],
        "create_time": version.create_time,
        "update_time": version.update_time,
        "import_time": version.import_time,
        "delete_time": None,
        "sequence": version.sequence,
    }


def complete(tx: Transaction, row: Row, *, model: Model) -> Version:
    """Return the version of *row* with all its content, of the files the first of them."""
    (version,) = without_files(tx, [row], model=model)
    listed, _ = files.page_of(tx, version_id=row.id, page_size=LIMITS.version_files_count)
    return replace(version, content=replace(version.content, files=tuple(listed)))


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
    """Estimate what a version of a page adds to it."""
    aliases_bytes: int = row.aliases_bytes
    return _row_bytes(row) + pages.utf8_bytes(row.model_name) + LIMITS.name_characters + aliases_bytes


def _row_bytes(row: Row) -> int:
    """Estimate what a version adds to an answer, its aliases and the name of its model aside."""
    texts = (row.summary, row.description, row.labels, row.creator, row.origin)
    return pages.utf8_bytes(*texts, row.semantic_version, row.idempotency_key) + 512


def _value(row: Row, *, model: Model, content: Content, aliases: Sequence[str]) -> Version:
    return Version(
        id=row.id,
        uid=row.uid,
        model=model.text,
        model_uid=model.uid,
        namespace_uid=model.namespace_uid,
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
        marks=marks.of(row),
        creator=orjson.loads(row.creator),
        create_time=row.create_time,
        update_time=row.update_time,
        sequence=row.sequence,
        import_time=row.import_time,
        delete_time=row.delete_time,
    )


def change(version: Version, *, previous: int) -> Change:
    """Say how *version* stands after an event; *previous* is the sequence of its last change."""
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
    after |= {"marks": version.marks} if version.marks else {}
    if version.import_time is not None:
        after["import_time"] = events.time_text(version.import_time)
    if version.delete_time is not None:
        after["delete_time"] = events.time_text(version.delete_time)
    name = f"version/{version.model}:{version.number}"
    return Change(name, version.uid, previous, after, Scope(version.namespace_uid, version.model_uid))
