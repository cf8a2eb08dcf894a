"""A filter as values: comparisons and words, joined by And and Or, negated only at the leaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class Fault(Exception):
    """A filter or an order is wrong; whoever reads it says which of the two.

    Args:
        message: what is wrong, without the place.
        column: where, in characters from 1.
        expected: what would be right there.
    """

    def __init__(self, message: str, *, column: int, expected: str) -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Path:
    """A field: `metrics.precision@holdout[region=EU]`, or a word to look for.

    Args:
        segments: without quotes and escapes.
        column: where it begins.
        dataset: None where none is written.
        quoted: whether the first segment stood in quotes.
    """

    segments: tuple[str, ...]
    column: int
    dataset: str | None = None
    slice: str = ""
    quoted: bool = False

    @property
    def text(self) -> str:
        """Return the segments as they are written, but for quotes."""
        return ".".join(self.segments)


@dataclass(frozen=True, slots=True)
class Value:
    """What a field is compared with.

    Args:
        text: without quotes, escapes and stars.
        column: where it begins.
        quoted: whether it stood in quotes, so that it is a text.
        open_start: whether a star stood before it.
        open_end: whether a star stood behind it.
    """

    text: str
    column: int
    quoted: bool = False
    open_start: bool = False
    open_end: bool = False

    @property
    def has_star(self) -> bool:
        """Return whether it stands for more texts than one."""
        return self.open_start or self.open_end

    @property
    def is_star(self) -> bool:
        """Return whether it stands for anything at all."""
        return self.has_star and not self.text


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field comparator value`."""

    path: Path
    comparator: str
    value: Value

    @property
    def is_presence(self) -> bool:
        """Return whether it asks only that there is a value."""
        return self.value.is_star and self.comparator in {":", "="}


@dataclass(frozen=True, slots=True)
class Words:
    """Words that must all be there; with *prefix* the last one may go on."""

    text: str
    column: int
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a part; after `normal` only of a leaf."""

    part: Node


@dataclass(frozen=True, slots=True)
class And:
    """Every part holds; without parts it does."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Some part holds."""

    parts: tuple[Node, ...]


Node = Comparison | Words | Not | And | Or


@dataclass(frozen=True, slots=True)
class OrderKey:
    """A field to order by."""

    path: Path
    descending: bool


def normal(node: Node, *, negated: bool = False) -> Node:
    """Push negations down to the leaves and join what nests without need.

    The deepest parts come first. Parsers of SQLite keep what stands before a parenthesis on a stack of
    100, so a filter of any allowed depth then fits.
    """
    if isinstance(node, Not):
        return normal(node.part, negated=not negated)
    if isinstance(node, And | Or):
        kind = And if isinstance(node, And) != negated else Or
        parts = list(_joined((normal(part, negated=negated) for part in node.parts), kind=kind))
        return parts[0] if len(parts) == 1 else kind(tuple(sorted(parts, key=depth, reverse=True)))
    return Not(node) if negated else node


def depth(node: Node) -> int:
    """Count how many joints lie above the deepest leaf."""
    return 1 + max(map(depth, node.parts), default=0) if isinstance(node, And | Or) else 0


def leaves(node: Node) -> Iterable[Comparison | Words]:
    """List all comparisons and words."""
    if isinstance(node, Not):
        yield from leaves(node.part)
    elif isinstance(node, And | Or):
        for part in node.parts:
            yield from leaves(part)
    else:
        yield node


def _joined(parts: Iterable[Node], *, kind: type[And | Or]) -> Iterable[Node]:
    for part in parts:
        if isinstance(part, kind):
            yield from part.parts
        else:
            yield part
