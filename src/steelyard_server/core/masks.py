"""Updates: which fields a call changes, and whether it saw the newest state."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from steelyard_server.core import names
from steelyard_server.errors import EtagMismatch, FieldMaskInvalid, ImmutableField

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Changed = TypeVar("Changed")


def chosen(
    given: Mapping[str, Any],
    mask: Sequence[str] | None,
    *,
    mutable: Sequence[str],
    immutable: Sequence[str],
    parts: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return the fields of *given* that a call changes: those of *mask*, or without one those that are set.

    Args:
        parts: the mutable fields that one name stands for.

    Raises:
        ImmutableField: the mask names a field that never changes.
        FieldMaskInvalid: the mask names anything else that cannot change, or nothing is to change.
    """
    allowed = ", ".join(mutable)
    if mask is None:
        mask = [name for name, value in given.items() if value]
    mask = [part for path in mask for part in (parts or {}).get(path, (path,))]
    for path in mask:
        facts = {"field": "update_mask", "path": names.quoted(path), "allowed": allowed}
        if path in immutable:
            raise ImmutableField(f"`{path}` never changes; {allowed} can.", **facts)
        if path not in mutable:
            raise FieldMaskInvalid(f"{names.quoted(path)} cannot be changed here; {allowed} can.", **facts)
    if not mask:
        message = f"Nothing to change: set one of {allowed}, or name it in `update_mask` to clear it."
        raise FieldMaskInvalid(message, field="update_mask", path="", allowed=allowed)
    return {path: given[path] for path in mask}


def check_etag(etag: str, sequence: int) -> None:
    """Demand that a resource still has *etag*; an empty one demands nothing.

    Raises:
        EtagInvalid: the etag is malformed.
        EtagMismatch: the resource changed since.
    """
    expected = names.etag(etag)
    if expected is not None and expected != sequence:
        message = f"It changed since it was read: its etag is {sequence}, not {expected}. Read it again."
        raise EtagMismatch(message, etag=sequence)


def parts(name: str, value: Any) -> dict[str, Any]:
    """Return the fields of the dataclass *value* by their paths below *name*."""
    return {f"{name}.{field.name}": getattr(value, field.name) for field in fields(value)}


def changed(before: Changed, wanted: Mapping[str, Any]) -> Changed:
    """Return *before* with the fields *wanted*; a path leads into a field that is a dataclass."""
    after: Any = before
    for path, value in wanted.items():
        name, _, part = path.partition(".")
        after = replace(after, **{name: replace(getattr(after, name), **{part: value}) if part else value})
    done: Changed = after
    return done
