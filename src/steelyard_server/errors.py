"""Everything the registry refuses or fails at; ``error_branches.py`` has the branches, by gRPC status code.

The name of a leaf is its `reason`, which stands in ``error_reason.proto`` with its cause, its metadata
keys and advice: InvalidName is INVALID_NAME there. The message is for people: it says what is wrong
and what to do. Metadata is for programs: short strings, under 4 KiB together. Nothing here knows
gRPC; ``api/errors.py`` maps each branch to a status code.
"""

from __future__ import annotations

from steelyard_server.error_branches import (
    Aborted,
    AlreadyExists,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    RegistryError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

# The leaves stand below; these are here for who catches a whole branch.
__all__ = [
    "Aborted", "AlreadyExists", "DataLoss", "DeadlineExceeded", "FailedPrecondition",
    "InvalidArgument", "NotFound", "OutOfRange", "PermissionDenied", "RegistryError",
    "ResourceExhausted", "Unauthenticated", "Unavailable",
]  # fmt: skip


class MalformedMessage(InvalidArgument):
    """The bytes of a message do not parse as the expected protobuf message."""


class MissingMessage(InvalidArgument):
    """A unary call ended without sending its request."""


class TooManyMessages(InvalidArgument):
    """A unary call sent more than one request."""


class FieldRequired(InvalidArgument):
    """A required field is empty."""


class InvalidName(InvalidArgument):
    """A name does not match the pattern of its kind."""


class TooLong(InvalidArgument):
    """A text is longer than its limit."""


class ReservedName(InvalidArgument):
    """A name is kept for the server's own use."""


class InvalidResourceName(InvalidArgument):
    """A `namespace/model` text has the wrong form."""


class ResourceMismatch(InvalidArgument):
    """Two fields of a request name resources that do not belong together."""


class OutOfBounds(InvalidArgument):
    """A number lies outside its stated bounds."""


class RequestIdInvalid(InvalidArgument):
    """A request id is not a UUID."""


class RequestIdReused(InvalidArgument):
    """A request id was used before with another request."""


class EtagInvalid(InvalidArgument):
    """An etag is not one that this server gave out."""


class FieldMaskInvalid(InvalidArgument):
    """An update mask names an unknown or output-only field."""


class ImmutableField(InvalidArgument):
    """An update mask names a field that never changes."""


class EnumInvalid(InvalidArgument):
    """An enum value is unspecified or unknown."""


class OneofRequired(InvalidArgument):
    """No member of a required oneof is set."""


class TimestampInvalid(InvalidArgument):
    """A timestamp lies outside the years 0001 to 9999, has bad nanoseconds, or lies in the future."""


class LimitExceeded(InvalidArgument):
    """A collection or its sum is larger than its limit."""


class DuplicateKey(InvalidArgument):
    """Two entries have the same key."""


class ControlCharacters(InvalidArgument):
    """A text holds control characters."""


class InvalidText(InvalidArgument):
    """A text is not what its field takes, for example not NFC or not a JSON object."""


class SemanticVersionInvalid(InvalidArgument):
    """A semantic version does not follow semver.org 2.0.0."""


class PageSizeInvalid(InvalidArgument):
    """A page size is negative."""


class PageTokenInvalid(InvalidArgument):
    """A page token is forged, cut, or belongs to another query."""


class OrderByInvalid(InvalidArgument):
    """An order does not parse, or names what a list cannot be ordered by."""


class FilterInvalid(InvalidArgument):
    """A filter does not parse, names an unknown field, or compares what cannot be compared."""


class MetricAmbiguous(InvalidArgument):
    """A metric that names no dataset was measured on several."""


class PolicyInvalid(InvalidArgument):
    """A check of a policy does not compile; metadata has the column, counted from 1."""


class UploadHeaderRequired(InvalidArgument):
    """Bytes came on a stream before the header that says what they are."""


class UploadHeaderDuplicate(InvalidArgument):
    """A second header came before the blob of the first was finished."""


class ChunkTooLarge(InvalidArgument):
    """One message carries more bytes of a blob than a chunk may have."""


class EmptyArtifact(InvalidArgument):
    """A version has no file."""


class DigestInvalid(InvalidArgument):
    """A digest is not `sha256:` and 64 lower-case hexadecimal digits."""


class DigestMismatch(InvalidArgument):
    """The received bytes, or the content of a version, have another digest than the one declared."""


class SizeMismatch(InvalidArgument):
    """The received bytes have another size than the one declared."""


class InvalidFilePath(InvalidArgument):
    """A file path is absolute, leaves its directory, repeats, or is not NFC."""


class NamespaceNotFound(NotFound):
    """No namespace has this name."""


class ModelNotFound(NotFound):
    """No model has this name."""


class VersionNotFound(NotFound):
    """The model has no such version."""


class AliasNotFound(NotFound):
    """The model has no such alias."""


class FileNotFound(NotFound):
    """The version has no file at this path."""


class ModelDeleted(NotFound):
    """The model is deleted; it can be undeleted."""


class VersionDeleted(NotFound):
    """The version is deleted; it can be undeleted."""


class EvaluationNotFound(NotFound):
    """The version has no such evaluation."""


class TokenNotFound(NotFound):
    """There is no token of this uid that the caller may see."""


class GrantNotFound(NotFound):
    """A subject does not have a role on a scope itself."""


class GroupNotFound(NotFound):
    """There is no group of this name."""


class GroupAlreadyExists(AlreadyExists):
    """A group has the name."""


class NamespaceAlreadyExists(AlreadyExists):
    """A namespace of this name exists."""


class ModelAlreadyExists(AlreadyExists):
    """A model of this name exists, letter case aside."""


class SemanticVersionAlreadyExists(AlreadyExists):
    """Another version of the model has this semantic version."""


class NumberTaken(AlreadyExists):
    """An import asks for a number that is not above every number ever used in the model."""


class EvaluationAlreadyExists(AlreadyExists):
    """The version has the evaluation of this origin, with other measures."""


class VersionAlreadyExists(AlreadyExists):
    """The same content is a version already, with other set-once fields than those asked for."""


class IdempotencyKeyReused(AlreadyExists):
    """The idempotency key belongs to a version with other content, or to one that was purged."""


class BackupAlreadyExists(AlreadyExists):
    """There is something of the name of a new backup."""


class BlobMissing(FailedPrecondition):
    """A version names a blob that its namespace does not hold."""


class ContentDeleted(FailedPrecondition):
    """The model has the content in a deleted version."""


class NameDeleted(FailedPrecondition):
    """A name belongs to a deleted model."""


class VersionInUse(FailedPrecondition):
    """Something points to a version that is to be deleted."""


class ModelInUse(FailedPrecondition):
    """Something points into a model that is to be deleted."""


class NotDeleted(FailedPrecondition):
    """What is to be undeleted or purged is not deleted."""


class UploadIncomplete(FailedPrecondition):
    """A blob was finished before all of its bytes came; those that came are kept."""


class NamespaceNotEmpty(FailedPrecondition):
    """A namespace still has models."""


class NameRetired(FailedPrecondition):
    """A name belonged to a model that was renamed or purged; it is not reusable."""


class NoRollbackTarget(FailedPrecondition):
    """An alias never pointed anywhere before, or to nothing that is left."""


class FileIsExternal(FailedPrecondition):
    """The bytes of a file stay at an external address; the server does not have them."""


class MaintenanceRunning(FailedPrecondition):
    """A run of maintenance goes on with other options."""


class BackupNotConfigured(FailedPrecondition):
    """The server has no directory for backups."""


class HistoryReplaced(FailedPrecondition):
    """The registry was restored since a cursor was given out."""


class StageUnknown(InvalidArgument):
    """The namespace has no such stage."""


class StageInUse(FailedPrecondition):
    """A stage that goes out of the list of a namespace is needed."""


class PolicyNotFound(NotFound):
    """The namespace has no policy of this name."""


class PromotionNotFound(NotFound):
    """The scope has no promotion of this number."""


class CheckNotFound(NotFound):
    """A promotion waits for no check of this name."""


class PolicyRequiresPromotion(FailedPrecondition):
    """A policy protects the target."""


class VersionRevoked(FailedPrecondition):
    """A version must not be used any more."""


class PromotionClosed(FailedPrecondition):
    """A promotion is not open any more."""


class ReviewerNotIndependent(FailedPrecondition):
    """Who approves proposed, made or measured what they approve."""


class ReviewerNotPerson(FailedPrecondition):
    """Who decides is a service, or did not log in."""


class ReviewerNotAsked(FailedPrecondition):
    """No policy asks for an approval of theirs."""


class RoleNotForOneself(FailedPrecondition):
    """Somebody gives a role that decides on promotions to themselves."""


class ReviewGiven(FailedPrecondition):
    """A person approves twice."""


class ReviewNotGiven(FailedPrecondition):
    """There is no approval to withdraw."""


class CheckReported(FailedPrecondition):
    """A check was reported before."""


class AuthenticationRequired(FailedPrecondition):
    """Approvals are demanded where nobody has to log in."""


class AlreadyAtTarget(FailedPrecondition):
    """The version is where it is to go."""


class PromotionOpen(FailedPrecondition):
    """The same is proposed already."""


class EtagMismatch(Aborted):
    """The resource changed since it was read."""


class AliasChanged(Aborted):
    """The alias moved since it was read, or exists although it must not."""


class UploadSuperseded(Aborted):
    """A newer stream took this upload over."""


class Conflict(Aborted):
    """Concurrent changes kept colliding."""


class OffsetOutOfRange(OutOfRange):
    """A range starts behind the end of a file."""


class SequenceInFuture(OutOfRange):
    """A caller asks for a state that the registry has not reached."""


class StorageFull(ResourceExhausted):
    """The disk or database has no room left."""


class Overloaded(ResourceExhausted):
    """The server handles as many calls of this kind as it can."""


class QuotaExceeded(ResourceExhausted):
    """A namespace would have more versions, or hold more bytes, than its quota allows."""


class QueryTooExpensive(ResourceExhausted):
    """A query ran longer than its time budget, or its answer is larger than a message may be."""


class TokenRequired(Unauthenticated):
    """The server wants a login and the call has none."""


class TokenMalformed(Unauthenticated):
    """What a call came with cannot be one token: it was cut or altered, or is another thing."""


class TokenUnknown(Unauthenticated):
    """The registry knows no such token; identifier or secret is wrong."""


class TokenExpired(Unauthenticated):
    """The time of a token is over."""


class TokenRevoked(Unauthenticated):
    """A token was revoked."""


class PermissionMissing(PermissionDenied):
    """The caller has no role that allows this in the scope."""


class RequestReadTimeout(DeadlineExceeded):
    """A call was opened and its request did not arrive in time."""


class DeadlineTooShort(DeadlineExceeded):
    """A mutation came with less time than any takes; nothing was written."""


class CallTimeout(DeadlineExceeded):
    """A call reached its deadline or the server's limit for it."""


class UploadIdle(DeadlineExceeded):
    """No chunk arrived for the stated time; the upload can be resumed."""


class AnswerNotTaken(DeadlineExceeded):
    """The client took no message of a stream for the stated time."""


class DatabaseBusy(Unavailable):
    """The database did not take the transaction in time; nothing was written."""


class OutcomeUnknown(Unavailable):
    """A commit failed; it may or may not be durable. Retry with the same request id."""


class StorageUnavailable(Unavailable):
    """The storage of blobs cannot be used now."""


class Draining(Unavailable):
    """The server is shutting down."""


class BlobCorrupt(DataLoss):
    """Stored bytes no longer match their digest; they are not served."""


class BlobLost(DataLoss):
    """The bytes of a recorded blob are gone from storage."""
