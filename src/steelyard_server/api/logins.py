"""Logging in with a token or at an identity provider: who it is and what they may do, remembered for a while.

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
from steelyard_server.db.work import Unsure
from steelyard_server.errors import TokenMalformed, TokenRequired

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard_server.api.verified import Verifier
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
        verifier: checks logins of identity providers; None takes none of them.
    """

    database: Database | None = None
    verifier: Verifier | None = None
    _known: dict[str, Caller] = field(default_factory=dict)
    _uses: dict[str, int] = field(default_factory=dict)
    _moved: int = 0
    _key_changes: int = 0

    @property
    def heard(self) -> int:
        """Return the sequence of the last change of who may do what, or of one that may have been."""
        return self._moved

    def holds(self, caller: Caller) -> bool:
        """Return whether what was found out about *caller* before is still good."""
        rights = caller.rights
        if rights is None:
            return True
        return rights.sequence >= self._moved and rights.expire_time > time.time_ns() // 1000

    async def caller(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Return who sent the token, or the login of an identity provider, in the metadata of a call.

        Raises:
            Unauthenticated: there is none, or it is not good.
            SigningKeysUnavailable: nobody can say whether it is.
        """
        text = _sent(metadata)
        digest = tokens.digest_of(text)
        self._hear_of_keys()
        found = self._known.get(digest)
        if found is None or found.rights is None:
            return await self._log_in(text, digest=digest)
        now = time.time_ns() // 1000
        if found.rights.expire_time <= now:
            del self._known[digest]
            access.require_unexpired(found.token_uid, expire_time=found.rights.expire_time)
        self._note_use(found, now=now)
        return found

    def on_commit(self, facts: list[object]) -> None:
        """Forget what is remembered when who may do what changed, or may have.

        Where it did not, nothing is remembered until it does: slower, but a revocation is never missed.
        """
        unsure = [inner for fact in facts if isinstance(fact, Unsure) for inner in fact.facts]
        self.hear(max((fact.sequence for fact in (*facts, *unsure) if isinstance(fact, Moved)), default=0))

    def hear(self, sequence: int) -> None:
        """Forget what is remembered from before the event *sequence*, which changed who may do what."""
        if sequence > self._moved:
            self._known.clear()
            self._moved = sequence

    async def refresh_keys(self) -> None:
        """Read the keys of identity providers anew, so that one that was given up is not good for long."""
        if self.verifier is not None:
            await self.verifier.refresh()

    async def note_uses(self) -> None:
        """Write down when tokens were used last."""
        if self.database is None or not self._uses:
            return
        uses, self._uses = self._uses, {}
        await self.database.write(tokens.note_uses, uses)

    def _hear_of_keys(self) -> None:
        """Forget what is remembered when a provider gave up a key: logins with it are not good any more."""
        if self.verifier is not None and self.verifier.changes != self._key_changes:
            self._known.clear()
            self._key_changes = self.verifier.changes

    def _note_use(self, caller: Caller, *, now: int) -> None:
        if caller.token_uid:
            self._uses[caller.token_uid] = now

    async def _log_in(self, text: str, *, digest: str) -> Caller:
        found = await self._found(text, digest=digest)
        self._note_use(found, now=time.time_ns() // 1000)
        # What was read before a change that was heard of since must not be remembered.
        if found.rights is not None and found.rights.sequence >= self._moved:
            if len(self._known) >= TOKENS_MAXIMUM:
                self._known.clear()
            self._known[digest] = found
        return found

    async def _found(self, text: str, *, digest: str) -> Caller:
        if self.database is None:
            raise RuntimeError("The database is not open yet.")
        if self.verifier is None or text.startswith(tokens.PREFIX):
            return await self.database.read_hot(access.log_in, uid=tokens.uid_of(text), digest=digest)
        login = await self.verifier.login(text)
        return await self.database.read_hot(access.entered, login=login)


def _sent(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the one token that stands in the metadata."""
    given = [value for key, value in metadata if key == KEY]
    if not given:
        raise TokenRequired(
            "This server wants a login: use `steelyard login`, or STEELYARD_TOKEN; other clients send one "
            "in the metadata `authorization`, as `Bearer steelyard_…`."
        )
    header = given[0]
    if len(given) > 1 or not isinstance(header, str) or len(header) > HEADER_BYTES_MAXIMUM:
        raise TokenMalformed("The metadata `authorization` must be there once, with one token.")
    if header[: len(SCHEME)].lower() != SCHEME:
        raise TokenMalformed("The metadata `authorization` must be `Bearer` and a token.")
    return header[len(SCHEME) :]
