"""Scopes: where a role holds, as a text: the registry, a namespace, a model or an environment.

A scope is compared by its key, in which names of models are folded: `risk/Fraud` and `risk/fraud` are
one. No look-up is needed to know what covers what, so a refusal says nothing of what exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from steelyard_server.core import names
from steelyard_server.errors import InvalidName
from steelyard_server.limits import LIMITS

REGISTRY: Final = ""
ENVIRONMENT: Final = "environment:"
# A text that is longer names no model.
_CHARACTERS_MAXIMUM = 1024


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope that was checked.

    Args:
        text: as it is written.
        key: what it is compared by.
        namespace: the one that it is or is in, or empty.
        model_key: of the model that it is, or empty.
    """

    text: str
    key: str
    namespace: str = ""
    model_key: str = ""


def of_environment(name: str) -> str:
    """Return the text of the scope that an environment is."""
    return f"{ENVIRONMENT}{name}"


def parse(text: str, *, field: str = "scope") -> Scope:
    """Check a scope.

    Raises:
        InvalidArgument: it is of another form.
    """
    if text == REGISTRY:
        return Scope(text, REGISTRY)
    if text.startswith(ENVIRONMENT):
        names.environment(text.removeprefix(ENVIRONMENT), field=field)
        return Scope(text, text)
    if ":" in text:
        message = f"{names.quoted(text)} is no scope; write namespace, namespace/model or environment:name."
        raise InvalidName(message, field=field, pattern=LIMITS.name_pattern)
    if "/" not in text:
        names.namespace(text, field=field)
        return Scope(text, text, namespace=text)
    namespace, short = names.model(text, field=field)
    return Scope(text, f"{namespace}/{names.model_key(short)}", namespace, names.model_key(short))


def key_of(text: str) -> str:
    """Return the key of the scope that a request names, whatever its form; `namespace/-` is its namespace."""
    space, slash, short = text.partition("/")
    if not slash or space.startswith(ENVIRONMENT):
        return text
    if short == names.ALL_MODELS or len(short) > _CHARACTERS_MAXIMUM:
        return space
    return f"{space}/{names.model_key(short)}"


def covering(key: str) -> tuple[str, ...]:
    """Return the keys of the scopes that have the one of *key* in them, itself first."""
    if key == REGISTRY:
        return (REGISTRY,)
    space, slash, _ = key.partition("/")
    return (key, space, REGISTRY) if slash else (key, REGISTRY)


def is_within(key: str, *, outer: str) -> bool:
    """Return whether the scope of *key* is that of *outer* or in it."""
    return outer in covering(key)
