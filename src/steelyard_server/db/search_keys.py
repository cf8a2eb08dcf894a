"""Texts that stand for values and compare like them, byte by byte and so on both databases alike.

They are short, for an index of PostgreSQL takes no entry of more than 2,704 bytes. What they leave
out is compared on the whole value.
"""

from __future__ import annotations

import math
import re
import struct
import sys
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Final

# At most 512 bytes, which leaves room for a name of 1,000.
CUT_CHARACTERS: Final = 128
WORD_CHARACTERS: Final = 64
TRUE, FALSE = "b1", "b0"
TEXT, AFTER_TEXTS = "t", "u"
NUMBER, AFTER_NUMBERS = "n", "o"
INT64: Final = range(-(2**63), 2**63)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1
_DOUBLE_DIGITS: Final = 16
# An underscore is a letter to \w; in names of models it separates words.
_WORD: Final = re.compile(r"[^\W_]+")
_SURROGATES: Final = range(0xD800, 0xE000)


def cut(text: str) -> str:
    """Return the beginning of *text*; whole texts are ordered as these are, or these are equal."""
    return text[:CUT_CHARACTERS]


def parameter(value: str | float | bool) -> str | None:  # noqa: FBT001 - the value of a parameter may be one
    """Return the key of a parameter: truth values before numbers before texts; None for NaN."""
    if isinstance(value, bool):
        return TRUE if value else FALSE
    return TEXT + cut(value) if isinstance(value, str) else number(value)


def number(value: float) -> str | None:
    """Return the key of an int64 or a double, which compare exactly with each other; None for NaN.

    It is the double at or below the value, its bits arranged to ascend, and what an integer has
    more than that: less than 2,048, for neighbouring doubles there are 1,024 apart.
    """
    if isinstance(value, int):
        below = float(value)
        if below > value:
            below = math.nextafter(below, -math.inf)
        rest = value - int(below)
    elif math.isnan(value):
        return None
    else:
        below, rest = value + 0.0, 0
    (bits,) = struct.unpack(">Q", struct.pack(">d", below))
    ascending = bits ^ _ALL if bits & _SIGN else bits | _SIGN
    return f"{NUMBER}{ascending:016x}{rest:03x}"


def number_of(key: str) -> float:
    """Return the value that `number` made *key* of; one that is whole and an int64 as such."""
    ascending = int(key[1 : 1 + _DOUBLE_DIGITS], 16)
    bits = ascending ^ _SIGN if ascending & _SIGN else ascending ^ _ALL
    (below,) = struct.unpack(">d", struct.pack(">Q", bits))
    rest = int(key[1 + _DOUBLE_DIGITS :], 16)
    return int(below) + rest if below.is_integer() and int(below) in INT64 else below


def time(text: str) -> str | None:
    """Return the key of a time as events write it: that of its microseconds."""
    return number((datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1))


def semantic_version(text: str) -> str:
    """Return the key of a semantic version, ordered by the precedence of semver.org 2.0.0.

    A blank ends each part, for it sorts before all that a part may hold. Numbers are preceded by
    how many digits they have. A release comes after all that precede it.
    """
    core, _, before = text.partition("+")[0].partition("-")
    numbers = " ".join(f"{len(each):02}{each}" for each in core.split("."))
    parts = (f"0{len(each):03}{each}" if each.isdigit() else f"1{each}" for each in before.split("."))
    return f"{numbers} {' '.join(parts)} " if before else f"{numbers} ~"


def semantic_version_of(key: str) -> str:
    """Return the semantic version that `semantic_version` made *key* of, without its build."""
    *numbers, before = key.split(" ", 3)
    core = ".".join(each[2:] for each in numbers)
    parts = (each[1:] if each.startswith("1") else each[4:] for each in before.split())
    return core if before == "~" else f"{core}-{'.'.join(parts)}"


def words(text: str) -> list[str]:
    """Return the words of *text* in order, as full-text search compares them: letter case aside."""
    folded = unicodedata.normalize("NFC", text.casefold())
    return [word[:WORD_CHARACTERS] for word in _WORD.findall(folded)]


def after_prefix(prefix: str) -> str | None:
    """Return the first text behind all that begin with *prefix*; None when there is none."""
    kept = prefix.rstrip(chr(sys.maxunicode))
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)
