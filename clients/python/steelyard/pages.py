"""Lists: one page after the other, while the caller goes on reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

PAGE_SIZE = 1000


def entries(request: Any, *, field: str, ask: Callable[[Any], Any]) -> Iterator[Any]:
    """Yield the entries of all pages.

    Args:
        request: of a list, without a page token.
        field: of the answers that has the entries.
        ask: calls the list.
    """
    for answer in _answers(request, ask=ask):
        yield from getattr(answer, field)


def ordered(request: Any, *, field: str, ask: Callable[[Any], Any]) -> Iterator[tuple[Any, str]]:
    """Yield the entries of all pages as `entries` does, each with what it was ordered by."""
    for answer in _answers(request, ask=ask):
        yield from zip_longest(getattr(answer, field), answer.order_values, fillvalue="")


def _answers(request: Any, *, ask: Callable[[Any], Any]) -> Iterator[Any]:
    request.page_size = PAGE_SIZE
    while True:
        answer = ask(request)
        yield answer
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token
