"""What all commands of one run share: which server, as whom, in which namespace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from steelyard.cli import contexts

if TYPE_CHECKING:
    from steelyard import Client

DEFAULT_SERVER = "127.0.0.1:7433"
# By the name of the setting. Those of a server, STEELYARD_TLS_CERT and STEELYARD_TLS_KEY, are others.
TLS_VARIABLES = {
    "tls_ca": "STEELYARD_TLS_CA",
    "tls_cert": "STEELYARD_TLS_CLIENT_CERT",
    "tls_key": "STEELYARD_TLS_CLIENT_KEY",
}


@dataclass(frozen=True)
class Session:
    """Settings of the command line, before variables and contexts are asked."""

    server: str | None = None
    context: str | None = None
    namespace: str | None = None
    actor: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    timeout_seconds: float = 30.0
    quiet: bool = False

    def resolved(self) -> dict[str, str]:
        """Return all that a client needs: flags over variables over the context over defaults."""
        chosen = contexts.find(self.context or os.environ.get("STEELYARD_CONTEXT"))
        return {
            "server": self._first("server", chosen) or DEFAULT_SERVER,
            "namespace": self._first("namespace", chosen) or "default",
            "actor": self._first("actor", chosen),
            **self._tls(chosen),
        }

    def _kept(self) -> str:
        from steelyard.cli import logins

        return logins.token_for(self.address())

    def _first(self, name: str, chosen: dict[str, str]) -> str:
        # A context that was named outranks a variable; the one that is merely chosen does not.
        named = chosen.get(name, "") if self.context else ""
        variable = os.environ.get(f"STEELYARD_{name.upper()}", "")
        return getattr(self, name) or named or variable or chosen.get(name, "")

    def _tls(self, chosen: dict[str, str]) -> dict[str, str]:
        """Return what TLS is spoken with; options aside, that comes from where the server does."""
        from_variable = os.environ.get("STEELYARD_SERVER") and not self.context
        is_contexts = bool(chosen) and not (self.server or from_variable)
        return {
            name: getattr(self, name)
            or (chosen.get(name, "") if is_contexts else os.environ.get(variable, ""))
            for name, variable in TLS_VARIABLES.items()
        }

    def address(self) -> str:
        """Return the server as logins are kept for it: one for TLS is none for plain text."""
        from steelyard.connection import checked_address

        found = self.resolved()
        is_tls = found["server"].startswith("https://") or any(found[name] for name in TLS_VARIABLES)
        return f"{'https://' if is_tls else ''}{checked_address(found['server'])}"

    @contextmanager
    def client(self, *, token: str | None = None) -> Iterator[Client]:
        """Connect, and close when the block ends.

        Args:
            token: to log in with, empty for none; by default that of the variable, or what was kept.
        """
        import steelyard

        steelyard.tune_allocator()
        found = self.resolved()
        if token is None:
            token = os.environ.get("STEELYARD_TOKEN") or self._kept()
        with steelyard.Client(
            found["server"],
            # Without one the client states the name of the account, as in a program.
            actor=found["actor"] or None,
            namespace=found["namespace"],
            token=token,
            timeout_seconds=self.timeout_seconds,
            tls_ca=found["tls_ca"],
            tls_cert=found["tls_cert"],
            tls_key=found["tls_key"],
        ) as client:
            yield client


def of(context: typer.Context) -> Session:
    """Return the session of a command."""
    session: Session = context.find_root().obj
    return session
