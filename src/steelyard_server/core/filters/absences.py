"""What a filter asks for and nothing listed has, and what was perhaps meant: asked when nothing is found.

Names may be many, and so may models: suggestions come from some of them, by steps along an index.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import literal, select

from steelyard_server.core.filters import choices
from steelyard_server.core.filters.choices import SHOWN_CHOICES, Choices, written
from steelyard_server.core.filters.fields import NEARNESS
from steelyard_server.core.filters.tree import And, Comparison, Or, Path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Table

    from steelyard_server.core.filters.fields import Fields, Group
    from steelyard_server.core.filters.scope import Scope
    from steelyard_server.core.filters.tree import Node
    from steelyard_server.db.database import Transaction

TOLD_MAXIMUM = 8
NAMES_MAXIMUM = 100
MODELS_MAXIMUM = 100


@dataclass(frozen=True, slots=True)
class AbsentField:
    """A field that nothing listed has, and one like it that something has; empty when there is none."""

    field: str
    suggestion: str


def absent(tx: Transaction, node: Node, *, fields: Fields, scope: Scope) -> list[AbsentField]:
    """Return the parts that *node* asks for, not behind NOT, and that nothing has; the first of them."""
    asked = dict.fromkeys(path for each in _comparisons(node) if (path := _part(each, fields)))
    missing = (path for path in asked if not _has(tx, scope, fields.groups[path.segments[0]].table, path))
    return [
        AbsentField(_text(path), _suggestion(tx, scope, group=fields.groups[path.segments[0]], path=path))
        for path in islice(missing, TOLD_MAXIMUM)
    ]


def _comparisons(node: Node) -> Iterator[Comparison]:
    if isinstance(node, And | Or):
        for part in node.parts:
            yield from _comparisons(part)
    elif isinstance(node, Comparison):
        yield node


def _part(comparison: Comparison, fields: Fields) -> Path | None:
    """Return the part of a group that is asked for, as group and name; `labels:team` asks for one too."""
    path, value = comparison.path, comparison.value
    head, *rest = path.segments
    group = fields.groups.get(head)
    if group is None or group.part is None or path.text in fields.plain:
        return None
    if rest:
        return Path((head, ".".join(rest)), 0, path.dataset, path.slice)
    return None if value.has_star else Path((head, value.text), 0)


def _has(tx: Transaction, scope: Scope, table: Table, path: Path) -> bool:
    columns = table.c
    wanted = [scope.within(columns), columns.name == path.segments[1]]
    if path.dataset is not None:
        wanted += [columns.dataset == path.dataset, columns.slice == path.slice]
    return tx.one(select(literal(1)).where(*wanted).limit(1)) is not None


def _suggestion(tx: Transaction, scope: Scope, *, group: Group, path: Path) -> str:
    head, name = path.segments
    near = difflib.get_close_matches(name, _names(tx, scope, group.table), n=1, cutoff=NEARNESS)
    if not near:
        return ""
    meant = Path((head, near[0]), 0)
    if not group.measured:
        return _text(meant)
    measured = islice(Choices(tx, scope).measured(group.table, near[0]), SHOWN_CHOICES)
    texts = [_text(Path(meant.segments, 0, *place)) for place in measured]
    return next(iter(difflib.get_close_matches(_text(path), texts, n=1, cutoff=0)), "")


def _names(tx: Transaction, scope: Scope, table: Table) -> list[str]:
    statement = choices.step(scope.models().limit(MODELS_MAXIMUM), table.c.name)
    found: list[str] = []
    row = tx.one(statement, low="")
    while row is not None and row.first is not None and len(found) < NAMES_MAXIMUM:
        found.append(row.first)
        row = tx.one(statement, low=row.first + choices.NEXT)
    return found


def _text(path: Path) -> str:
    """Write a part as a filter takes it, dots in its name without quotes where they need none."""
    head, name = path.segments
    parts = name.split(".")
    shown = Path((head, *(parts if all(parts) else [name])), 0)
    return written(shown, path.dataset or "", path.slice)
