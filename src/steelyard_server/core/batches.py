"""Batches: many versions of one model, all or none, in one transaction with one event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select

from steelyard_server.core import blobs, files, identity, models, names, pages, quotas, terms, versions
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.errors import FieldRequired
from steelyard_server.history import events
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from steelyard_server.core.drafts import Draft
    from steelyard_server.core.manifest import Manifest
    from steelyard_server.core.models import Model
    from steelyard_server.core.versions import Version
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.events import Change, Stamp


_V = tables.versions.c
_INSERT = insert(tables.versions).values(
    {column.name: bindparam(column.name) for column in _V if column.name != "id"}
)
_KEYS = select(_V.id, _V.number).where(_V.model_id == bindparam("model"), any_of(_V.number, "numbers"))


@dataclass(frozen=True, slots=True)
class Wish:
    """A version to be: its content, and what is asked for beside it."""

    built: Manifest
    draft: Draft


@dataclass(frozen=True, slots=True)
class Member:
    """What became of a wish: the version that has the content, and whether it is new."""

    number: int
    digest: str
    uid: str
    created: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of all wishes, in their order; `sequence` and `changed` as in ``versions.Outcome``."""

    members: Sequence[Member]
    sequence: int
    changed: bool


@dataclass(frozen=True, slots=True)
class _Step:
    """A wish after its look-ups: the row of the version that has the content, or the number of a new one."""

    wish: Wish
    known: Row | None
    number: int

    @property
    def is_change(self) -> bool:
        """Whether there is something to write."""
        return self.known is None or bool(identity.unset(self.known, draft=self.wish.draft))


def create(tx: Transaction, act: Act, *, model: str, wishes: Sequence[Wish]) -> Batch:
    """Append versions to a model, but for those whose content it has already.

    Raises:
        LimitExceeded: too many, too many files in all, or too much text in all.
        DuplicateKey: two of them have the same content, semantic version or idempotency key.
        FieldRequired: none, or only some of them have an origin.
        RegistryError: as of ``versions.create``, for the first that has it; of a quota, for all.
    """
    _check(wishes)
    parent = models.find(tx, name=model, lock=True)
    steps = list(_steps(tx, wishes, parent=parent))
    new = [step for step in steps if step.known is None]
    wanted = [file for step in new for file in step.wish.built.content.files]
    blobs.require(tx, namespace_id=parent.namespace_id, namespace=parent.namespace, files=wanted)
    if not any(step.is_change for step in steps):
        return Batch([_there(step) for step in steps], sequence=events.seen(tx), changed=False)
    at = events.stamp(tx)
    made = _append(tx, act, at, new, parent=parent)
    changes = [_written(tx, at, step, made, parent=parent) for step in steps if step.is_change]
    events.append(tx, act, at, action=_action(new), changes=changes)
    members = [_member(made[step.number]) if step.known is None else _there(step) for step in steps]
    return Batch(members, sequence=at.sequence, changed=True)


def _check(wishes: Sequence[Wish]) -> None:
    """Check every rule that needs no look-up."""
    field = "requests"
    if not wishes:
        raise FieldRequired(f"`{field}` is empty; send at least one.", field=field)
    names.at_most(len(wishes), LIMITS.batch_create_count, field=field)
    for index, wish in enumerate(wishes):
        wish.draft.check(digest=wish.built.digest, prefix=f"{field}[{index}].")
        if (wish.draft.origin is None) != (wishes[0].draft.origin is None):
            message = f"`{field}[{index}]` and the first differ in having an origin; import all or none."
            raise FieldRequired(message, field=f"{field}[{index}].origin")
    names.distinct([wish.built.digest for wish in wishes], field=f"{field}.content")
    for name in identity.SET_ONCE:
        given = [value for wish in wishes if (value := getattr(wish.draft, name))]
        names.distinct(given, field=f"{field}.{name}")
    count = sum(len(wish.built.content.files) for wish in wishes)
    names.at_most(count, LIMITS.files_count, field=field, unit="files")
    texts_bytes = sum(_texts_bytes(wish.draft) for wish in wishes)
    limit = LIMITS.batch_create_texts_bytes
    names.at_most(texts_bytes, limit, field=field, unit="bytes of descriptions and labels")


def _texts_bytes(draft: Draft) -> int:
    return pages.utf8_bytes(draft.description, *draft.labels, *draft.labels.values())


def _steps(tx: Transaction, wishes: Sequence[Wish], *, parent: Model) -> Iterator[_Step]:
    """Look up each wish as it is after those before it."""
    there = identity.find_all(tx, parent=parent, digests=[wish.built.digest for wish in wishes])
    for wish in wishes:
        digest, draft = wish.built.digest, wish.draft
        row = there.get(digest)
        identity.check(tx, row, parent=parent, digest=digest, draft=draft)
        if row is not None:
            yield _Step(wish, row, row.number)
            continue
        parent = replace(parent, last_number=draft.number or parent.last_number + 1)
        yield _Step(wish, None, parent.last_number)


def _append(
    tx: Transaction, act: Act, at: Stamp, new: Sequence[_Step], *, parent: Model
) -> dict[int, Version]:
    """Insert new versions, each table in one go, and return them by number."""
    if not new:
        return {}
    made = {
        step.number: versions.new(
            act, at, parent=parent, built=step.wish.built, draft=step.wish.draft, number=step.number
        )
        for step in new
    }
    builts = {step.number: step.wish.built for step in new}
    versions.take_number(tx, parent=parent, number=new[-1].number)
    quotas.add(tx, namespace_id=parent.namespace_id, versions_count=len(new))
    manifests = [{"digest": built.digest, "content": built.encoded} for built in builts.values()]
    tx.run(versions.INSERT_MANIFEST, manifests)
    texts = {number: {"summary": built.summary, "details": built.details} for number, built in builts.items()}
    tx.fill(_INSERT, [versions.row_of(made[number], parent=parent, **texts[number]) for number in made])
    keys = {row.number: row.id for row in tx.all(_KEYS, model=parent.id, numbers=list(made))}
    of_files = [
        files.row(file, version_id=keys[number])
        for number, built in builts.items()
        for file in built.content.files
    ]
    tx.fill(versions.INSERT_FILES, of_files)
    added = (versions.terms_of(version, key=keys[version.number], parent=parent) for version in made.values())
    terms.add_versions(tx, added)
    return made


def _written(
    tx: Transaction, at: Stamp, step: _Step, made: Mapping[int, Version], *, parent: Model
) -> Change:
    """Say what a wish changed, having set what an existing version did not have yet."""
    if step.known is None:
        return versions.change(made[step.number], previous=0)
    before = versions.complete(tx, step.known, model=parent)
    after = versions.save(tx, at, before, **identity.unset(before, draft=step.wish.draft))
    return versions.change(after, previous=before.sequence)


def _member(version: Version) -> Member:
    return Member(version.number, version.digest, version.uid, created=True)


def _there(step: _Step) -> Member:
    if step.known is None:
        raise ValueError("A new version is not there yet.")
    return Member(step.number, step.known.digest, step.known.uid, created=False)


def _action(new: Sequence[_Step]) -> str:
    if not new:
        return "version.update"
    return "version.import" if new[0].wish.draft.origin else "version.create"
