"""Page tokens and page sizes."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard_server.api import pages
from steelyard_server.api.pages import Pages
from steelyard_server.core.pages import page_size
from steelyard_server.errors import HistoryReplaced, PageSizeInvalid, PageTokenInvalid
from steelyard_server.limits import LIMITS

QUERY = ("versions", "risk/fraud", "number")
PAGES = Pages("2d0b0e4e-7d1c-4a53-8a1c-0e6a6d1c6c11")
TOKEN = PAGES.encode(QUERY, "weights/model.onnx")


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
    | st.integers(0, 2**63 - 1)
    | st.lists(st.none() | st.floats(allow_nan=False) | st.text(max_size=9) | st.integers() | st.booleans())
)
def test_a_token_leads_back_to_the_key_that_it_was_made_of(last: str | int | list[Any]) -> None:
    token = PAGES.encode(QUERY, last)

    assert PAGES.decode(QUERY, token, type(last)) == last
    assert token.isascii()
    assert not set(token) & set("+/= ")


def test_no_token_is_the_first_page() -> None:
    assert PAGES.decode(QUERY, "", str) is None


@pytest.mark.parametrize(
    "query",
    [
        ("versions", "risk/fraud", "number desc"),
        ("versions", "risk/churn", "number"),
        ("files", "risk/fraud", "number"),
        ("versions", "risk/fraud"),
        ("versions", "risk", "fraud", "number"),
        (),
    ],
)
def test_a_token_is_refused_by_every_other_query(query: tuple[str, ...]) -> None:
    with pytest.raises(PageTokenInvalid) as refused:
        PAGES.decode(query, TOKEN, str)
    assert refused.value.field == "page_token"


@pytest.mark.parametrize(
    "token",
    [
        " ",
        "x",
        "é",
        "\0",
        "====",
        "AAAA" * 5,
        TOKEN + "!",
        TOKEN + "é",
        "A" * 5000,
        "A" * 1_000_000,
        TOKEN * 2,
    ],
    ids=lambda token: f"{token[:4]!a} {token[-4:]!a} {len(token)}",
)
def test_garbage_is_no_token(token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        PAGES.decode(QUERY, token, str)


def test_no_cut_and_no_changed_bit_of_a_token_is_accepted() -> None:
    content = base64.urlsafe_b64decode(TOKEN + "=" * (-len(TOKEN) % 4))
    cut = [content[:length] for length in range(1, len(content))]
    changed = [
        content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
        for at in range(len(content))
        for bit in range(8)
    ]
    for each in cut + changed:
        with pytest.raises(PageTokenInvalid):
            PAGES.decode(QUERY, base64.urlsafe_b64encode(each).decode().rstrip("="), str)


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (0, LIMITS.page_size_default),
        (1, 1),
        (LIMITS.page_size_maximum, LIMITS.page_size_maximum),
        (LIMITS.page_size_maximum + 1, LIMITS.page_size_maximum),
        (2**31 - 1, LIMITS.page_size_maximum),
    ],
)
def test_a_wish_for_rows_is_lowered_to_the_most_that_is_answered(wanted: int, rows: int) -> None:
    assert page_size(wanted) == rows


def test_a_negative_wish_is_refused() -> None:
    with pytest.raises(PageSizeInvalid):
        page_size(-1)


def forged(key: bytes) -> str:
    """Make a token whose checksum is right, as anybody can."""
    content = PAGES._mark + key
    return base64.urlsafe_b64encode(pages._check(QUERY, content) + content).decode().rstrip("=")


@pytest.mark.parametrize("key", ["[1]", "null", "1.5", "true", '"a"', "-1", str(2**63)], ids=str)
def test_a_token_with_a_key_of_another_kind_is_refused_although_its_checksum_is_right(key: str) -> None:
    with pytest.raises(PageTokenInvalid):
        PAGES.decode(QUERY, forged(key.encode()), int)


@pytest.mark.parametrize(
    "key",
    [b"", b"{", b"\xff\xfe", b'"\\ud800"', b'"a\\u0000"', b"[" * 100_000, b"1" * 5000],
    ids=lambda key: f"{key[:8]!r} {len(key)}",
)
@pytest.mark.parametrize("kind", [str, int, list])
def test_a_forged_key_that_no_list_gave_out_is_refused(key: bytes, kind: type[str]) -> None:
    with pytest.raises(PageTokenInvalid):
        PAGES.decode(QUERY, forged(key), kind)


@pytest.mark.parametrize("length", [0, 1, pages.EPOCH_BYTES - 1])
def test_a_token_that_ends_in_its_epoch_is_refused(length: int) -> None:
    content = PAGES._mark[:length]
    token = base64.urlsafe_b64encode(pages._check(QUERY, content) + content).decode().rstrip("=")
    with pytest.raises(PageTokenInvalid):
        PAGES.decode(QUERY, token, str)


@pytest.mark.parametrize("last", ["\U0001f9ed" * LIMITS.model_name_characters, "é" * 512, "日" * 341])
def test_the_longest_keys_fit_into_a_token(last: str) -> None:
    assert PAGES.decode(QUERY, PAGES.encode(QUERY, last), str) == last


def test_a_token_from_before_a_restore_is_told_from_one_of_another_query() -> None:
    restored = Pages("61fd5a2e-7b3b-4c8c-a4a9-5ab5d0f3ae43")

    with pytest.raises(HistoryReplaced) as refused:
        restored.decode(QUERY, TOKEN, str)
    assert refused.value.metadata == {"epoch": "61fd5a2e-7b3b-4c8c-a4a9-5ab5d0f3ae43"}
    with pytest.raises(PageTokenInvalid):
        restored.decode((*QUERY, "more"), TOKEN, str)


def test_a_token_stays_small() -> None:
    assert len(PAGES.encode(QUERY, 100_000)) <= 32


def test_the_longest_position_fits_into_a_token() -> None:
    choices = [["日" * LIMITS.key_characters] * 2] * LIMITS.filter_terms_count
    position = [choices, 0, *["\U0001f9ed" * LIMITS.model_name_characters] * (LIMITS.order_fields_count + 2)]

    assert PAGES.decode(QUERY, PAGES.encode(QUERY, position), list) == position


@pytest.mark.parametrize(
    "text", ["", "-1", "1.0", "x", "٣", str(2**63), "9" * 5000], ids=lambda text: text[:9]
)
def test_what_is_no_number_in_a_key_is_refused(text: str) -> None:
    assert pages.number("7") == 7
    with pytest.raises(PageTokenInvalid):
        pages.number(text)
