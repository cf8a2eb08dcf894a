"""The type-checked tree of an expression, read from what the CEL library writes of it.

The library shows no tree but serialises one: a `cel.expr.CheckedExpr` in a `google.protobuf.Any`. Only the
fields that are looked at here are read, by their numbers in cel-spec's `checked.proto` and `syntax.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

_VARINT_BITS = 7
_MORE = 1 << _VARINT_BITS

_ANY_VALUE = 2
_CHECKED_REFERENCES, _CHECKED_TYPES, _CHECKED_EXPRESSION, _CHECKED_SOURCE = 2, 3, 4, 5
_REFERENCE_OVERLOADS = 3
_SOURCE_POSITIONS = 4
_ID, _CONSTANT, _NAME, _SELECT, _CALL, _LIST, _STRUCT, _LOOP = 2, 3, 4, 5, 6, 7, 8, 9
_CONSTANT_STRING = 6
_SELECT_TEST = 3
_LOOP_RANGE, _LOOP_STEP = 2, 6
_CALL_FUNCTION, _CALL_ARGUMENTS = 2, 3
_TYPE_PRIMITIVE, _TYPE_WELL_KNOWN, _TYPE_LIST, _TYPE_MAP = 3, 5, 6, 7
_PRIMITIVES = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_WELL_KNOWN = {2: "timestamp", 3: "duration"}

Fields = dict[int, list["int | bytes"]]


class Kind(Enum):
    """What a node is."""

    CONSTANT = auto()
    NAME = auto()
    SELECT = auto()
    HAS = auto()
    CALL = auto()
    LIST = auto()
    STRUCT = auto()
    LOOP = auto()


_KINDS = {
    _CONSTANT: Kind.CONSTANT,
    _NAME: Kind.NAME,
    _SELECT: Kind.SELECT,
    _CALL: Kind.CALL,
    _LIST: Kind.LIST,
    _STRUCT: Kind.STRUCT,
    _LOOP: Kind.LOOP,
}


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression.

    Args:
        text: of a constant that is a string, else the name, field, function or variable of the loop.
        children: operand or arguments; of a loop its range and what is asked of each element.
        type: `bool`, `int`, `double`, `string`, `timestamp`, `duration`, `list`, `map`, else `other`.
        overloads: of a call, which of its meanings its arguments allow.
        position: of the first character that belongs to it alone, from 0.
        macro: what a loop was written as: `all`, `exists`, `exists_one`, `filter` or `map`.
    """

    kind: Kind
    text: str
    children: tuple[Node, ...]
    type: str
    overloads: tuple[str, ...]
    position: int
    macro: str = ""

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def read(serialized: bytes) -> Node:
    """Read the tree of an expression that was compiled with type checks."""
    checked = _fields(_one(_fields(serialized), _ANY_VALUE))
    source = _fields(_one(checked, _CHECKED_SOURCE))
    return _Reader(
        types=_entries(checked, _CHECKED_TYPES),
        references=_entries(checked, _CHECKED_REFERENCES),
        positions=_entries(source, _SOURCE_POSITIONS),
    ).node(_one(checked, _CHECKED_EXPRESSION))


def conjuncts(serialized: bytes) -> list[bytes]:
    """Return what `&&` joins outside of all else, each as an expression of its own."""
    any_ = _fields(serialized)
    checked = _fields(_one(any_, _ANY_VALUE))
    found = []
    waiting = [_one(checked, _CHECKED_EXPRESSION)]
    while waiting:
        encoded = waiting.pop()
        call = _fields(_one(_fields(encoded), _CALL))
        if _one(call, _CALL_FUNCTION) == b"_&&_":
            waiting += reversed([_bytes(each) for each in call[_CALL_ARGUMENTS]])
        else:
            part = _written({**checked, _CHECKED_EXPRESSION: [encoded]})
            found.append(_written({**any_, _ANY_VALUE: [part]}))
    return found


@dataclass(frozen=True, slots=True)
class _Reader:
    """What stands beside the tree, by the numbers of its nodes."""

    types: dict[int, int | bytes]
    references: dict[int, int | bytes]
    positions: dict[int, int | bytes]

    def node(self, encoded: bytes) -> Node:
        fields = _fields(encoded)
        number = _number(fields, _ID)
        tag = next(each for each in _KINDS if each in fields)
        inner = _fields(_one(fields, tag))
        kind = Kind.HAS if tag == _SELECT and _number(inner, _SELECT_TEST) else _KINDS[tag]
        position = self.positions.get(number, 0)
        children = _children(inner, tag)
        macro = ""
        if kind is Kind.LOOP:
            macro, predicate = self._loop(_fields(_one(inner, _LOOP_STEP)))
            children += [predicate] if predicate else []
        return Node(
            kind,
            text=_text(inner, tag),
            children=tuple(map(self.node, children)),
            type=_constant_type(inner) if tag == _CONSTANT else _type(_bytes(self.types.get(number))),
            overloads=self._overloads(number),
            position=position if isinstance(position, int) else 0,
            macro=macro,
        )

    def _loop(self, step: Fields) -> tuple[str, bytes]:
        """Tell from the step of a loop what it was written as, and what it asks of each element.

        The library writes `@result && predicate`, `@result || predicate`, or for the others
        `predicate ? @result + … : @result`, where one counts and the other appends.
        """
        call = _fields(_one(step, _CALL))
        arguments = [_bytes(each) for each in call.get(_CALL_ARGUMENTS, ())]
        function = _one(call, _CALL_FUNCTION)
        if function in {b"_&&_", b"_||_"}:
            return ("all" if function == b"_&&_" else "exists"), arguments[1]
        if function == b"_?_:_" and "add_int64" in self._overloads(_number(_fields(arguments[1]), _ID)):
            return "exists_one", arguments[0]
        if function == b"_?_:_" and self._appends_element(arguments[1]):
            return "filter", arguments[0]
        return "map", b""

    def _appends_element(self, encoded: bytes) -> bool:
        """Return whether `@result + […]` appends a name, which is the element: nothing that is made of it."""
        call = _fields(_one(_fields(encoded), _CALL))
        appended = _fields(_one(_fields(_bytes(call.get(_CALL_ARGUMENTS, [b""])[-1])), _LIST))
        return _NAME in _fields(_one(appended, 1))

    def _overloads(self, number: int) -> tuple[str, ...]:
        reference = _fields(_bytes(self.references.get(number)))
        return tuple(_bytes(each).decode() for each in reference.get(_REFERENCE_OVERLOADS, ()))


def _text(inner: Fields, tag: int) -> str:
    if tag == _CONSTANT:
        return _one(inner, _CONSTANT_STRING).decode(errors="replace")
    return _one(inner, {_SELECT: 2, _CALL: 2}.get(tag, 1)).decode() if tag not in {_LIST, _STRUCT} else ""


def _children(inner: Fields, tag: int) -> list[bytes]:
    """Return the nodes right below one; those of a struct do not matter, for none is allowed."""
    numbers = {_SELECT: (1,), _CALL: (1, _CALL_ARGUMENTS), _LIST: (1,), _LOOP: (_LOOP_RANGE,)}.get(tag, ())
    return [_bytes(each) for number in numbers for each in inner.get(number, ())]


def _constant_type(inner: Fields) -> str:
    number = next(iter(inner), 0)
    return {2: "bool", 3: "int", 4: "uint", 5: "double", 6: "string", 7: "bytes"}.get(number, "other")


def _type(encoded: bytes) -> str:
    if not encoded:  # the library leaves out the types of accumulators, and dyn where it is implied
        return "other"
    (number, values), *_ = _fields(encoded).items()
    value = values[0]
    if number in {_TYPE_LIST, _TYPE_MAP}:
        return "list" if number == _TYPE_LIST else "map"
    known = {_TYPE_PRIMITIVE: _PRIMITIVES, _TYPE_WELL_KNOWN: _WELL_KNOWN}.get(number, {})
    return known.get(value, "other") if isinstance(value, int) else "other"


def _entries(fields: Fields, number: int) -> dict[int, int | bytes]:
    """Read a map from numbers to numbers or messages."""
    entries = (_fields(_bytes(each)) for each in fields.get(number, ()))
    return {_number(entry, 1): entry.get(2, [b""])[-1] for entry in entries}


def _one(fields: Fields, number: int) -> bytes:
    return _bytes(fields.get(number, [b""])[-1])


def _bytes(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _number(fields: Fields, number: int) -> int:
    value = fields.get(number, [0])[-1]
    return value if isinstance(value, int) else 0


def _fields(encoded: bytes) -> Fields:
    """Read the fields of one encoded message, in their order."""
    found: Fields = {}
    at = 0
    while at < len(encoded):
        tag, at = _varint(encoded, at)
        value: int | bytes
        match tag & 7:
            case 0:
                value, at = _varint(encoded, at)
            case 2:
                size_bytes, at = _varint(encoded, at)
                value, at = encoded[at : at + size_bytes], at + size_bytes
            case 1:
                value, at = encoded[at : at + 8], at + 8
            case _:
                value, at = encoded[at : at + 4], at + 4
        found.setdefault(tag >> 3, []).append(value)
    return found


def _written(fields: Fields) -> bytes:
    """Write fields that are all messages or texts."""
    return b"".join(
        _number_written(number << 3 | 2) + _number_written(len(_bytes(value))) + _bytes(value)
        for number, values in fields.items()
        for value in values
    )


def _number_written(value: int) -> bytes:
    written = bytearray()
    while value >= _MORE:
        written.append(value % _MORE + _MORE)
        value >>= _VARINT_BITS
    return bytes([*written, value])


def _varint(encoded: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = encoded[at]
        value |= (byte & (_MORE - 1)) << shift
        at, shift = at + 1, shift + _VARINT_BITS
        if byte < _MORE:
            return value, at
