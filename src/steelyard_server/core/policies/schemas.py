"""Whether a version can take the place of another as far as its inputs and outputs show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard_server.core.content import Schema, SchemaField

ANY_SIZE = -1


def obstacles(new: Schema, old: Schema) -> Iterator[str]:
    """Say what those who call *old* would trip over with *new*; nothing when it can take its place.

    Callers send what *old* took and read what it gave. So no input may be gone, become required or
    take less, and no output may be gone, become optional or give more. A shape that one of the two
    does not state is another shape: what is not known is no proof.
    """
    yield from _inputs({each.name: each for each in new.inputs}, {each.name: each for each in old.inputs})
    yield from _outputs({each.name: each for each in new.outputs}, {each.name: each for each in old.outputs})


def _inputs(new: dict[str, SchemaField], old: dict[str, SchemaField]) -> Iterator[str]:
    for name, field in old.items():
        if name not in new:
            yield f"input {name} is gone"
            continue
        if field.optional and not new[name].optional:
            yield f"input {name} became required"
        yield from _types(f"input {name}", wide=new[name], narrow=field, new=new[name], old=field)
    for name, field in new.items():
        if name not in old and not field.optional:
            yield f"input {name} is new and required"


def _outputs(new: dict[str, SchemaField], old: dict[str, SchemaField]) -> Iterator[str]:
    for name, field in old.items():
        if name not in new:
            yield f"output {name} is gone"
            continue
        if new[name].optional and not field.optional:
            yield f"output {name} became optional"
        yield from _types(f"output {name}", wide=field, narrow=new[name], new=new[name], old=field)


def _types(
    what: str, *, wide: SchemaField, narrow: SchemaField, new: SchemaField, old: SchemaField
) -> Iterator[str]:
    if new.type != old.type:
        yield f"{what} changed its type from {old.type} to {new.type}"
    if not _holds(wide.shape, narrow.shape):
        yield f"{what} changed its shape from {list(old.shape)} to {list(new.shape)}"


def _holds(wide: tuple[int, ...], narrow: tuple[int, ...]) -> bool:
    """Return whether every array of the shape *narrow* also has the shape *wide*."""
    return len(wide) == len(narrow) and all(
        some in {ANY_SIZE, other} for some, other in zip(wide, narrow, strict=True)
    )
