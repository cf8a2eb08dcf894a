"""What names and texts may look like.

Each function returns its text when it is right, else raises a subclass of InvalidArgument with
the request field. Patterns and limits come from ``limits.proto``.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from functools import cache
from typing import TYPE_CHECKING

from steelyard_server.errors import (
    ControlCharacters,
    DigestInvalid,
    DuplicateKey,
    EtagInvalid,
    FieldRequired,
    InvalidName,
    InvalidResourceName,
    LimitExceeded,
    OutOfBounds,
    RequestIdInvalid,
    ReservedName,
    SemanticVersionInvalid,
    TooLong,
)
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LATEST = "latest"
# In the place of a model in lists: all of its namespace.
ALL_MODELS = "-"
ANY_CHARACTERS = "*"
DEFAULT_NAMESPACE = "default"
GROUP = "group:"
# The longest prefix, and a name.
PRINCIPAL_CHARACTERS = LIMITS.name_characters + len("service:")
INT64_MAXIMUM = 2**63 - 1
# Of an integer with a sign; one with more digits has more than 64 bits.
INT64_CHARACTERS = 20
# What Windows takes for a device, whatever comes after a dot.
DEVICES = frozenset(
    {"con", "prn", "aux", "nul"}
    | {f"com{digit}" for digit in range(1, 10)}
    | {f"lpt{digit}" for digit in range(1, 10)}
)
# Words that mean no thing of this name to people, programs or file systems.
_RESERVED = DEVICES | {LATEST, "none", "null"}
# Characters of an input that an error repeats.
SHOWN_CHARACTERS = 64
ETAG_DIGITS = 19
_VERSION_LIKE = re.compile(r"v?\d+")
# Control, format (bidirectional overrides, zero width), line and paragraph separators.
_INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp"})


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def quoted(text: str) -> str:
    """Show at most 64 characters of an input, with everything invisible escaped."""
    shown = ascii(text[:SHOWN_CHARACTERS])[1:-1]
    return f"'{shown}…'" if len(text) > SHOWN_CHARACTERS else f"'{shown}'"


def _match(text: str, pattern: str, *, field: str, kind: str, maximum: int = LIMITS.name_characters) -> str:
    if not text:
        raise FieldRequired(f"The {kind} is empty; set `{field}`.", field=field)
    if len(text) > maximum:
        message = f"The {kind} {quoted(text)} has {len(text)} characters; at most {maximum} are allowed."
        raise TooLong(message, field=field, limit_characters=maximum, size_characters=len(text))
    if _compiled(pattern).fullmatch(text) is None:
        message = f"{quoted(text)} is not a valid {kind}; it must match {pattern}"
        raise InvalidName(message, field=field, pattern=pattern)
    return text


def _visible(text: str, *, field: str, kind: str) -> str:
    """Demand NFC without invisible characters, so that two names that look alike are alike."""
    if text.isascii() and text.isprintable():
        return text
    if not unicodedata.is_normalized("NFC", text):
        message = f"The {kind} {quoted(text)} is not in Unicode normalization form C; normalize it first."
        raise InvalidName(message, field=field)
    if any(unicodedata.category(character) in _INVISIBLE for character in text):
        message = f"The {kind} {quoted(text)} holds control or invisible characters; remove them."
        raise InvalidName(message, field=field)
    return text


def _unreserved(text: str, *, field: str, kind: str) -> str:
    word = text.lower()
    if word in _RESERVED or word.partition(".")[0] in DEVICES:
        message = f"{quoted(text)} cannot be {kind}: the word means something else; choose another."
        raise ReservedName(message, field=field, name=text)
    return text


def namespace(text: str, *, field: str = "namespace") -> str:
    """Check the name of a namespace."""
    _match(text, LIMITS.name_pattern, field=field, kind="namespace name")
    return _unreserved(text, field=field, kind="a namespace")


def environment(text: str, *, field: str) -> str:
    """Check the name of an environment."""
    _match(text, LIMITS.name_pattern, field=field, kind="environment name")
    return _unreserved(text, field=field, kind="an environment")


def environments(text: str, *, field: str) -> str:
    """Check the name of an environment in which `*` may stand for any characters."""
    named = text.replace(ANY_CHARACTERS, "x")
    if named and _compiled(LIMITS.name_pattern).fullmatch(named) is None:
        message = f"{quoted(text)} names no environments; it must match {LIMITS.name_pattern}, with * in it."
        raise InvalidName(message, field=field, pattern=LIMITS.name_pattern)
    environment(named, field=field)
    return text


def group(text: str, *, field: str = "name") -> str:
    """Check the name of a group."""
    _match(text, LIMITS.name_pattern, field=field, kind="group name")
    return _unreserved(text, field=field, kind="a group")


def policy(text: str, *, field: str) -> str:
    """Check the name of a policy."""
    return _match(text, LIMITS.name_pattern, field=field, kind="policy name")


def check(text: str, *, field: str) -> str:
    """Check the name of a check of a policy."""
    return _match(text, LIMITS.name_pattern, field=field, kind="check name")


def stage(text: str, *, field: str) -> str:
    """Check the name of a stage."""
    return _match(text, LIMITS.name_pattern, field=field, kind="stage name")


def principal(text: str, *, field: str) -> str:
    """Check a principal, `user:ada` or `service:ci`."""
    return _match(text, LIMITS.principal_pattern, field=field, kind="principal", maximum=PRINCIPAL_CHARACTERS)


def subject(text: str, *, field: str = "subject") -> str:
    """Check who may have a role: a principal, or a group as `group:fraud-team`."""
    if text.startswith(GROUP):
        return GROUP + group(text.removeprefix(GROUP), field=field)
    return principal(text, field=field)


def backup(text: str, *, field: str = "name") -> str:
    """Check the name of a backup, which is that of a directory."""
    _match(text, LIMITS.name_pattern, field=field, kind="backup name")
    return _unreserved(text, field=field, kind="a backup")


def model(text: str, *, field: str = "model") -> tuple[str, str]:
    """Split and check `namespace/model`."""
    if not text:
        raise FieldRequired(f"The model is empty; set `{field}` to `namespace/model`.", field=field)
    space, slash, name = text.partition("/")
    if not slash:
        message = f"{quoted(text)} is not of the form `namespace/model`; write for example default/model."
        raise InvalidResourceName(message, field=field)
    if "/" in name:
        raise InvalidResourceName(
            f"{quoted(text)} has more than one slash; write `namespace/model`.", field=field
        )
    namespace(space, field=field)
    pattern, maximum = LIMITS.model_name_pattern, LIMITS.model_name_characters
    _match(name, pattern, field=field, kind="model name", maximum=maximum)
    if name in {".", "..", ALL_MODELS}:
        raise ReservedName(f"{quoted(name)} cannot be the name of a model.", field=field, name=name)
    return space, _visible(name, field=field, kind="model name")


def model_key(name: str) -> str:
    """Fold a model name so that names that differ only by letter case are equal."""
    return unicodedata.normalize("NFC", name.casefold())


def alias(text: str, *, field: str = "alias") -> str:
    """Check a name that an alias may be given."""
    _match(text, LIMITS.alias_pattern, field=field, kind="alias")
    if text.lower() == LATEST:
        message = f"The alias {text} is moved by the server: it always means the newest version."
        raise ReservedName(message, field=field, name=text)
    if _VERSION_LIKE.fullmatch(text):
        message = f"The alias {quoted(text)} looks like a version number; add a word to it."
        raise InvalidName(message, field=field, pattern=LIMITS.alias_pattern)
    return _unreserved(text, field=field, kind="an alias")


def key(text: str, *, field: str) -> str:
    """Check the name of a metric, parameter, label or role."""
    _match(text, LIMITS.key_pattern, field=field, kind="name", maximum=LIMITS.key_characters)
    return _visible(text, field=field, kind="name")


def digest(text: str, *, field: str) -> str:
    """Check the form of a digest."""
    if _compiled(LIMITS.digest_pattern).fullmatch(text) is None:
        message = f"{quoted(text)} is not a digest; write sha256: and 64 hexadecimal digits in lower case."
        raise DigestInvalid(message, field=field)
    return text


def semantic_version(text: str, *, field: str) -> str:
    """Check a semantic version after semver.org 2.0.0."""
    if (
        len(text) > LIMITS.semantic_version_characters
        or _compiled(LIMITS.semantic_version_pattern).fullmatch(text) is None
    ):
        message = f"{quoted(text)} is not a semantic version; write major.minor.patch, for example 1.4.0."
        raise SemanticVersionInvalid(message, field=field)
    return text


def upload_id(text: str, *, field: str) -> str:
    """Check the name that a client chose for an upload."""
    return _match(text, LIMITS.upload_id_pattern, field=field, kind="upload id")


def request_id(text: str, *, field: str = "request_id") -> str:
    """Check a UUID and return it in its usual form, in lower case."""
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != text.lower():
        raise RequestIdInvalid(f"{quoted(text)} is not a UUID with hyphens; send one, or none.", field=field)
    return str(parsed)


def etag(text: str, *, field: str = "etag") -> int | None:
    """Read an etag; None stands for an empty one, which demands nothing."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= ETAG_DIGITS):
        raise EtagInvalid(
            f"{quoted(text)} is not an etag of this server; read the resource again.", field=field
        )
    return int(text)


def number(value: int, *, field: str, minimum: int = 0, maximum: int = INT64_MAXIMUM) -> int:
    """Check that a number lies within its bounds, both inclusive."""
    if not minimum <= value <= maximum:
        message = f"`{field}` is {value}; it must be {minimum} to {maximum}."
        raise OutOfBounds(message, field=field, minimum=minimum, maximum=maximum)
    return value


def text(value: str, *, field: str, maximum_bytes: int) -> str:
    """Check a short text of one line."""
    _fits(value, field=field, maximum_bytes=maximum_bytes)
    if not value.isprintable() and any(unicodedata.category(character) == "Cc" for character in value):
        raise ControlCharacters(f"`{field}` holds control characters; remove them.", field=field)
    return value


def prose(value: str, *, field: str, maximum_bytes: int) -> str:
    """Check a text of any number of lines."""
    _fits(value, field=field, maximum_bytes=maximum_bytes)
    if any(unicodedata.category(character) == "Cc" and character not in "\t\n\r" for character in value):
        raise ControlCharacters(f"`{field}` holds control characters; remove them.", field=field)
    return value


def _fits(value: str, *, field: str, maximum_bytes: int) -> None:
    size_bytes = len(value.encode())
    if size_bytes > maximum_bytes:
        message = f"`{field}` has {size_bytes} bytes; at most {maximum_bytes} are allowed."
        raise TooLong(message, field=field, limit_bytes=maximum_bytes, size_bytes=size_bytes)


def description(value: str, *, field: str = "description") -> str:
    """Check a description."""
    return prose(value, field=field, maximum_bytes=LIMITS.description_bytes)


def reason(value: str, *, field: str = "reason") -> str:
    """Check why a caller says that they change something."""
    return prose(value, field=field, maximum_bytes=LIMITS.reason_bytes)


def labels(values: Mapping[str, str], *, field: str = "labels") -> dict[str, str]:
    """Check labels one by one and in sum; no two keys may differ by letter case alone."""
    at_most(len(values), LIMITS.labels_count, field=field)
    for name, value in values.items():
        path = f"{field}[{quoted(name)}]"
        at_most(len(name), LIMITS.key_characters, field=path, unit="characters")
        key(name, field=path)
        at_most(len(value.encode()), LIMITS.label_value_bytes, field=path, unit="bytes")
        text(value, field=path, maximum_bytes=LIMITS.label_value_bytes)
    distinct([name.casefold() for name in values], field=field)
    size_bytes = sum(len(name.encode()) + len(value.encode()) for name, value in values.items())
    at_most(size_bytes, LIMITS.labels_bytes, field=field, unit="bytes")
    return dict(values)


def at_most(actual: int, limit: int, *, field: str, unit: str = "entries") -> None:
    """Check a count or sum against its limit."""
    if actual > limit:
        message = f"`{field}` has {actual} {unit}; at most {limit} are allowed."
        raise LimitExceeded(message, field=field, limit=limit, actual=actual)


def distinct(keys: Sequence[str | tuple[str, ...]], *, field: str) -> None:
    """Check that no key repeats; one of several parts repeats when all of them do."""
    seen: set[str | tuple[str, ...]] = set()
    for key in keys:
        if key in seen:
            text = key if isinstance(key, str) else " ".join(filter(None, key))
            raise DuplicateKey(f"`{field}` has {quoted(text)} twice.", field=field, key=text)
        seen.add(key)


def has_form(text: str, pattern: str) -> bool:
    """Return whether *text* has the form of *pattern*, in which `*` stands for any characters."""
    first, *parts = pattern.split(ANY_CHARACTERS)
    if not parts:
        return first == text
    *between, last = parts
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    left = text[len(first) : len(text) - len(last)]
    for part in between:
        _, found, left = left.partition(part) if part else ("", "*", left)
        if not found:
            return False
    return True


def storable(value: str) -> bool:
    """Return whether both databases take *value*: neither a NUL nor half a surrogate pair is in it."""
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
