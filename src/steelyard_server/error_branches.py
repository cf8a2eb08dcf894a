"""The root and the branches of the tree of errors; ``errors.py`` has its leaves.

RegistryError
├── InvalidArgument      the request is wrong whatever the state
├── NotFound             the named thing does not exist
├── AlreadyExists        the named thing exists with other content
├── FailedPrecondition   the state must change first
├── Aborted              a race was lost: read again, then decide
├── OutOfRange           a position lies behind the end
├── ResourceExhausted    a quota, the disk or the server's capacity
├── Unauthenticated      who calls is not known
├── PermissionDenied     the caller may not do this
├── DeadlineExceeded     a wait reached its limit
├── Unavailable          the same call may succeed later
└── DataLoss             stored bytes are damaged or gone
"""

from __future__ import annotations

import re
from typing import ClassVar


class RegistryError(Exception):
    """Refuse or fail a call for a stated reason.

    Args:
        message: a sentence for people, with the offending value and the next step.
        field: path of the request field that is wrong, for InvalidArgument.
        metadata: facts for programs; values are turned into strings.
    """

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, field: str = "", **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.metadata = {key: str(value) for key, value in metadata.items()}

    def __init_subclass__(cls) -> None:
        cls.reason = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()


class InvalidArgument(RegistryError):
    """The request is wrong whatever the state of the registry is."""


class NotFound(RegistryError):
    """The named thing does not exist."""


class AlreadyExists(RegistryError):
    """The named thing exists already, with other content."""


class FailedPrecondition(RegistryError):
    """The state of the registry must change before this call can succeed."""


class Aborted(RegistryError):
    """A race was lost; read again and decide anew."""


class OutOfRange(RegistryError):
    """A position lies behind the end of what exists."""


class ResourceExhausted(RegistryError):
    """A quota, the disk or the capacity of the server is used up."""


class Unauthenticated(RegistryError):
    """Who calls is not known."""


class PermissionDenied(RegistryError):
    """The caller may not do this."""


class DeadlineExceeded(RegistryError):
    """A wait reached its limit."""


class Unavailable(RegistryError):
    """The same call may succeed later."""


class DataLoss(RegistryError):
    """Stored bytes are damaged or gone."""
