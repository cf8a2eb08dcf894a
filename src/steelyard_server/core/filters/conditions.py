"""A tree to one condition that is true or false for everything listed, and never NULL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import and_, not_, or_, true

from steelyard_server.core.filters import fields as all_fields
from steelyard_server.core.filters.scope import matches
from steelyard_server.core.filters.tree import And, Comparison, Node, Not, Or, Words

if TYPE_CHECKING:
    from steelyard_server.core.filters.choices import Choices
    from steelyard_server.core.filters.fields import Fields
    from steelyard_server.core.filters.kinds import Columns, Condition, Kind
    from steelyard_server.core.filters.scope import Rows, Scope


@dataclass(frozen=True, slots=True)
class Conditions:
    """Turn the trees of one list into conditions."""

    fields: Fields
    choices: Choices

    def of(self, node: Node, scope: Scope) -> Condition:
        """Return the condition of *node*.

        Raises:
            Fault: it names an unknown field, or compares what cannot be compared.
            MetricAmbiguous: it names a metric that was measured on several datasets.
        """
        if isinstance(node, And):
            return and_(*self._each(node, scope)) if node.parts else true()
        if isinstance(node, Or):
            return or_(*(self.of(part, scope) for part in node.parts))
        if isinstance(node, Not):
            return not_(self.of(node.part, scope))
        if isinstance(node, Words):
            parts = all_fields.words(self.fields, scope, node.text, prefix=node.prefix, column=node.column)
            return and_(*parts)
        return self._compared(node, scope)

    def needs(self, node: Node, rows: Rows) -> bool:
        """Return whether nothing passes *node* for which *rows* hold nothing to compare."""
        if isinstance(node, And):
            return any(self.needs(part, rows) for part in node.parts)
        return self._rows(node) == rows

    def equal(self, node: Node) -> Rows | None:
        """Return rows that everything which passes *node* has with one value; None when there are none."""
        if isinstance(node, And):
            return next((rows for part in node.parts if (rows := self.equal(part))), None)
        if not isinstance(node, Comparison) or node.comparator not in {"=", ":"} or node.value.has_star:
            return None
        return self._rows(node)

    def _each(self, node: And, scope: Scope) -> Iterator[Condition]:
        """List the conditions of the parts; what is asked of the same rows is looked up once, as a range."""
        ranges: dict[Rows, list[Comparison]] = {}
        for part in node.parts:
            rows = self._rows(part)
            if rows is not None and isinstance(part, Comparison):
                ranges.setdefault(rows, []).append(part)
            else:
                yield self.of(part, scope)
        for rows, parts in ranges.items():
            yield matches(scope, rows, partial(_all_of, rows.kind, parts))

    def _rows(self, node: Node) -> Rows | None:
        """Return the single rows that a comparison looks at; None for anything else."""
        if not isinstance(node, Comparison) or node.is_presence or self._group(node):
            return None
        return self.fields.find(node.path, choices=self.choices, field="filter").rows

    def _compared(self, node: Comparison, scope: Scope) -> Condition:
        path, value = node.path, node.value
        group = self._group(node)
        if group is not None:
            return group.has(scope, node.comparator, value, column=path.column)
        found = self.fields.find(path, choices=self.choices, field="filter")
        if node.is_presence:
            return found.present(scope)
        return found.compare(scope, node.comparator, value)

    def _group(self, node: Comparison) -> all_fields.Group | None:
        alone = len(node.path.segments) == 1 and node.path.text not in self.fields.plain
        return self.fields.groups.get(node.path.text) if alone else None


def _all_of(kind: Kind, parts: Sequence[Comparison], columns: Columns) -> Condition:
    return and_(*(kind.condition(columns, part.comparator, part.value) for part in parts))
