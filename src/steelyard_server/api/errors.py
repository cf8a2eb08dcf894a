"""Errors on the wire: the one table from branch to status code, and the details that go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from steelyard_server import errors

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from steelyard_server.errors import RegistryError

DOMAIN = "steelyard"
DETAILS_BYTES_MAXIMUM = 4096
# In the status, and once more in its details.
MESSAGE_BYTES_MAXIMUM = 1024

CODES: dict[type[RegistryError], StatusCode] = {
    errors.InvalidArgument: StatusCode.INVALID_ARGUMENT,
    errors.NotFound: StatusCode.NOT_FOUND,
    errors.AlreadyExists: StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: StatusCode.FAILED_PRECONDITION,
    errors.Aborted: StatusCode.ABORTED,
    errors.OutOfRange: StatusCode.OUT_OF_RANGE,
    errors.ResourceExhausted: StatusCode.RESOURCE_EXHAUSTED,
    errors.Unauthenticated: StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: StatusCode.PERMISSION_DENIED,
    errors.DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.DataLoss: StatusCode.DATA_LOSS,
}
RETRY_SECONDS = 1.0

Metadata = tuple[tuple[str, str | bytes], ...]


def code(error: RegistryError) -> StatusCode:
    """Return the status code of the branch that *error* hangs on."""
    for branch in type(error).__mro__:
        if branch in CODES:
            return CODES[branch]
    return StatusCode.INTERNAL


def on_wire(error: RegistryError, *, call_id: str) -> tuple[StatusCode, str, Metadata]:
    """Return status code, message and trailing metadata for *error*."""
    status_code = code(error)
    message = printable(error.message)
    status = status_pb2.Status(code=status_code.value[0], message=message)
    retry = status_code is StatusCode.UNAVAILABLE or isinstance(error, errors.Overloaded)
    for detail in _details(error, call_id=call_id, retry=retry):
        status.details.add().Pack(detail)
    metadata: Metadata = (("grpc-status-details-bin", status.SerializeToString()),)
    if retry:
        metadata += (("grpc-retry-pushback-ms", str(int(RETRY_SECONDS * 1000))),)
    elif status_code is StatusCode.RESOURCE_EXHAUSTED:
        # Clients retry this code for Overloaded; a full disk or quota is not mended by that.
        metadata += (("grpc-retry-pushback-ms", "-1"),)
    return status_code, message, metadata


def printable(text: str, *, maximum_bytes: int = MESSAGE_BYTES_MAXIMUM) -> str:
    """Escape what a terminal or log could take for a command, and cut what is too long."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    encoded = shown.encode()
    if len(encoded) > maximum_bytes:
        return encoded[: maximum_bytes - len("…".encode())].decode(errors="ignore") + "…"
    return shown


def _details(error: RegistryError, *, call_id: str, retry: bool) -> list[Message]:
    facts = dict(error.metadata)
    if error.field:
        facts.setdefault("field", error.field)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=_fitting(facts)),
        error_details_pb2.RequestInfo(request_id=call_id),
    ]
    if isinstance(error, errors.InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field[:256], description=printable(error.message, maximum_bytes=512)
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry:
        delay = Duration(nanos=0, seconds=int(RETRY_SECONDS))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details


def _fitting(facts: dict[str, str]) -> dict[str, str]:
    """Cut metadata so that all details stay below 4 KiB; BLOB_MISSING alone needs much of it."""
    room = DETAILS_BYTES_MAXIMUM // 2
    kept: dict[str, str] = {}
    for name, value in facts.items():
        text = printable(value).encode()[: max(room - len(name), 0)].decode(errors="ignore")
        kept[name] = text
        room -= len(name) + len(text.encode())
    return kept
