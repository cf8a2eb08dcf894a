"""What can go wrong, as exceptions: one branch per gRPC status, one class per reason of the server.

SteelyardError
├── InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, Aborted, OutOfRange,
│   ResourceExhausted, PermissionDenied (with Unauthenticated below it), DeadlineExceeded, Unavailable,
│   DataLoss, Internal
│       the server's word; a leaf of ``steelyard.reasons`` for each reason
├── Unreachable          no server answers at the address
├── Stopped              this side asked a transfer to end
└── LocalFileError       a file on this side is not what it must be
    ├── FileChanged      it changed while it was pushed
    ├── SymlinkRefused   a symbolic link among the files to push
    ├── FileUnreadable   it cannot be read
    ├── DestinationNotEmpty, DestinationExists
    ├── BundleInvalid    a file is no bundle, or one that was cut or changed
    └── UnsafePath       the server named a path outside the directory
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import grpc
    from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

    from steelyard.tls import Tls


class SteelyardError(Exception):
    """A call or transfer failed.

    Args:
        message: sentence for people.
        metadata: facts for programs, as the reason lists them.
        field: path of the request field that is wrong, if one is.
        call_id: identifier of the call in the server's log.
    """

    reason: ClassVar[str] = ""

    def __init__(
        self, message: str, *, metadata: dict[str, str] | None = None, field: str = "", call_id: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata or {}
        self.field = field
        self.call_id = call_id


class InvalidArgument(SteelyardError):
    """The request is wrong whatever the state."""


class NotFound(SteelyardError):
    """The named thing does not exist."""


class AlreadyExists(SteelyardError):
    """The named thing exists, with other content."""


class FailedPrecondition(SteelyardError):
    """The state must change first."""


class Aborted(SteelyardError):
    """A race was lost; read again and decide anew."""


class OutOfRange(SteelyardError):
    """A position lies behind the end."""


class ResourceExhausted(SteelyardError):
    """A quota, the disk or the server's capacity is used up."""


class PermissionDenied(SteelyardError):
    """The caller may not do this."""


class Unauthenticated(PermissionDenied):
    """The server wants a login, and the call had none or one that is not good."""


class DeadlineExceeded(SteelyardError):
    """A wait reached its limit."""


class Unavailable(SteelyardError):
    """The same call may succeed later; it was tried several times."""


class DataLoss(SteelyardError):
    """Bytes are damaged or gone."""


class Internal(SteelyardError):
    """The server met something unexpected, or speaks another protocol."""


class Unreachable(SteelyardError):
    """No server answers at the address."""


class Stopped(SteelyardError):
    """The call was asked to end; what was done is kept for the next one."""


class DownloadCorrupt(DataLoss):
    """Bytes that arrived do not have the digest that the version names."""


class LocalFileError(SteelyardError):
    """A file on this side is not what it must be."""


class FileChanged(LocalFileError):
    """A file changed while it was pushed; nothing was created."""


class SymlinkRefused(LocalFileError):
    """There is a symbolic link among the files to push."""


class FileUnreadable(LocalFileError):
    """A file cannot be read."""


class DestinationNotEmpty(LocalFileError):
    """The directory to pull into has something in it."""


class DestinationExists(LocalFileError):
    """The file to write is there already."""


class BundleInvalid(LocalFileError):
    """A file is no bundle, or one that was cut or changed; nothing of it was used."""


class UnsafePath(LocalFileError):
    """The server named a path that leads out of the directory to pull into."""


BRANCHES: dict[str, type[SteelyardError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": FailedPrecondition,
    "ABORTED": Aborted,
    "OUT_OF_RANGE": OutOfRange,
    "RESOURCE_EXHAUSTED": ResourceExhausted,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAUTHENTICATED": Unauthenticated,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNAVAILABLE": Unavailable,
    "DATA_LOSS": DataLoss,
}


def from_call(error: grpc.RpcError, *, server: str, tls: Tls | None = None) -> SteelyardError:
    """Turn the error of a call into the exception for its reason.

    Args:
        server: address that was called, for the message when nobody answers there, and *tls* how.
    """
    from steelyard import reasons
    from steelyard.tls import advice

    code = error.code().name
    text = error.details() or code
    trailing: Any = error.trailing_metadata() or ()
    details: dict[str, Any] = dict(trailing)
    info, request = _details(details.get("grpc-status-details-bin", b""))
    if code == "UNAVAILABLE" and not info.reason:
        nobody = f"No server answers at {server}; start one with `steelyard serve`, or name another."
        return Unreachable(f"{advice(text, server=server, tls=tls) or nobody} ({text})")
    if code == "DEADLINE_EXCEEDED" and not info.reason:
        text = f"No answer came from {server} within the time limit; try again, or allow more time."
    kind = reasons.BY_REASON.get(info.reason) or BRANCHES.get(code, Internal)
    return kind(
        text,
        metadata=dict(info.metadata),
        field=request.field_violations[0].field if request.field_violations else "",
        call_id=str(details.get("steelyard-call", "")),
    )


def _details(raw: bytes) -> tuple[ErrorInfo, BadRequest]:
    """Read what came with a status; nothing of what is broken, for the status itself says enough."""
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2, status_pb2

    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    with suppress(DecodeError):
        for detail in status_pb2.Status.FromString(raw).details:
            detail.Unpack(info) or detail.Unpack(request)
    return info, request
