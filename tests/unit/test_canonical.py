"""Canonical JSON is that of RFC 8785, and a double is the shortest text that reads back the same."""

from __future__ import annotations

import math
import struct

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard_server.history import canonical
from steelyard_server.history.canonical import Json

QUICK = settings(max_examples=150, deadline=None)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@QUICK
@given(VALUES)
def test_every_value_without_numbers_is_written_as_by_another_library(value: Json) -> None:
    assert canonical.encode(value) == rfc8785.dumps(value)
    assert canonical.text(value).encode() == canonical.encode(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ('"\\/', '"\\"\\\\/"'),
        ("\b\t\n\f\r", '"\\b\\t\\n\\f\\r"'),
        ("\x00\x1f\x7f\x80", '"\\u0000\\u001f\x7f\x80"'),
        ("e\u0301 é \u2028 🦉", '"e\u0301 é \u2028 🦉"'),
        ({"b": [True, False, None], "a": {}}, '{"a":{},"b":[true,false,null]}'),
        ({"aa": "2", "a": "1", "": "0", "A": "3"}, '{"":"0","A":"3","a":"1","aa":"2"}'),
    ],
)
def test_text_is_escaped_as_little_as_json_allows(value: Json, text: str) -> None:
    assert canonical.text(value) == text


def test_keys_are_ordered_by_utf_16_unit_also_above_the_basic_plane() -> None:
    # As UTF-16 the owl begins with D83E, which comes before FB33; as a code point it is larger.
    assert canonical.text({"\ufb33": "2", "🦉": "1", "ö": "0"}) == '{"ö":"0","🦉":"1","\ufb33":"2"}'


def test_the_order_in_which_members_came_does_not_matter() -> None:
    assert canonical.encode({"a": "1", "b": "2"}) == canonical.encode({"b": "2", "a": "1"})


@QUICK
@given(st.floats(allow_nan=False))
def test_a_double_reads_back_bit_for_bit(value: float) -> None:
    assert struct.pack(">d", float(canonical.double(value))) == struct.pack(">d", value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (2.0**53 + 2, "9007199254740994"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
    ],
)
def test_a_double_is_written_as_ecmascript_writes_it(value: float, text: str) -> None:
    assert canonical.double(value) == text


def test_a_digest_names_the_bytes_by_their_sha256() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert canonical.digest(b"") == f"sha256:{empty}"
