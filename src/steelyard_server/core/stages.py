"""Stages: how far a version has come, by a list that a namespace may have of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from steelyard_server.core import names
from steelyard_server.errors import StageUnknown
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard_server.core.namespaces import Namespace

FIRST: Final = "development"
ARCHIVED: Final = "archived"
USUAL: Final = (FIRST, "staging", "production", ARCHIVED)


def check(given: Sequence[str], *, field: str) -> list[str]:
    """Check a list of stages; an empty one stands for the usual ones."""
    names.at_most(len(given), LIMITS.stages_count, field=field)
    names.distinct(given, field=field)
    if given and given[0] != FIRST:
        message = f"`{field}` begins with {names.quoted(given[0])}; put {FIRST} first: there versions begin."
        raise StageUnknown(message, field=field, stage=names.quoted(given[0]), stages=FIRST)
    return [names.stage(each, field=f"{field}[{place}]") for place, each in enumerate(given)]


def of(namespace: Namespace) -> tuple[str, ...]:
    """Return the stages of a namespace in their order."""
    return tuple(namespace.stages) or USUAL


def require(stage: str, *, namespace: Namespace, field: str) -> None:
    """Demand that a namespace has a stage.

    Raises:
        StageUnknown: it does not.
    """
    known = of(namespace)
    if stage not in known:
        message = f"{namespace.name} has no stage {names.quoted(stage)}; it has {', '.join(known)}."
        facts = {"stage": names.quoted(stage), "stages": " ".join(known)}
        raise StageUnknown(message, field=field, **facts)
