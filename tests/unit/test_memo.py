"""Remembered answers are never older than what a caller was told, and never too many."""

from __future__ import annotations

import pytest

from steelyard_server.api import memo as module
from steelyard_server.api.memo import Memo
from steelyard_server.history.events import Committed


def committed(sequence: int, *models: str) -> list[object]:
    return [Committed(sequence, frozenset(models))]


def test_an_answer_is_found_by_its_key_until_its_model_changes() -> None:
    memo = Memo(sequence=1)
    memo.keep(b"fraud", b"one", model_uid="f", sequence=1)
    memo.keep(b"churn", b"two", model_uid="c", sequence=1)
    memo.on_commit(committed(2, "f"))

    assert memo.find(b"fraud") is None
    assert memo.find(b"churn") == b"two"
    assert memo.find(b"unknown") is None


def test_an_answer_that_was_read_before_a_change_is_not_kept_after_it() -> None:
    memo = Memo()
    memo.on_commit(committed(5, "f"))
    memo.keep(b"old", b"read at 4", model_uid="f", sequence=4)
    memo.keep(b"new", b"read at 5", model_uid="f", sequence=5)

    assert memo.find(b"old") is None
    assert memo.find(b"new") == b"read at 5"


def test_what_was_read_beyond_the_newest_known_commit_is_neither_kept_nor_claimed() -> None:
    """Between 7 and 9 another model may have changed, whose answers are still here."""
    memo = Memo()
    memo.on_commit(committed(7, "f"))
    memo.keep(b"a", b"x", model_uid="c", sequence=9)
    assert (memo.find(b"a"), memo.sequence) == (None, 7)
    memo.on_commit(committed(8, ""))
    assert memo.sequence == 8


def test_a_memo_that_is_not_enabled_keeps_nothing() -> None:
    memo = Memo(enabled=False, sequence=1)
    memo.keep(b"a", b"x", model_uid="f", sequence=1)
    assert memo.find(b"a") is None


def test_an_answer_may_be_replaced_and_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES_MAXIMUM", 10)
    monkeypatch.setattr(module, "OVERHEAD_BYTES", 0)
    memo = Memo(sequence=2)
    memo.keep(b"a", b"123456", model_uid="f", sequence=1)
    memo.keep(b"a", b"654321", model_uid="f", sequence=2)
    memo.keep(b"b", b"1234", model_uid="f", sequence=2)
    assert (memo.find(b"a"), memo.find(b"b")) == (b"654321", b"1234")


def test_the_least_recently_asked_goes_first_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRIES_MAXIMUM", 2)
    memo = Memo(sequence=1)
    memo.keep(b"a", b"1", model_uid="f", sequence=1)
    memo.keep(b"b", b"2", model_uid="f", sequence=1)
    memo.find(b"a")
    memo.keep(b"c", b"3", model_uid="f", sequence=1)
    assert [memo.find(key) for key in (b"a", b"b", b"c")] == [b"1", None, b"3"]


def test_bytes_are_bounded_and_come_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES_MAXIMUM", 10)
    monkeypatch.setattr(module, "ENTRY_BYTES_MAXIMUM", 8)
    monkeypatch.setattr(module, "OVERHEAD_BYTES", 0)
    memo = Memo(sequence=1)
    memo.keep(b"large", b"123456789", model_uid="f", sequence=1)
    assert memo.find(b"large") is None
    memo.keep(b"a", b"12345678", model_uid="f", sequence=1)
    memo.on_commit(committed(2, "f"))
    memo.keep(b"b", b"12345", model_uid="f", sequence=2)
    memo.keep(b"c", b"12345", model_uid="f", sequence=2)
    assert (memo.find(b"b"), memo.find(b"c")) == (b"12345", b"12345")


def test_a_change_that_was_forgotten_still_keeps_old_answers_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes of ever more models are remembered as one number, not one by one."""
    monkeypatch.setattr(module, "ENTRIES_MAXIMUM", 2)
    memo = Memo()
    for sequence, model in enumerate(["f", "a", "b", "c"], start=1):
        memo.on_commit(committed(sequence, model))
    memo.keep(b"old", b"read at 0", model_uid="f", sequence=0)
    memo.keep(b"new", b"read at 4", model_uid="f", sequence=4)
    assert (memo.find(b"old"), memo.find(b"new")) == (None, b"read at 4")


def test_what_an_entry_takes_beside_its_answer_is_counted() -> None:
    memo = Memo(sequence=1)
    fitting = module.BYTES_MAXIMUM // (module.OVERHEAD_BYTES + 60_000)
    for number in range(fitting + 1):
        memo.keep(number, bytes(60_000), model_uid="f", sequence=1)
    assert [memo.find(number) is None for number in (0, 1, fitting)] == [True, False, False]
