"""References in text, as people write them, to what is on the wire.

fraud                     default/fraud, and where a version is read its newest one
risk/fraud:3              the version with number 3
risk/fraud:1.4.0          the version with that semantic version
risk/fraud@champion       the version that an alias points to
risk/fraud@sha256:…       the version with that digest
risk/fraud#7              a promotion of a version
risk#2                    a promotion of a policy of the namespace
"""

from __future__ import annotations

from dataclasses import dataclass

from steelyard.errors import InvalidArgument
from steelyard.types import Version
from steelyard.v1 import version_pb2

_INT64_MAXIMUM = 2**63 - 1
_INT64_DIGITS = 19


@dataclass(frozen=True, slots=True)
class References:
    """Expands references that name no namespace.

    Args:
        namespace: where models are looked up that name none.
    """

    namespace: str = "default"

    def model(self, text: str) -> str:
        """Return ``namespace/model``.

        Raises:
            InvalidArgument: it selects a version.
        """
        model, selector = _split(text)
        if selector:
            raise InvalidArgument(f"{text!r} names a version; name the model alone, {model!r}.")
        return self._full(model)

    def selects(self, text: str | Version) -> bool:
        """Return whether *text* names a version, and not a model alone.

        Raises:
            InvalidArgument: the text names no model.
        """
        return isinstance(text, Version) or _split(text)[1] != ""

    def version(self, text: str | Version, *, exact: bool = False) -> version_pb2.VersionRef:
        """Return the reference of one version; a bare model means its newest one.

        Args:
            exact: refuse a bare model: what is changed must be named.

        Raises:
            InvalidArgument: the text is malformed.
        """
        if isinstance(text, Version):
            return version_pb2.VersionRef(model=text.model, number=text.number)
        model, selector = _split(text)
        reference = version_pb2.VersionRef(model=self._full(model))
        mark, value = selector[:1], selector[1:]
        if not mark and exact:
            raise InvalidArgument(f"{text!r} names no version; write {text}:3 or {text}@latest.")
        if not mark:
            reference.alias = "latest"
        elif not value:
            raise InvalidArgument(f"{text!r} ends in {mark!r}; write MODEL:3, MODEL@champion or MODEL.")
        elif mark == "@":
            setattr(reference, "digest" if value.startswith("sha256:") else "alias", value)
        elif value.isdecimal() and value.isascii():
            reference.number = _number(value)
        else:
            reference.semantic_version = value
        return reference

    def promotion(self, text: str) -> tuple[str, int]:
        """Return scope and number of a promotion, as `risk/fraud#7`, or `risk#2` for one about a policy.

        Nothing is added to it: `fraud#7` is one of the namespace `fraud`.

        Raises:
            InvalidArgument: the text is malformed.
        """
        scope, mark, number = text.rpartition("#")
        if not (mark and scope and number.isdecimal() and number.isascii()):
            raise InvalidArgument(f"{text!r} is no promotion; write risk/fraud#7, or risk#2 for a policy.")
        return scope, _number(number, what="a promotion")

    def _full(self, model: str) -> str:
        return model if "/" in model else f"{self.namespace}/{model}"


def _split(text: str) -> tuple[str, str]:
    """Split at the first ``:`` or ``@``, which no name may have."""
    if not isinstance(text, str):
        raise InvalidArgument(f"{text!r} is no reference; write text like fraud, fraud:3 or fraud@champion.")
    end = min((at for mark in ":@" if (at := text.find(mark)) >= 0), default=len(text))
    if not text[:end]:
        raise InvalidArgument(f"{text!r} names no model.")
    return text[:end], text[end:]


def _number(text: str, *, what: str = "a version") -> int:
    number = int(text) if len(text) <= _INT64_DIGITS else _INT64_MAXIMUM + 1
    if not 1 <= number <= _INT64_MAXIMUM:
        raise InvalidArgument(f"{text} is no number of {what}; they start at 1.")
    return number
