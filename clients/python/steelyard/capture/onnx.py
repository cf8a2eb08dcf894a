"""Headers of ONNX files: what goes in and comes out, read from the encoded protobuf without its weights.

The parser of protobuf wants a whole message in memory, and a model is one message of up to 2 GiB. So this
goes from field to field: each says how long it is, and all but a few are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from steelyard.capture.reader import Header, HeaderUnreadable, Reader
from steelyard.content import Schema, SchemaField

TEXT_BYTES_MAXIMUM = 4096
DEPTH_MAXIMUM = 8
_HEAD_BYTES = 20  # the longest tag with the longest length
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_TAG_TYPE_BITS, _VARINT_BITS, _INT64_BITS = 3, 7, 64

# Numbers of the fields in onnx.proto, by message.
_MODEL_IR, _MODEL_PRODUCER, _MODEL_PRODUCER_VERSION, _MODEL_GRAPH, _MODEL_OPSET = 1, 2, 3, 7, 8
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_TENSOR_NAME = 8
_VALUE_NAME, _VALUE_TYPE = 1, 2
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_TYPE_TENSOR, _TYPE_SEQUENCE, _TYPE_MAP, _TYPE_SPARSE, _TYPE_OPTIONAL = 1, 4, 5, 8, 9
_SHAPE_DIMENSION, _DIMENSION_SIZE = 1, 1
# The place of each is its number.
_ELEMENTS = [
    "undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool",
    "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn",
    "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "uint4", "int4", "float4e2m1", "float8e8m0",
    "uint2", "int2", "float6e2m3", "float6e3m2",
]  # fmt: skip
# Since this version weights need not be listed as inputs; one that is may be overridden by the caller.
_IR_WITH_OPTIONAL_INPUTS = 4


class Span(NamedTuple):
    """One field: a number, or where its bytes lie."""

    number: int
    value: int
    begin: int
    end: int


class Message:
    """An encoded message in a file."""

    def __init__(self, reader: Reader, begin: int, end: int) -> None:
        self._reader = reader
        self._begin = begin
        self._end = end

    def fields(self) -> Iterator[Span]:
        """Yield all fields in their order.

        Raises:
            HeaderUnreadable: this is no message.
        """
        at = self._begin
        while at < self._end:
            head = self._reader.head(at, _HEAD_BYTES)
            tag, used = _varint(head, 0)
            kind = tag & ((1 << _TAG_TYPE_BITS) - 1)
            value, length = 0, _FIXED_BYTES.get(kind, 0)
            if kind in {_VARINT, _BYTES}:
                value, used = _varint(head, used)
                length = value if kind == _BYTES else 0
            elif not length:
                raise HeaderUnreadable("it is no ONNX file")
            begin, at = at + used, at + used + length
            if at > self._end:
                raise HeaderUnreadable("it is no ONNX file, or was cut")
            yield Span(tag >> _TAG_TYPE_BITS, value, begin, at)

    def grouped(self, *numbers: int) -> dict[int, list[Message]]:
        """Return the messages of some fields, found in one pass."""
        found: dict[int, list[Message]] = {number: [] for number in numbers}
        for span in self.fields():
            if span.number in found:
                found[span.number].append(Message(self._reader, span.begin, span.end))
        return found

    def all(self, number: int) -> list[Message]:
        """Return the messages of a field."""
        return self.grouped(number)[number]

    def one(self, number: int) -> Message | None:
        """Return the message of a field, the last of several."""
        return next(reversed(self.all(number)), None)

    def number(self, number: int) -> int:
        """Return the number of a field, the last of several, 0 without one."""
        return [0, *(span.value for span in self.fields() if span.number == number)][-1]

    def text(self, number: int) -> str:
        """Return the text of a field, empty without one; what lies behind it is not read."""
        for span in self.fields():
            if span.number == number:
                if span.end - span.begin > TEXT_BYTES_MAXIMUM:
                    raise HeaderUnreadable("a text in its header is too long")
                return self._reader.read(span.begin, span.end - span.begin).decode(errors="replace")
        return ""


def read(reader: Reader) -> Header:
    """Return inputs and outputs, the version of the operators, and what wrote the file.

    Raises:
        HeaderUnreadable: it is no such file, or its header is too large.
    """
    model = Message(reader, 0, reader.size_bytes)
    graph = model.one(_MODEL_GRAPH)
    if graph is None:
        raise HeaderUnreadable("it is no ONNX file: it has no graph")
    parts = graph.grouped(_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT)
    weights = {each.text(_TENSOR_NAME) for each in parts[_GRAPH_INITIALIZER]}
    inputs = [_value(each, weights=weights) for each in parts[_GRAPH_INPUT]]
    if model.number(_MODEL_IR) < _IR_WITH_OPTIONAL_INPUTS:
        inputs = [each for each in inputs if each.name not in weights]
    outputs = [_value(each, weights=set()) for each in parts[_GRAPH_OUTPUT]]
    return Header("onnx", Schema(tuple(inputs), tuple(outputs)), _facts(model))


def _facts(model: Message) -> dict[str, tuple[str | int, ...]]:
    opsets = [each for each in model.all(_MODEL_OPSET) if each.text(_OPSET_DOMAIN) in {"", "ai.onnx"}]
    producer = f"{model.text(_MODEL_PRODUCER)} {model.text(_MODEL_PRODUCER_VERSION)}".strip()
    facts: dict[str, tuple[str | int, ...]] = {}
    if opsets:
        facts["onnx.opset"] = (opsets[-1].number(_OPSET_VERSION),)
    if producer:
        facts["onnx.producer"] = (producer,)
    return facts


def _value(value: Message, *, weights: set[str]) -> SchemaField:
    name, optional = value.text(_VALUE_NAME), False
    declared = value.one(_VALUE_TYPE)
    wrapped = declared and declared.one(_TYPE_OPTIONAL)
    if wrapped is not None:
        declared, optional = wrapped.one(1), True
    tensor = declared and (declared.one(_TYPE_TENSOR) or declared.one(_TYPE_SPARSE))
    shape = tensor and tensor.one(2)
    return SchemaField(
        name,
        _type(declared, depth=0),
        shape=tuple(map(_dimension, shape.all(_SHAPE_DIMENSION))) if shape else (),
        optional=optional or name in weights,
    )


def _type(declared: Message | None, *, depth: int) -> str:
    """Write a type: that of the elements of a tensor, or `sequence(…)` and `map(…, …)` around it."""
    if declared is None:
        return _ELEMENTS[0]
    if depth == DEPTH_MAXIMUM:
        raise HeaderUnreadable("a type in it is nested too deeply")
    for number, pattern in ((_TYPE_TENSOR, "{}"), (_TYPE_SPARSE, "sparse({})")):
        if tensor := declared.one(number):
            return pattern.format(_element(tensor.number(1)))
    if sequence := declared.one(_TYPE_SEQUENCE):
        return f"sequence({_type(sequence.one(1), depth=depth + 1)})"
    if pairs := declared.one(_TYPE_MAP):
        return f"map({_element(pairs.number(1))}, {_type(pairs.one(2), depth=depth + 1)})"
    if wrapped := declared.one(_TYPE_OPTIONAL):
        return f"optional({_type(wrapped.one(1), depth=depth + 1)})"
    return _ELEMENTS[0]


def _element(number: int) -> str:
    return _ELEMENTS[number] if number < len(_ELEMENTS) else f"type-{number}"


def _dimension(dimension: Message) -> int:
    sizes = [span.value for span in dimension.fields() if span.number == _DIMENSION_SIZE]
    # A name instead of a size, none at all, or a negative one: any size.
    return sizes[-1] if sizes and sizes[-1] < 1 << (_INT64_BITS - 1) else -1


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at *at*, and where it ends."""
    value = 0
    for index, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << (_VARINT_BITS * index)
        if byte < 1 << _VARINT_BITS:
            return value & ((1 << _INT64_BITS) - 1), at + index + 1
    raise HeaderUnreadable("it is no ONNX file, or was cut")
