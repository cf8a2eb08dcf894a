"""From a call to a transaction and back: mutations that happen once, reads that say what they saw."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from steelyard_server.core import access, names, requests
from steelyard_server.errors import Conflict, DeadlineTooShort
from steelyard_server.history import events
from steelyard_server.history.act import Act, RequestKey
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from steelyard_server.api.call import Call
    from steelyard_server.db.database import Database, Transaction

# How often a change is tried while who may do what changes under it.
ATTEMPTS = 4

Result = TypeVar("Result")


class Mutation(Protocol):
    """What the requests of all mutations have in common."""

    request_id: str
    reason: str

    def ClearField(self, field_name: Any, /) -> None: ...
    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...


async def mutate(
    database: Database,
    call: Call,
    request: Mutation,
    use_case: Callable[..., Result],
    encode: Callable[[Result], Message],
    *,
    validate_only: bool = False,
    **arguments: Any,
) -> bytes:
    """Run *use_case* at most once for the request id of *request*; return its serialised answer.

    With *validate_only* it runs to its end and is then rolled back.

    Raises:
        DeadlineTooShort: less than Limits.mutation_milliseconds are left.
    """
    _require_time(call)
    act = Act(call.caller, reason=names.reason(request.reason), request=_request_key(call, request))

    def serialized(result: Result) -> bytes:
        return encode(result).SerializeToString()

    once = partial(requests.once, validate_only=validate_only, demand=call.demand, **arguments)
    for _ in range(ATTEMPTS):
        try:
            return await database.write(once, act, use_case, serialized)
        except requests.Rehearsal as rehearsal:
            return rehearsal.answer
        except access.AccessMoved:
            continue
    raise Conflict("Who may do what kept changing meanwhile; try again.")


async def observe(
    database: Database,
    call: Call,
    query: Callable[..., Result],
    *,
    minimum_sequence: int,
    hot: bool = False,
    filtered: bool = False,
    **arguments: Any,
) -> tuple[Result, int]:
    """Run *query* on one snapshot; return its result and the sequence that it saw.

    Args:
        hot: the query finds single rows by key, so it may run on the event loop.
        filtered: the query takes the `caller`, for its answer has only what they may see.

    Raises:
        PermissionMissing, Unauthenticated: on this snapshot the caller may not call any more.
    """
    names.number(minimum_sequence, field="minimum_sequence")

    def observed(tx: Transaction) -> tuple[Result, int]:
        head = events.seen_head(tx, minimum_sequence=minimum_sequence)
        caller = call.caller
        if caller.rights is not None and caller.rights.sequence != head.access_sequence:
            caller = access.current(tx, caller, demand=call.demand)
        who = {"caller": caller} if filtered else {}
        return query(tx, **arguments, **who), head.sequence

    return await (database.read_hot(observed) if hot else database.read(observed))


async def note(database: Database, call: Call, use_case: Callable[..., Result], **arguments: Any) -> Result:
    """Run a use case of bookkeeping, which makes no event, for who may still make this call.

    Raises:
        PermissionMissing, Unauthenticated: they may not any more.
    """

    def noted(tx: Transaction) -> Result:
        access.renewed(tx, call.caller, demand=call.demand)
        return use_case(tx, **arguments)

    return await database.write(noted)


def _require_time(call: Call) -> None:
    left_seconds = call.context.time_remaining()
    if left_seconds is None:
        return
    left, least = int(left_seconds * 1000), LIMITS.mutation_milliseconds
    if left < least:
        message = f"A change needs at least {least} ms and {left} ms are left; set a longer deadline."
        raise DeadlineTooShort(message, limit_milliseconds=least, left_milliseconds=left)


def _request_key(call: Call, request: Mutation) -> RequestKey | None:
    if not request.request_id:
        return None
    request_id = names.request_id(request.request_id)
    request.ClearField("request_id")
    digest = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    return RequestKey(method=call.method.rpartition("/")[2], id=request_id, digest=f"sha256:{digest}")
