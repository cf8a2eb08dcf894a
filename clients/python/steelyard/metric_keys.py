"""Metrics in text: ``precision``, ``precision@holdout``, ``precision@holdout[region=EU]``.

A name or dataset with ``@``, ``[``, ``]`` or ``"`` is quoted like a JSON string: ``"top@5"@holdout``.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from steelyard.errors import InvalidArgument

_PART = r'"(?:[^"\\]|\\.)+"|[^@\[\]"]+'
_KEY = re.compile(rf"(?P<name>{_PART})(?:@(?P<dataset>{_PART})(?:\[(?P<slice>.+)\])?)?", re.DOTALL)
_SPECIAL = re.compile(r'[@\[\]"]')


class MetricKey(NamedTuple):
    """What identifies a metric of a version."""

    name: str
    dataset: str = ""
    slice: str = ""

    def __str__(self) -> str:
        """Write the key as `parse` reads it."""
        text = _quoted(self.name)
        if self.dataset:
            text += "@" + _quoted(self.dataset)
        return f"{text}[{self.slice}]" if self.slice else text


def parse(text: str) -> MetricKey:
    """Read a key.

    Raises:
        InvalidArgument: it is not name, name@dataset or name@dataset[slice].
    """
    found = _KEY.fullmatch(text)
    if found is None:
        raise InvalidArgument(
            f"{text!r} names no metric; write name, name@dataset or name@dataset[slice], and names with "
            'special characters in quotes, like "top@5"@holdout.'
        )
    return MetricKey(_unquoted(found["name"]), _unquoted(found["dataset"] or ""), found["slice"] or "")


def _quoted(part: str) -> str:
    return json.dumps(part, ensure_ascii=False) if _SPECIAL.search(part) else part


def _unquoted(part: str) -> str:
    if not part.startswith('"'):
        return part
    try:
        return str(json.loads(part))
    except ValueError:
        raise InvalidArgument(f"{part} is not a quoted name.") from None
