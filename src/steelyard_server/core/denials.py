"""Denials: calls that were refused for who made them, as events of the history.

They change nothing, so they are no state: a resource that comes with one event and is never seen again.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from steelyard_server.history import events
from steelyard_server.history.act import Act
from steelyard_server.history.events import Change, Scope, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard_server.db.database import Transaction
    from steelyard_server.history.caller import Caller
    from steelyard_server.history.canonical import Json

# What stands for the method of several that were counted.
SEVERAL: Final = "several"
# Of what a caller asked for, which nobody has checked.
TARGET_CHARACTERS_MAXIMUM = 512


@dataclass(frozen=True, slots=True)
class Denial:
    """One call that was refused, or several of one caller that were only counted.

    Args:
        caller: who called; anonymous when they could not log in.
        method: service and name of the RPC, or SEVERAL.
        reason: of the refusal, as PERMISSION_MISSING; empty for several.
        time: of the call, or of the first one, in microseconds.
        permission: that was missing.
        target: scope on which it was, as the caller wrote it.
        peer: address that the call came from, without its port.
        token_uid: of a token that is not good any more.
        count: how many calls.
    """

    caller: Caller
    method: str
    reason: str
    time: int
    permission: str = ""
    target: str = ""
    peer: str = ""
    token_uid: str = ""
    count: int = 1

    @property
    def is_login(self) -> bool:
        """Return whether it is not known who called."""
        return self.caller.kind == "stated"


def record(tx: Transaction, denials: Sequence[Denial]) -> None:
    """Append an event for each of *denials*."""
    for each in denials:
        at = events.stamp(tx)
        action = "login.fail" if each.is_login else "call.deny"
        change = Change(
            f"denial/{each.method}",
            str(uuid.uuid4()),
            previous=0,
            after=_told(each),
            scope=Scope(),
            answered=False,
        )
        events.append(tx, Act(each.caller), at, action=action, changes=[change])


def _told(denial: Denial) -> dict[str, Json | Text]:
    told: dict[str, Json | Text] = {
        "reason": denial.reason,
        "time": events.time_text(denial.time),
        "count": str(denial.count),
        "permission": denial.permission,
        "token_uid": denial.token_uid,
        # Both may be about persons, or be anything, so they can be erased; PostgreSQL keeps no NUL.
        "target": Text(denial.target[:TARGET_CHARACTERS_MAXIMUM].replace("\0", "\ufffd")),
        "peer": Text(denial.peer),
    }
    return {name: value for name, value in told.items() if value not in ("", Text(""))}
