"""Where and why an expression is no check."""

from __future__ import annotations


class Fault(Exception):
    """An expression is wrong.

    Args:
        message: what is wrong, without the place.
        position: of the character where, from 0.
    """

    def __init__(self, message: str, *, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
