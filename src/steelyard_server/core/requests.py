"""Request ids: a mutation happens once, whatever is retried.

The first answer is remembered in the mutation's own transaction. Only successes are, for
``Limits.request_id_seconds``, by caller, method and id.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import bindparam, delete, select

from steelyard_server.core import access
from steelyard_server.db import tables
from steelyard_server.db.statements import insert_generated
from steelyard_server.errors import RequestIdReused
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard_server.core.access import Demand
    from steelyard_server.db.database import Transaction
    from steelyard_server.history.act import Act

_T = tables.requests.c
_FIND = select(_T.digest, _T.answer, _T.expire_time).where(
    _T.principal == bindparam("principal"),
    _T.method == bindparam("method"),
    _T.request_id == bindparam("request_id"),
)
_FORGET = delete(tables.requests).where(
    _T.principal == bindparam("principal"),
    _T.method == bindparam("method"),
    _T.request_id == bindparam("request_id"),
)
_REMEMBER = insert_generated(tables.requests)
_OLDEST = select(_T.id).order_by(_T.id).limit(bindparam("limit"))
_EXPIRE = delete(tables.requests).where(_T.id.in_(_OLDEST), _T.expire_time <= bindparam("now"))

# Answers that one transaction forgets, so that no other waits long for it.
EXPIRED_MAXIMUM = 1000

Result = TypeVar("Result")


class Rehearsal(Exception):
    """Carry the answer of a call that only validates out of its transaction, which rolls back."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("rehearsal")
        self.answer = answer


def once(
    tx: Transaction,
    act: Act,
    use_case: Callable[..., Result],
    encode: Callable[[Result], bytes],
    /,
    *,
    validate_only: bool = False,
    demand: Demand | None = None,
    **arguments: Any,
) -> bytes:
    """Run *use_case* unless its request id was seen; return the encoded answer.

    Args:
        demand: what the caller must still be allowed to do, also to be told an answer again.

    Raises:
        PermissionMissing, Unauthenticated: they are not any more.
        AccessMoved: who may do what changed meanwhile, so that this has to run again.
        RequestIdReused: the id was used with another request.
        Rehearsal: *validate_only* is set; it carries the answer.
    """
    act = replace(act, caller=access.renewed(tx, act.caller, demand=demand))
    if validate_only:
        raise Rehearsal(encode(use_case(tx, act, **arguments)))
    now = time.time_ns() // 1000
    answer = _replay(tx, act, now=now)
    if answer is None:
        answer = encode(use_case(tx, act, **arguments))
        _remember(tx, act, answer=answer, now=now)
        access.confirm(tx, act)
    return answer


def expire(tx: Transaction) -> int:
    """Forget the oldest answers whose time is over, at most EXPIRED_MAXIMUM; return how many."""
    return tx.run(_EXPIRE, {"now": time.time_ns() // 1000, "limit": EXPIRED_MAXIMUM})


def _replay(tx: Transaction, act: Act, *, now: int) -> bytes | None:
    if act.request is None:
        return None
    key = {"principal": act.caller.id, "method": act.request.method, "request_id": act.request.id}
    row = tx.one(_FIND, **key)
    if row is None:
        return None
    if row.expire_time <= now:
        tx.run(_FORGET, key)
        return None
    if row.digest != act.request.digest:
        message = f"The request id {act.request.id} was used with another request; make a new one for each."
        raise RequestIdReused(message, field="request_id", request_id=act.request.id)
    return bytes(row.answer)


def _remember(tx: Transaction, act: Act, *, answer: bytes, now: int) -> None:
    if act.request is None:
        return
    tx.run(
        _REMEMBER,
        {
            "principal": act.caller.id,
            "method": act.request.method,
            "request_id": act.request.id,
            "digest": act.request.digest,
            "answer": answer,
            "expire_time": now + LIMITS.request_id_seconds * 1_000_000,
        },
    )
