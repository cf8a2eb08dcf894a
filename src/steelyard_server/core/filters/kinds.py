"""How values of one kind compare and are ordered, as conditions on the columns that hold them.

A condition may be NULL where there is no value; whoever uses it asks for the value too, or puts it
into a WHERE.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, and_, false, func, not_, true

from steelyard_server.core import names
from steelyard_server.core.filters.tree import Fault, Value
from steelyard_server.db import search_keys
from steelyard_server.db.search_keys import CUT_CHARACTERS, INT64
from steelyard_server.db.tables import comparable
from steelyard_server.errors import SemanticVersionInvalid
from steelyard_server.history.events import time_text

Condition = ColumnElement[bool]
Compare = Callable[[Any, Any], Condition]

OPERATORS: Final[Mapping[str, Compare]] = {
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EQUALITIES: Final = frozenset({"=", ":", "!="})
BOOLEANS: Final = {"true": True, "false": False}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity)", re.IGNORECASE)
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d))?", re.ASCII
)
_MICROSECOND_CHARACTERS: Final = 7


class Columns(Protocol):
    """The columns of one table or of some joined ones, by name."""

    def __getitem__(self, name: str, /) -> ColumnElement[Any]: ...


class Kind(Protocol):
    """What the fields of one kind have in common; columns are found by the names that it holds."""

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """Compare with *value*.

        Raises:
            Fault: it is no value of this kind, or the comparator does not fit.
        """

    def present(self, columns: Columns) -> Condition:
        """Hold where there is a value, be it one that compares with nothing; never NULL."""

    def order(self, columns: Columns) -> ColumnElement[Any]:
        """Return what to order by; NULL where there is no value, or one that compares with nothing."""

    def is_order(self, value: object) -> bool:
        """Return whether a page token may hold *value* as what `order` gave."""

    def text(self, value: Any) -> str:
        """Write what `order` gave, and is there, as a filter takes it."""


@dataclass(frozen=True, slots=True)
class Integer:
    """A 64-bit number that is always there."""

    column: str

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """See `Kind.condition`."""
        return compare_integer(columns[self.column], comparator, read_number(value))

    def present(self, _: Columns) -> Condition:
        """See `Kind.present`."""
        return true()

    def order(self, columns: Columns) -> ColumnElement[Any]:
        """See `Kind.order`."""
        return columns[self.column]

    def is_order(self, value: object) -> bool:
        """See `Kind.is_order`."""
        return type(value) is int and value in INT64

    def text(self, value: int) -> str:
        """See `Kind.text`."""
        return str(value)


@dataclass(frozen=True, slots=True)
class Time(Integer):
    """A moment in microseconds that is always there."""

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """See `Kind.condition`."""
        return OPERATORS[comparator](columns[self.column], read_time(value))

    def text(self, value: int) -> str:
        """See `Kind.text`."""
        return time_text(value)


@dataclass(frozen=True, slots=True)
class OptionalTime(Time):
    """A moment that may be absent."""

    def present(self, columns: Columns) -> Condition:
        """See `Kind.present`."""
        return columns[self.column].is_not(None)


@dataclass(frozen=True, slots=True)
class Real:
    """A double; NULL for NaN, which compares with nothing."""

    column: str

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """See `Kind.condition`."""
        return OPERATORS[comparator](columns[self.column], float(read_number(value)) + 0.0)

    def present(self, _: Columns) -> Condition:
        """See `Kind.present`."""
        return true()

    def order(self, columns: Columns) -> ColumnElement[Any]:
        """See `Kind.order`."""
        return columns[self.column]

    def is_order(self, value: object) -> bool:
        """See `Kind.is_order`."""
        return type(value) is float and comparable(value) is not None

    def text(self, value: float) -> str:
        """See `Kind.text`."""
        return repr(value)


@dataclass(frozen=True, slots=True)
class Text:
    """A text of any length; an empty one is none."""

    column: str

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """See `Kind.condition`."""
        if not value.text and not value.has_star:
            message = "an empty text is as good as none, and compares with nothing"
            raise Fault(message, column=value.column, expected="a text, or NOT and the field with :*")
        return compare_text(columns[self.column], comparator, value)

    def present(self, columns: Columns) -> Condition:
        """See `Kind.present`."""
        return func.coalesce(columns[self.column], "") != ""

    def order(self, columns: Columns) -> ColumnElement[Any]:
        """See `Kind.order`."""
        return func.nullif(func.substr(columns[self.column], 1, CUT_CHARACTERS), "")

    def is_order(self, value: object) -> bool:
        """See `Kind.is_order`."""
        return isinstance(value, str) and names.storable(value)

    def text(self, value: str) -> str:
        """See `Kind.text`."""
        return value


@dataclass(frozen=True, slots=True)
class Word(Text):
    """A short text that is always there."""

    def present(self, _: Columns) -> Condition:
        """See `Kind.present`."""
        return true()

    def order(self, columns: Columns) -> ColumnElement[Any]:
        """See `Kind.order`."""
        return columns[self.column]


@dataclass(frozen=True, slots=True)
class ShortName(Word):
    """The name of a model without its namespace."""

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """See `Kind.condition`."""
        if "/" in value.text:
            expected = "the name of a model without its namespace, which the request names"
            raise Fault("a slash stands in no name", column=value.column, expected=expected)
        return Text.condition(self, columns, comparator, value)


@dataclass(frozen=True, slots=True)
class KeyedText:
    """A text with a key, which is its beginning; it may be empty."""

    key: str = "value_key"
    whole: str = "value"

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """See `Kind.condition`."""
        key, whole = columns[self.key], columns[self.whole]
        if len(value.text) < CUT_CHARACTERS and not value.open_start:
            return compare_text(key, comparator, value)
        exact = compare_text(whole, comparator, value)
        if value.has_star or comparator not in {"=", ":"}:
            return exact
        return and_(key == search_keys.cut(value.text), exact)

    def present(self, _: Columns) -> Condition:
        """See `Kind.present`."""
        return true()

    def order(self, columns: Columns) -> ColumnElement[Any]:
        """See `Kind.order`."""
        return columns[self.key]

    def is_order(self, value: object) -> bool:
        """See `Kind.is_order`."""
        return isinstance(value, str) and names.storable(value)

    def text(self, value: str) -> str:
        """See `Kind.text`."""
        return value


@dataclass(frozen=True, slots=True)
class Truth(KeyedText):
    """A truth value, written `true` or `false`."""

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """See `Kind.condition`."""
        return OPERATORS[comparator](columns[self.key], "true" if read_truth(value, comparator) else "false")


@dataclass(frozen=True, slots=True)
class KeyedTime(KeyedText):
    """A moment that another registry stated."""

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """See `Kind.condition`."""
        return OPERATORS[comparator](columns[self.key], search_keys.number(read_time(value)))

    def text(self, value: str) -> str:
        """See `Kind.text`."""
        return time_text(int(search_keys.number_of(value)))


@dataclass(frozen=True, slots=True)
class SemanticVersion(KeyedText):
    """A semantic version: before and after are those of semver.org, equal is the same text."""

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """See `Kind.condition`."""
        key, whole = columns[self.key], columns[self.whole]
        if value.has_star:
            return compare_text(whole, comparator, value)
        try:
            names.semantic_version(value.text, field="filter")
        except SemanticVersionInvalid:
            raise _unfit(value, "a semantic version, for example 1.4.0") from None
        precedence = search_keys.semantic_version(value.text)
        if comparator == "!=":
            return whole != value.text
        if comparator in EQUALITIES:
            return and_(key == precedence, whole == value.text)
        return OPERATORS[comparator](key, precedence)

    def text(self, value: str) -> str:
        """See `Kind.text`; the build has no part in the order."""
        return search_keys.semantic_version_of(value)


@dataclass(frozen=True, slots=True)
class ParameterValue(KeyedText):
    """A text, number or truth value, compared with a value of the same kind; NaN with nothing."""

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """See `Kind.condition`."""
        key = columns[self.key]
        if value.quoted or value.has_star:
            return self._text(columns, comparator, value)
        if value.text in BOOLEANS:
            return OPERATORS[comparator](key, search_keys.parameter(read_truth(value, comparator)))
        if not _NUMBER.fullmatch(value.text):
            return self._text(columns, comparator, value)
        within = and_(key >= search_keys.NUMBER, key < search_keys.AFTER_NUMBERS)
        compared = OPERATORS[comparator](key, search_keys.number(read_number(value)))
        return compared if comparator in EQUALITIES else and_(within, compared)

    def text(self, value: str) -> str:
        """See `Kind.text`."""
        if value.startswith(search_keys.NUMBER):
            return str(search_keys.number_of(value))
        if value.startswith(search_keys.TEXT):
            return value.removeprefix(search_keys.TEXT)
        return "true" if value == search_keys.TRUE else "false"

    def _text(self, columns: Columns, comparator: str, value: Value) -> Condition:
        key, whole = columns[self.key], columns[self.whole]
        if comparator == "!=":
            return and_(key.is_not(None), not_(self._text(columns, "=", value)))
        within = and_(key >= search_keys.TEXT, key < search_keys.AFTER_TEXTS)
        if len(value.text) >= CUT_CHARACTERS or value.open_start:
            return and_(within, compare_text(whole, comparator, value))
        marked = Value(search_keys.TEXT + value.text, value.column, open_end=value.open_end)
        return and_(within, compare_text(key, comparator, marked))


def compare_text(column: ColumnElement[Any], comparator: str, value: Value) -> Condition:
    """Compare byte by byte; a star at an end stands for any text."""
    if not value.has_star:
        return OPERATORS[comparator](column, value.text)
    if comparator not in EQUALITIES:
        message = f"a star cannot be compared with {comparator}"
        raise Fault(message, column=value.column, expected="a text without stars, or = or !=")
    matches = _matches(column, value)
    return not_(matches) if comparator == "!=" else matches


def _matches(column: ColumnElement[Any], value: Value) -> Condition:
    text, size = value.text, len(value.text)
    if not text:
        return column.is_not(None)
    if not value.open_start:
        after = search_keys.after_prefix(text)
        return and_(column >= text, true() if after is None else column < after)
    if value.open_end:
        return func.replace(column, text, "") != column
    # Behind an end that is too short SQLite would count from the other side.
    ending = func.substr(column, func.length(column) - size + 1)
    return and_(func.length(column) >= size, ending == text)


def compare_integer(column: ColumnElement[Any], comparator: str, number: float) -> Condition:
    """Compare a 64-bit column with any number, exactly."""
    whole = int(number) if float(number).is_integer() else None
    if whole is not None and whole in INT64:
        return OPERATORS[comparator](column, whole)
    if comparator in EQUALITIES:
        return true() if comparator == "!=" else false()
    # No whole number lies between the floor and the number, so below both is the same.
    below = comparator in {"<", "<="}
    if number >= INT64.stop or number < INT64.start:
        return true() if below == (number > 0) else false()
    floor = math.floor(number)
    return column <= floor if below else column > floor


def read_number(value: Value) -> float:
    """Read an int64 as it is, anything else as a double.

    Raises:
        Fault: it is no number, or NaN.
    """
    text = value.text
    if not value.has_star and _INTEGER.fullmatch(text) and len(text) <= names.INT64_CHARACTERS:
        return int(text)
    if not value.has_star and _NUMBER.fullmatch(text):
        return float(text)
    if text.lower() == "nan":
        message = "NaN compares with nothing"
        raise Fault(message, column=value.column, expected="a number; the field with :* finds NaN too")
    raise _unfit(value, "a number")


def read_truth(value: Value, comparator: str) -> bool:
    """Read `true` or `false`.

    Raises:
        Fault: it is neither, or is to come before or after something.
    """
    if value.text not in BOOLEANS or value.has_star:
        raise _unfit(value, "true or false")
    if comparator not in EQUALITIES:
        raise Fault("truth values have no order", column=value.column, expected="= or != before it")
    return BOOLEANS[value.text]


def read_time(value: Value) -> int:
    """Read a date or a time of RFC 3339, to microseconds.

    Raises:
        Fault: it is none.
    """
    found = None if value.has_star else _TIME.fullmatch(value.text)
    expected = "a time such as 2026-11-24T09:30:00Z, or a date"
    if found is None:
        raise _unfit(value, expected)
    date, clock, fraction, zone = found.groups()
    try:
        time = datetime.fromisoformat(f"{date}T{clock or '00:00:00'}{(zone or 'Z').upper()}")
        whole = (time - EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise _unfit(value, expected) from None
    return whole + int(f"{fraction or '.':0<{_MICROSECOND_CHARACTERS}}"[1:_MICROSECOND_CHARACTERS])


def _unfit(value: Value, expected: str) -> Fault:
    star = "*" if value.open_end else ""
    shown = names.quoted(("*" if value.open_start else "") + value.text + star)
    return Fault(f"{shown} does not fit here", column=value.column, expected=expected)
