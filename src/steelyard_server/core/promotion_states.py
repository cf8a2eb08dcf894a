"""How promotions stand: the words, and what a row says of it at a moment.

Most states are written when they come. What follows from the clock is not, and what a change of policies,
a revocation or a deletion ends is written beside the row (`closing.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, or_

from steelyard_server.db import tables

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

OPEN: Final = "open"
APPLIED: Final = "applied"
REFUSED: Final = "refused"
CANCELLED: Final = "cancelled"
EXPIRED: Final = "expired"
SUPERSEDED: Final = "superseded"
OVERRIDDEN: Final = "overridden"
ALL: Final = (OPEN, APPLIED, REFUSED, CANCELLED, EXPIRED, SUPERSEDED, OVERRIDDEN)

_P = tables.promotions.c
_UNENDED = and_(_P.state == OPEN, _P.ended == "")


def at(*, state: str, ended: str, expire_time: int, now: int) -> str:
    """Return the state at *now*, in microseconds, of a row that says this."""
    if state != OPEN or ended:
        return ended or state
    return OPEN if expire_time > now else EXPIRED


def holds(wanted: str, *, now: ColumnElement[int] | int) -> ColumnElement[bool]:
    """Hold for promotions in the state *wanted* at *now*, as `at` has it."""
    if wanted == OPEN:
        return and_(_UNENDED, _P.expire_time > now)
    if wanted == EXPIRED:
        return and_(_UNENDED, _P.expire_time <= now)
    beside = and_(_P.state == OPEN, _P.ended == wanted)
    if wanted == SUPERSEDED:
        return beside
    return or_(_P.state == wanted, beside) if wanted in {REFUSED, CANCELLED} else _P.state == wanted
