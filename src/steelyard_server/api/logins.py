"""Logging in with a token: who sent it, with what they may do, remembered until that changes.

Without a memo each call would read token, groups and grants. What is remembered is dropped whole
when a change of access is committed, before whoever made it is answered; and the transaction of a
call looks again, for it may have waited.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from steelyard_server.core import access, tokens
from steelyard_server.core.access import Moved
from steelyard_server.errors import TokenMalformed, TokenRequired

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard_server.db.database import Database
    from steelyard_server.history.caller import Caller

KEY = "authorization"
SCHEME = "bearer "
TOKENS_MAXIMUM = 4096
HEADER_BYTES_MAXIMUM = 8 * 1024


@dataclass(slots=True)
class Logins:
    """Find out who calls. All methods belong to the thread of the event loop.

    Args:
        database: where tokens are; set once it is open, for it reports commits here from the start.
    """

    database: Database | None = None
    _known: dict[str, Caller] = field(default_factory=dict)
    _uses: dict[str, int] = field(default_factory=dict)
    _moved: int = 0

    def holds(self, caller: Caller) -> bool:
        """Return whether what was found out about *caller* before is still good."""
        rights = caller.rights
        if rights is None:
            return True
        return rights.sequence >= self._moved and rights.expire_time > time.time_ns() // 1000

    async def caller(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Return who sent the token in the metadata of a call.

        Raises:
            Unauthenticated: there is none, or it is not good.
        """
        text = _sent(metadata)
        digest = tokens.digest_of(text)
        found = self._known.get(digest)
        if found is None or found.rights is None:
            return await self._log_in(tokens.uid_of(text), digest=digest)
        now = time.time_ns() // 1000
        if found.rights.expire_time <= now:
            del self._known[digest]
            access.require_unexpired(found.token_uid, expire_time=found.rights.expire_time)
        self._uses[found.token_uid] = now
        return found

    def on_commit(self, facts: list[object]) -> None:
        """Forget what is remembered when who may do what changed."""
        self.hear(max((fact.sequence for fact in facts if isinstance(fact, Moved)), default=0))

    def hear(self, sequence: int) -> None:
        """Forget what is remembered from before the event *sequence*, which changed who may do what."""
        if sequence > self._moved:
            self._known.clear()
            self._moved = sequence

    async def note_uses(self) -> None:
        """Write down when tokens were used last."""
        if self.database is None or not self._uses:
            return
        uses, self._uses = self._uses, {}
        await self.database.write(tokens.note_uses, uses)

    async def _log_in(self, uid: str, *, digest: str) -> Caller:
        if self.database is None:
            raise RuntimeError("The database is not open yet.")
        found = await self.database.read_hot(access.log_in, uid=uid, digest=digest)
        self._uses[uid] = time.time_ns() // 1000
        # What was read before a change that was heard of since must not be remembered.
        if found.rights is not None and found.rights.sequence >= self._moved:
            if len(self._known) >= TOKENS_MAXIMUM:
                self._known.clear()
            self._known[digest] = found
        return found


def _sent(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the one token that stands in the metadata."""
    given = [value for key, value in metadata if key == KEY]
    if not given:
        raise TokenRequired(
            "This server wants a login: send a token in the metadata `authorization`, `Bearer steelyard_…`."
        )
    header = given[0]
    if len(given) > 1 or not isinstance(header, str) or len(header) > HEADER_BYTES_MAXIMUM:
        raise TokenMalformed("The metadata `authorization` must be there once, with one token.")
    if header[: len(SCHEME)].lower() != SCHEME:
        raise TokenMalformed("The metadata `authorization` must be `Bearer` and a token.")
    return header[len(SCHEME) :]
