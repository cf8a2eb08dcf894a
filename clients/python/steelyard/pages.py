"""Lists: one page after the other, while the caller goes on reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

PAGE_SIZE = 1000


def entries(request: Any, *, field: str, ask: Callable[[Any], Any]) -> Iterator[Any]:
    """Yield the entries of all pages.

    Args:
        request: of a list, without a page token.
        field: of the answers that has the entries.
        ask: calls the list.
    """
    request.page_size = PAGE_SIZE
    while True:
        answer = ask(request)
        yield from getattr(answer, field)
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token
