"""Values of enums as people write them: `PARENT_RELATION_FINE_TUNED_FROM` is `fine-tuned-from`."""

from __future__ import annotations

from functools import cache
from typing import Any

from steelyard.errors import InvalidArgument

_UNSPECIFIED = "unspecified"


def word(enum: Any, number: int) -> str:
    """Write a value; one of a newer server, which this client does not know, is `unknown-17`."""
    return _words(enum).get(number, f"unknown-{number}")


def number(enum: Any, text: str) -> Any:
    """Return the value that *text* names.

    Raises:
        InvalidArgument: there is no such value.
    """
    numbers = {word: number for number, word in _words(enum).items() if word != _UNSPECIFIED}
    if text not in numbers:
        raise InvalidArgument(f"{text!r} is none of: {', '.join(numbers)}.")
    return numbers[text]


@cache
def _words(enum: Any) -> dict[int, str]:
    # The value 0 of every enum is its name in capitals and UNSPECIFIED.
    prefix = enum.Name(0).removesuffix(_UNSPECIFIED.upper())
    return {number: name.removeprefix(prefix).lower().replace("_", "-") for name, number in enum.items()}
