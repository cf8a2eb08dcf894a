"""Drafts of versions: what a caller asks for beside the content, with the rules that need no look-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from steelyard_server.core import names
from steelyard_server.core.origins import Origin
from steelyard_server.errors import DigestMismatch, FieldRequired
from steelyard_server.limits import LIMITS


@dataclass(frozen=True, slots=True)
class Draft:
    """What a caller asks for beside the content of a new version.

    Args:
        origin: where an imported version was before.
        number: that an imported version keeps; 0 for the next one.
        digest: that the content must have; empty for any.
    """

    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    semantic_version: str = ""
    idempotency_key: str = ""
    origin: Origin | None = None
    number: int = 0
    digest: str = ""

    def check(self, *, digest: str = "", prefix: str = "") -> None:
        """Check all fields.

        Args:
            digest: of the content.
            prefix: leads to the fields in the request.

        Raises:
            InvalidArgument: in the subclass that fits, with the path of the field.
        """
        names.description(self.description, field=f"{prefix}description")
        names.labels(self.labels, field=f"{prefix}labels")
        names.text(self.idempotency_key, field=f"{prefix}idempotency_key", maximum_bytes=LIMITS.text_bytes)
        if self.semantic_version:
            names.semantic_version(self.semantic_version, field=f"{prefix}semantic_version")
        names.number(self.number, field=f"{prefix}number")
        if self.origin is not None:
            self.origin.check(field=f"{prefix}origin")
        elif self.number:
            message = f"`{prefix}number` is kept by imports only; state the origin, or leave it 0."
            raise FieldRequired(message, field=f"{prefix}origin")
        if self.digest:
            self._check_digest(digest, field=f"{prefix}digest")

    def _check_digest(self, actual: str, *, field: str) -> None:
        names.digest(self.digest, field=field)
        if actual != self.digest:
            message = f"The content has the digest {actual}, not {self.digest}; nothing was created."
            raise DigestMismatch(message, field=field, expected=self.digest, actual=actual)
