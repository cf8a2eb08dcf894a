"""Everything the registry refuses or fails at, as one tree ordered by gRPC status code.

RegistryError
├── InvalidArgument      the request is wrong whatever the state
├── NotFound             the named thing does not exist
├── AlreadyExists        the named thing exists with other content
├── FailedPrecondition   the state must change first
├── Aborted              a race was lost: read again, then decide
├── OutOfRange           a position lies behind the end
├── ResourceExhausted    a quota, the disk or the server's capacity
├── PermissionDenied     the caller may not do this
├── DeadlineExceeded     a wait reached its limit
├── Unavailable          the same call may succeed later
└── DataLoss             stored bytes are damaged or gone

Every leaf has a `reason`, which stands in ``error_reason.proto`` with its cause, its metadata
keys and advice. The message is for people: it says what is wrong and what to do. Metadata is for
programs: short strings, under 4 KiB together. Nothing here knows gRPC; ``api/errors.py`` maps
each branch to a status code.
"""

from __future__ import annotations

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


class PermissionDenied(RegistryError):
    """The caller may not do this."""


class DeadlineExceeded(RegistryError):
    """A wait reached its limit."""


class Unavailable(RegistryError):
    """The same call may succeed later."""

    retry_after_seconds: ClassVar[float] = 1.0


class DataLoss(RegistryError):
    """Stored bytes are damaged or gone."""


class MalformedMessage(InvalidArgument):
    """The bytes of a message do not parse as the expected protobuf message."""

    reason = "MALFORMED_MESSAGE"


class MissingMessage(InvalidArgument):
    """A unary call ended without sending its request."""

    reason = "MISSING_MESSAGE"


class TooManyMessages(InvalidArgument):
    """A unary call sent more than one request."""

    reason = "TOO_MANY_MESSAGES"


class FieldRequired(InvalidArgument):
    """A required field is empty."""

    reason = "FIELD_REQUIRED"


class InvalidName(InvalidArgument):
    """A name does not match the pattern of its kind."""

    reason = "INVALID_NAME"


class TooLong(InvalidArgument):
    """A text is longer than its limit."""

    reason = "TOO_LONG"


class ReservedName(InvalidArgument):
    """A name is kept for the server's own use."""

    reason = "RESERVED_NAME"


class InvalidResourceName(InvalidArgument):
    """A `namespace/model` text has the wrong form."""

    reason = "INVALID_RESOURCE_NAME"


class OutOfBounds(InvalidArgument):
    """A number lies outside its stated bounds."""

    reason = "OUT_OF_BOUNDS"


class RequestIdInvalid(InvalidArgument):
    """A request id is not a UUID."""

    reason = "REQUEST_ID_INVALID"


class RequestIdReused(InvalidArgument):
    """A request id was used before with another request."""

    reason = "REQUEST_ID_REUSED"


class EtagInvalid(InvalidArgument):
    """An etag is not one that this server gave out."""

    reason = "ETAG_INVALID"


class FieldMaskInvalid(InvalidArgument):
    """An update mask names an unknown or output-only field."""

    reason = "FIELD_MASK_INVALID"


class ImmutableField(InvalidArgument):
    """An update mask names a field that never changes."""

    reason = "IMMUTABLE_FIELD"


class EnumInvalid(InvalidArgument):
    """An enum value is unspecified or unknown."""

    reason = "ENUM_INVALID"


class OneofRequired(InvalidArgument):
    """No member of a required oneof is set."""

    reason = "ONEOF_REQUIRED"


class TimestampInvalid(InvalidArgument):
    """A timestamp lies outside the years 0001 to 9999 or has bad nanoseconds."""

    reason = "TIMESTAMP_INVALID"


class LimitExceeded(InvalidArgument):
    """A collection or its sum is larger than its limit."""

    reason = "LIMIT_EXCEEDED"


class DuplicateKey(InvalidArgument):
    """Two entries have the same key."""

    reason = "DUPLICATE_KEY"


class ControlCharacters(InvalidArgument):
    """A text holds control characters."""

    reason = "CONTROL_CHARACTERS"


class InvalidText(InvalidArgument):
    """A text is not what its field takes, for example not NFC or not a JSON object."""

    reason = "INVALID_TEXT"


class SemanticVersionInvalid(InvalidArgument):
    """A semantic version does not follow semver.org 2.0.0."""

    reason = "SEMANTIC_VERSION_INVALID"


class PageSizeInvalid(InvalidArgument):
    """A page size is negative."""

    reason = "PAGE_SIZE_INVALID"


class PageTokenInvalid(InvalidArgument):
    """A page token is forged, cut, or belongs to another query."""

    reason = "PAGE_TOKEN_INVALID"


class OrderByInvalid(InvalidArgument):
    """A list does not offer the order that was asked for."""

    reason = "ORDER_BY_INVALID"


class UploadHeaderRequired(InvalidArgument):
    """Bytes came on a stream before the header that says what they are."""

    reason = "UPLOAD_HEADER_REQUIRED"


class UploadHeaderDuplicate(InvalidArgument):
    """A second header came before the blob of the first was finished."""

    reason = "UPLOAD_HEADER_DUPLICATE"


class ChunkTooLarge(InvalidArgument):
    """One message carries more bytes of a blob than a chunk may have."""

    reason = "CHUNK_TOO_LARGE"


class EmptyArtifact(InvalidArgument):
    """A version has no file."""

    reason = "EMPTY_ARTIFACT"


class DigestInvalid(InvalidArgument):
    """A digest is not `sha256:` and 64 lower-case hexadecimal digits."""

    reason = "DIGEST_INVALID"


class DigestMismatch(InvalidArgument):
    """The received bytes have another digest than the one declared."""

    reason = "DIGEST_MISMATCH"


class SizeMismatch(InvalidArgument):
    """The received bytes have another size than the one declared."""

    reason = "SIZE_MISMATCH"


class InvalidFilePath(InvalidArgument):
    """A file path is absolute, leaves its directory, repeats, or is not NFC."""

    reason = "INVALID_FILE_PATH"


class NamespaceNotFound(NotFound):
    """No namespace has this name."""

    reason = "NAMESPACE_NOT_FOUND"


class ModelNotFound(NotFound):
    """No model has this name."""

    reason = "MODEL_NOT_FOUND"


class VersionNotFound(NotFound):
    """The model has no such version."""

    reason = "VERSION_NOT_FOUND"


class AliasNotFound(NotFound):
    """The model has no such alias."""

    reason = "ALIAS_NOT_FOUND"


class FileNotFound(NotFound):
    """The version has no file at this path."""

    reason = "FILE_NOT_FOUND"


class NamespaceAlreadyExists(AlreadyExists):
    """A namespace of this name exists."""

    reason = "NAMESPACE_ALREADY_EXISTS"


class ModelAlreadyExists(AlreadyExists):
    """A model of this name exists, letter case aside."""

    reason = "MODEL_ALREADY_EXISTS"


class SemanticVersionAlreadyExists(AlreadyExists):
    """Another version of the model has this semantic version."""

    reason = "SEMANTIC_VERSION_ALREADY_EXISTS"


class VersionAlreadyExists(AlreadyExists):
    """The same content is a version already, with other set-once fields than those asked for."""

    reason = "VERSION_ALREADY_EXISTS"


class IdempotencyKeyReused(AlreadyExists):
    """The idempotency key belongs to a version with other content."""

    reason = "IDEMPOTENCY_KEY_REUSED"


class BlobMissing(FailedPrecondition):
    """A version names a blob that its namespace does not hold."""

    reason = "BLOB_MISSING"


class NamespaceNotEmpty(FailedPrecondition):
    """A namespace still has models."""

    reason = "NAMESPACE_NOT_EMPTY"


class NameRetired(FailedPrecondition):
    """A name belonged to a model that was renamed; it redirects and is not reusable."""

    reason = "NAME_RETIRED"


class NoRollbackTarget(FailedPrecondition):
    """An alias never pointed anywhere before."""

    reason = "NO_ROLLBACK_TARGET"


class FileIsExternal(FailedPrecondition):
    """The bytes of a file stay at an external address; the server does not have them."""

    reason = "FILE_IS_EXTERNAL"


class HistoryReplaced(FailedPrecondition):
    """The registry was restored since a cursor was given out."""

    reason = "HISTORY_REPLACED"


class EtagMismatch(Aborted):
    """The resource changed since it was read."""

    reason = "ETAG_MISMATCH"


class AliasChanged(Aborted):
    """The alias does not point where the caller expected."""

    reason = "ALIAS_CHANGED"


class UploadSuperseded(Aborted):
    """A newer stream took this upload over."""

    reason = "UPLOAD_SUPERSEDED"


class TransactionConflict(Aborted):
    """Concurrent changes kept colliding."""

    reason = "TRANSACTION_CONFLICT"


class OffsetOutOfRange(OutOfRange):
    """A range starts behind the end of a file."""

    reason = "OFFSET_OUT_OF_RANGE"


class SequenceInFuture(OutOfRange):
    """A caller asks for a state that the registry has not reached."""

    reason = "SEQUENCE_IN_FUTURE"


class StorageFull(ResourceExhausted):
    """The disk or database has no room left."""

    reason = "STORAGE_FULL"


class Overloaded(ResourceExhausted):
    """The server handles as many calls of this kind as it can."""

    reason = "OVERLOADED"


class QueryTooExpensive(ResourceExhausted):
    """A query ran longer than its time budget."""

    reason = "QUERY_TOO_EXPENSIVE"


class RequestReadTimeout(DeadlineExceeded):
    """A call was opened and its request did not arrive in time."""

    reason = "REQUEST_READ_TIMEOUT"


class CallTimeout(DeadlineExceeded):
    """A call reached its deadline or the server's limit for it."""

    reason = "CALL_TIMEOUT"


class UploadIdle(DeadlineExceeded):
    """No chunk arrived for the stated time; the upload can be resumed."""

    reason = "UPLOAD_IDLE"


class AnswerNotTaken(DeadlineExceeded):
    """The client took no message of a stream for the stated time."""

    reason = "ANSWER_NOT_TAKEN"


class DatabaseBusy(Unavailable):
    """The database did not take the transaction in time; nothing was written."""

    reason = "DATABASE_BUSY"


class OutcomeUnknown(Unavailable):
    """A commit failed; it may or may not be durable. Retry with the same request id."""

    reason = "OUTCOME_UNKNOWN"


class StorageUnavailable(Unavailable):
    """The storage of blobs cannot be used now."""

    reason = "STORAGE_UNAVAILABLE"


class Draining(Unavailable):
    """The server is shutting down."""

    reason = "DRAINING"


class BlobCorrupt(DataLoss):
    """Stored bytes no longer match their digest; they are not served."""

    reason = "BLOB_CORRUPT"


class BlobLost(DataLoss):
    """The bytes of a recorded blob are gone from storage."""

    reason = "BLOB_LOST"
