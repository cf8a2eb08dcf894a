"""Metrics as checks write them: `precision`, `precision@holdout`, `precision@holdout[region=EU]`.

A name or dataset with `@`, `[`, `]` or `"` is quoted like a JSON string: `"top@5"@holdout`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import orjson

_PART = r'"(?:[^"\\]|\\.)+"|[^@\[\]"]+'
_KEY = re.compile(rf"(?P<name>{_PART})(?:@(?P<dataset>{_PART})(?:\[(?P<slice>.+)\])?)?", re.DOTALL)
_SPECIAL = re.compile(r'[@\[\]"]')


class MetricKey(NamedTuple):
    """What identifies a metric of a version; dataset and slice are empty when not stated."""

    name: str
    dataset: str = ""
    slice: str = ""

    def __str__(self) -> str:
        """Write the key as `parse` reads it."""
        text = _quoted(self.name)
        if self.dataset:
            text += "@" + _quoted(self.dataset)
        return f"{text}[{self.slice}]" if self.slice else text


def parse(text: str) -> MetricKey | None:
    """Read a key; None when it is none."""
    found = _KEY.fullmatch(text)
    if found is None:
        return None
    name, dataset = _unquoted(found["name"]), _unquoted(found["dataset"] or "")
    return None if name is None or dataset is None else MetricKey(name, dataset, found["slice"] or "")


def _quoted(part: str) -> str:
    return orjson.dumps(part).decode() if _SPECIAL.search(part) else part


def _unquoted(part: str) -> str | None:
    if not part.startswith('"'):
        return part
    try:
        return str(orjson.loads(part))
    except orjson.JSONDecodeError:
        return None
