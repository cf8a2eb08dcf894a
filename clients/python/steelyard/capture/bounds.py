"""What a server takes: what is captured and does not fit is left out, not a reason to refuse a push."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from steelyard.content import ParameterValue, Schema, SchemaField
from steelyard.v1 import limits_pb2

SHAPE_DIMENSIONS_MAXIMUM = 64
# A share of what all content but the files may have; the rest is the caller's.
SCHEMA_BYTES_MAXIMUM = 128 * 1024
_INT64 = range(-(2**63), 2**63)


def limit(name: str) -> int:
    """Return a number of the table of limits, which is the same on every server of this API version."""
    bound: int = limits_pb2.Limits.DESCRIPTOR.fields_by_name[name].GetOptions().Extensions[limits_pb2.bound]
    return bound


def is_text(text: str) -> bool:
    """Return whether *text* is one line of a bearable length, in characters that can be sent."""
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        return False
    has_control = any(unicodedata.category(character) == "Cc" for character in text)
    return size_bytes <= limit("text_bytes") and not has_control


def is_parameter(value: ParameterValue) -> bool:
    """Return whether a server takes *value* as a parameter; texts of several lines do not count as one."""
    return value in _INT64 if isinstance(value, int) else is_text(str(value))


def is_schema(schema: Schema) -> bool:
    """Return whether a server takes *schema*."""
    fields = (*schema.inputs, *schema.outputs)
    size_bytes = sum(len(each.name) + len(each.type) + 8 * len(each.shape) for each in fields)
    return size_bytes <= SCHEMA_BYTES_MAXIMUM and _is_side(schema.inputs) and _is_side(schema.outputs)


def _is_side(fields: Iterable[SchemaField]) -> bool:
    fields = tuple(fields)
    names = {each.name for each in fields}
    return len(names) == len(fields) <= limit("schema_fields_count") and all(map(_is_field, fields))


def _is_field(field: SchemaField) -> bool:
    texts = all(text and is_text(text) for text in (field.name, field.type))
    return texts and len(field.shape) <= SHAPE_DIMENSIONS_MAXIMUM
