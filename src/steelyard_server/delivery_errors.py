"""Why something about the places where models run is refused; the tree and its rules are in ``errors.py``."""

from __future__ import annotations

from steelyard_server.errors import AlreadyExists, NotFound


class EnvironmentNotFound(NotFound):
    """No environment has this name, or no version can go to it yet."""


class EnvironmentAlreadyExists(AlreadyExists):
    """An environment of this name exists."""
