"""Updates change what they name, and only when the caller saw the newest state."""

from __future__ import annotations

from typing import Any

import pytest

from steelyard_server.core import masks
from steelyard_server.errors import EtagInvalid, EtagMismatch, FieldMaskInvalid, ImmutableField

MUTABLE = ("description", "labels")
IMMUTABLE = ("name",)
SET = {"description": "new", "labels": {"a": "b"}}
EMPTY = {"description": "", "labels": {}}


@pytest.mark.parametrize(
    ("given", "mask", "wanted"),
    [
        (SET, ("labels",), {"labels": {"a": "b"}}),
        (SET, ("description", "labels"), SET),
        (SET, ("labels", "labels"), {"labels": {"a": "b"}}),
        (EMPTY, ("description",), {"description": ""}),
        (EMPTY | {"description": "new"}, None, {"description": "new"}),
        (SET, None, SET),
    ],
)
def test_a_mask_chooses_and_without_one_what_is_set(
    given: dict[str, Any], mask: tuple[str, ...] | None, wanted: dict[str, Any]
) -> None:
    assert masks.chosen(given, mask, mutable=MUTABLE, immutable=IMMUTABLE) == wanted


@pytest.mark.parametrize(
    ("given", "mask", "error"),
    [
        (SET, ("name",), ImmutableField),
        (SET, ("labels", "name"), ImmutableField),
        (SET, ("uid",), FieldMaskInvalid),
        (SET, ("labels.a",), FieldMaskInvalid),
        (SET, ("*",), FieldMaskInvalid),
        (SET, ("",), FieldMaskInvalid),
        (SET, ("Description",), FieldMaskInvalid),
        (SET, (), FieldMaskInvalid),
        (EMPTY, None, FieldMaskInvalid),
    ],
)
def test_a_mask_of_what_cannot_change_is_refused(
    given: dict[str, Any], mask: tuple[str, ...] | None, error: type[FieldMaskInvalid | ImmutableField]
) -> None:
    with pytest.raises(error) as refused:
        masks.chosen(given, mask, mutable=MUTABLE, immutable=IMMUTABLE)
    assert refused.value.field == "update_mask"
    assert refused.value.metadata["allowed"] == "description, labels"


@pytest.mark.parametrize("etag", ["", "7", "007"])
def test_an_etag_of_the_newest_state_or_none_passes(etag: str) -> None:
    masks.check_etag(etag, 7)


def test_a_stale_etag_is_refused_with_the_newest() -> None:
    with pytest.raises(EtagMismatch) as refused:
        masks.check_etag("6", 7)
    assert refused.value.metadata == {"etag": "7"}


def test_an_etag_of_another_make_is_malformed() -> None:
    with pytest.raises(EtagInvalid):
        masks.check_etag('"7"', 7)
