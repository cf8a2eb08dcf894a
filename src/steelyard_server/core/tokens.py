"""Tokens: opaque texts with which principals log in, of which the registry keeps a digest only."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import bindparam, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql

from steelyard_server.core import access, names, pages, roles, scopes
from steelyard_server.db import tables
from steelyard_server.db.statements import insert_generated
from steelyard_server.errors import LimitExceeded, TokenMalformed, TokenNotFound
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change, Scope, Text
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.caller import Caller
    from steelyard_server.history.canonical import Json

# Recognised by people and by scanners of leaked secrets.
PREFIX: Final = "steelyard_"
# Who administers a registry at first; with tokens only, so that nobody can become it at a provider.
FIRST_ADMIN: Final = "user:admin"
UID_BYTES, SECRET_BYTES = 8, 32
# The last eight digits are a checksum of all before, so that a cut or altered text needs no look-up.
CHECK_DIGITS = 8
_FORM = re.compile(rf"{PREFIX}([0-9a-f]{{16}})_[0-9a-f]{{72}}")
_UID = re.compile(r"[0-9a-f]{16}")

_T, _U, _G = tables.tokens.c, tables.token_uses.c, tables.grants.c
_M, _GR = tables.group_members.c, tables.groups.c
_ALL = select(tables.tokens, _U.use_time).outerjoin(tables.token_uses, _U.uid == _T.uid)
_PAGE = _ALL.where(_T.id > bindparam("after")).order_by(_T.id).limit(bindparam("limit"))
_PAGE_OF_ONE = _PAGE.where(_T.principal == bindparam("principal"))
_FIND = _ALL.where(_T.uid == bindparam("uid"))
_GOOD = (_T.revoke_time.is_(None), _T.expire_time > bindparam("now"))
_COUNT = select(func.count().label("tokens")).where(_T.principal == bindparam("principal"), *_GOOD)
_INSERT = insert_generated(tables.tokens)
_REVOKE = (
    update(tables.tokens)
    .where(_T.uid == bindparam("token"))
    .values(revoke_time=bindparam("revoke_time"), sequence=bindparam("sequence"))
)
_USE = postgresql.insert(tables.token_uses)
_NOTE_USE = _USE.on_conflict_do_update(index_elements=[_U.uid], set_={"use_time": _USE.excluded.use_time})
_IN_GROUP = exists().where(
    _M.principal == _T.principal, _GR.id == _M.group_id, _G.subject == names.GROUP + _GR.name
)
_ADMINISTERS = (
    select(_T.uid)
    .where(
        *_GOOD,
        exists().where(
            _G.scope_key == scopes.REGISTRY,
            _G.role == roles.ADMIN,
            or_(_G.subject == _T.principal, _IN_GROUP),
        ),
    )
    .limit(1)
)

_OTHER_ADMIN = (
    select(_G.uid)
    .where(_G.scope_key == scopes.REGISTRY, _G.role == roles.ADMIN, _G.subject != bindparam("first"))
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Secret:
    """A new token as a text, which is shown once, and what is kept of it."""

    uid: str
    text: str

    def __repr__(self) -> str:
        """Keep the text out of logs and tracebacks."""
        return f"Secret({self.uid})"

    @property
    def digest(self) -> str:
        """Return what is kept."""
        return digest_of(self.text)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it stands, without its secret; times are microseconds."""

    id: int
    uid: str
    principal: str
    description: str
    creator: Mapping[str, Any]
    create_time: int
    expire_time: int
    sequence: int
    revoke_time: int | None = None
    use_time: int | None = None


def make() -> Secret:
    """Make the text of a new token."""
    uid = secrets.token_hex(UID_BYTES)
    body = f"{PREFIX}{uid}_{secrets.token_hex(SECRET_BYTES)}"
    return Secret(uid, body + _checksum(body))


def digest_of(text: str) -> str:
    """Return what is kept of the text of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def uid_of(text: str) -> str:
    """Return the uid that stands in the text of a token.

    Raises:
        TokenMalformed: it is not whole.
    """
    found = _FORM.fullmatch(text)
    if found is None or _checksum(text[:-CHECK_DIGITS]) != text[-CHECK_DIGITS:]:
        raise TokenMalformed("This is no token of Steelyard, or a part of one; send its whole text.")
    return found[1]


def create(
    tx: Transaction,
    act: Act,
    *,
    uid: str,
    digest: str,
    principal: str = "",
    description: str = "",
    lifetime_seconds: int = 0,
) -> Token:
    """Record a token.

    Args:
        principal: who logs in with it; empty for the caller.
        lifetime_seconds: how long it is good; 0 for Limits.token_seconds_default.

    Raises:
        PermissionMissing: it is for somebody else.
        OutOfBounds: it would be good for too long.
        LimitExceeded: the principal has too many that are good.
    """
    principal = names.principal(principal or act.caller.id, field="principal")
    names.text(description, field="description", maximum_bytes=LIMITS.text_bytes)
    names.number(lifetime_seconds, field="lifetime", maximum=LIMITS.token_seconds)
    _require_own(act.caller, principal)
    at = events.stamp(tx)
    _require_room(tx, principal, now=at.time)
    lifetime_seconds = lifetime_seconds or LIMITS.token_seconds_default
    token = Token(
        id=0,
        uid=uid,
        principal=principal,
        description=description,
        creator=act.caller.as_json(),
        create_time=at.time,
        expire_time=at.time + lifetime_seconds * 1_000_000,
        sequence=at.sequence,
    )
    tx.one(_INSERT, **_row(token, digest=digest))
    events.append(tx, act, at, action="token.create", changes=[change(token, previous=0)])
    return token


def revoke(tx: Transaction, act: Act, *, uid: str) -> tuple[Token, int]:
    """End a token for good; return it with the sequence of the event, or of the last one.

    Raises:
        TokenNotFound: there is none of this uid that the caller may revoke.
    """
    row = tx.one(_FIND, uid=uid) if _UID.fullmatch(uid) else None
    if row is None or not _is_own(act.caller, row.principal):
        message = f"There is no token {names.quoted(uid)} that you may revoke; list the tokens."
        raise TokenNotFound(message, token=uid)
    if row.revoke_time is not None:
        return _value(row), events.seen(tx)
    at = events.stamp(tx)
    before = _value(row)
    after = replace(before, revoke_time=at.time, sequence=at.sequence)
    tx.run(_REVOKE, {"token": uid, "revoke_time": at.time, "sequence": at.sequence})
    access.move(tx, at)
    events.append(tx, act, at, action="token.revoke", changes=[change(after, previous=before.sequence)])
    return after, at.sequence


def page(
    tx: Transaction, *, caller: Caller, principal: str = "", after: int = 0, page_size: int = 0
) -> tuple[list[Token], bool]:
    """Return the tokens of a principal, or all that the caller may see, and whether more follow.

    Raises:
        PermissionMissing: they are somebody else's.
    """
    if principal:
        names.principal(principal, field="principal")
        _require_own(caller, principal)
    elif not access.allows(caller, roles.ADMINISTER, scopes.REGISTRY):
        principal = caller.id
    rows, more = pages.take(
        tx,
        _PAGE_OF_ONE if principal else _PAGE,
        after={"after": after},
        key=lambda row: {"after": row.id},
        size_bytes=lambda row: pages.utf8_bytes(row.description, row.creator) + 512,
        rows_maximum=pages.page_size(page_size),
        values={"principal": principal} if principal else {},
    )
    return [_value(row) for row in rows], more


def note_uses(tx: Transaction, uses: Mapping[str, int]) -> None:
    """Write down when tokens were used last; bookkeeping, without an event."""
    tx.run(_NOTE_USE, [{"uid": uid, "use_time": uses[uid]} for uid in sorted(uses)])


def is_administered(tx: Transaction, *, has_issuers: bool = False) -> bool:
    """Return whether somebody who administers the registry has a token that is good.

    Args:
        has_issuers: it is enough that somebody may administer it who can log in elsewhere.
    """
    if has_issuers and tx.one(_OTHER_ADMIN, first=FIRST_ADMIN) is not None:
        return True
    return tx.one(_ADMINISTERS, now=time.time_ns() // 1000) is not None


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _is_own(caller: Caller, principal: str) -> bool:
    own = caller.authenticated and caller.id == principal
    return own or access.allows(caller, roles.ADMINISTER, scopes.REGISTRY)


def _require_own(caller: Caller, principal: str) -> None:
    if not _is_own(caller, principal):
        access.require(caller, roles.ADMINISTER, scopes.REGISTRY)


def _require_room(tx: Transaction, principal: str, *, now: int) -> None:
    counted = tx.one(_COUNT, principal=principal, now=now)
    if counted is not None and counted.tokens >= LIMITS.tokens_count:
        message = f"{principal} has {counted.tokens} tokens that are good; revoke some first."
        raise LimitExceeded(message, field="principal", limit=LIMITS.tokens_count, actual=counted.tokens + 1)


def _row(token: Token, *, digest: str) -> dict[str, object]:
    return {
        "uid": token.uid,
        "principal": token.principal,
        "digest": digest,
        "description": token.description,
        "create_time": token.create_time,
        "expire_time": token.expire_time,
        "revoke_time": token.revoke_time,
        "creator": canonical.text(token.creator),
        "sequence": token.sequence,
    }


def _value(row: Row) -> Token:
    return Token(
        id=row.id,
        uid=row.uid,
        principal=row.principal,
        description=row.description,
        creator=orjson.loads(row.creator),
        create_time=row.create_time,
        expire_time=row.expire_time,
        sequence=row.sequence,
        revoke_time=row.revoke_time,
        use_time=row.use_time,
    )


def change(token: Token, *, previous: int) -> Change:
    """Say how *token* stands after an event; nothing of its secret, not even the digest."""
    after: dict[str, Json | Text] = {
        "principal": token.principal,
        "description": Text(token.description),
        "creator": token.creator,
        "create_time": events.time_text(token.create_time),
        "expire_time": events.time_text(token.expire_time),
    }
    if token.revoke_time is not None:
        after["revoke_time"] = events.time_text(token.revoke_time)
    return Change(f"token/{token.uid}", token.uid, previous, after, Scope(), answered=False)
