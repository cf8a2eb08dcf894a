"""One exception class for each reason of the server; `make gen` writes them from the proto."""

from __future__ import annotations

from steelyard import errors


class InternalError(errors.Internal):
    """The server has a bug or met something unexpected."""

    reason = "INTERNAL"


class MalformedMessage(errors.InvalidArgument):
    """The bytes of a message do not parse: garbage, cut, bad UTF-8 or nested too deep."""

    reason = "MALFORMED_MESSAGE"


class MissingMessage(errors.InvalidArgument):
    """A unary call ended without a request."""

    reason = "MISSING_MESSAGE"


class TooManyMessages(errors.InvalidArgument):
    """A unary call sent more than one request."""

    reason = "TOO_MANY_MESSAGES"


class RequestReadTimeout(errors.DeadlineExceeded):
    """A call was opened and its request did not arrive within Limits.request_read_seconds."""

    reason = "REQUEST_READ_TIMEOUT"


class DeadlineTooShort(errors.DeadlineExceeded):
    """A mutation came with less time than Limits.mutation_milliseconds. Nothing was written."""

    reason = "DEADLINE_TOO_SHORT"


class CallTimeout(errors.DeadlineExceeded):
    """The call reached its deadline, or Limits.unary_seconds."""

    reason = "CALL_TIMEOUT"


class FieldRequired(errors.InvalidArgument):
    """A required field is empty."""

    reason = "FIELD_REQUIRED"


class InvalidName(errors.InvalidArgument):
    """A name does not match the pattern of its kind."""

    reason = "INVALID_NAME"


class TooLong(errors.InvalidArgument):
    """A text is longer than its limit."""

    reason = "TOO_LONG"


class ReservedName(errors.InvalidArgument):
    """The name means something else: `latest`."""

    reason = "RESERVED_NAME"


class InvalidResourceName(errors.InvalidArgument):
    """A text is not `namespace/model`."""

    reason = "INVALID_RESOURCE_NAME"


class ResourceMismatch(errors.InvalidArgument):
    """Two fields of the request name resources that do not belong together."""

    reason = "RESOURCE_MISMATCH"


class OutOfBounds(errors.InvalidArgument):
    """A number lies outside its bounds."""

    reason = "OUT_OF_BOUNDS"


class RequestIdInvalid(errors.InvalidArgument):
    """The request id is not a UUID."""

    reason = "REQUEST_ID_INVALID"


class RequestIdReused(errors.InvalidArgument):
    """The request id was used with another request in the last 24 hours."""

    reason = "REQUEST_ID_REUSED"


class EtagInvalid(errors.InvalidArgument):
    """The etag is not one that a server gave out."""

    reason = "ETAG_INVALID"


class FieldMaskInvalid(errors.InvalidArgument):
    """The update mask names a field that does not exist or is output only."""

    reason = "FIELD_MASK_INVALID"


class ImmutableField(errors.InvalidArgument):
    """The update mask names a field that never changes."""

    reason = "IMMUTABLE_FIELD"


class EnumInvalid(errors.InvalidArgument):
    """An enum value is unspecified or unknown to this server."""

    reason = "ENUM_INVALID"


class OneofRequired(errors.InvalidArgument):
    """No member of a required choice is set."""

    reason = "ONEOF_REQUIRED"


class TimestampInvalid(errors.InvalidArgument):
    """A timestamp lies outside the years 0001 to 9999."""

    reason = "TIMESTAMP_INVALID"


class LimitExceeded(errors.InvalidArgument):
    """There are too many entries, or they are too large together."""

    reason = "LIMIT_EXCEEDED"


class DuplicateKey(errors.InvalidArgument):
    """Two entries have the same key."""

    reason = "DUPLICATE_KEY"


class ControlCharacters(errors.InvalidArgument):
    """A text holds control characters."""

    reason = "CONTROL_CHARACTERS"


class InvalidText(errors.InvalidArgument):
    """A text is not of the form that its field takes, for example not NFC."""

    reason = "INVALID_TEXT"


class SemanticVersionInvalid(errors.InvalidArgument):
    """A semantic version does not follow semver.org 2.0.0."""

    reason = "SEMANTIC_VERSION_INVALID"


class PageSizeInvalid(errors.InvalidArgument):
    """A page size is negative."""

    reason = "PAGE_SIZE_INVALID"


class PageTokenInvalid(errors.InvalidArgument):
    """A page token is forged, cut, or belongs to another query."""

    reason = "PAGE_TOKEN_INVALID"


class OrderByInvalid(errors.InvalidArgument):
    """The order does not parse, or names what the list cannot be ordered by."""

    reason = "ORDER_BY_INVALID"


class FilterInvalid(errors.InvalidArgument):
    """The filter does not parse, names an unknown field, or compares what cannot be compared."""

    reason = "FILTER_INVALID"


class MetricAmbiguous(errors.InvalidArgument):
    """A metric without a dataset was measured on several, and never without one."""

    reason = "METRIC_AMBIGUOUS"


class UploadHeaderRequired(errors.InvalidArgument):
    """Data or a finish came before a header."""

    reason = "UPLOAD_HEADER_REQUIRED"


class UploadHeaderDuplicate(errors.InvalidArgument):
    """A header came before the blob before it was finished."""

    reason = "UPLOAD_HEADER_DUPLICATE"


class ChunkTooLarge(errors.InvalidArgument):
    """One message has more data than Limits.chunk_bytes."""

    reason = "CHUNK_TOO_LARGE"


class EmptyArtifact(errors.InvalidArgument):
    """A version has no file."""

    reason = "EMPTY_ARTIFACT"


class DigestInvalid(errors.InvalidArgument):
    """A digest is not `sha256:` and 64 hexadecimal digits in lower case."""

    reason = "DIGEST_INVALID"


class DigestMismatch(errors.InvalidArgument):
    """The received bytes have another digest than declared, and were deleted."""

    reason = "DIGEST_MISMATCH"


class SizeMismatch(errors.InvalidArgument):
    """The received bytes, or the held blob, have another size than declared."""

    reason = "SIZE_MISMATCH"


class InvalidFilePath(errors.InvalidArgument):
    """A file path is absolute."""

    reason = "INVALID_FILE_PATH"


class NamespaceNotFound(errors.NotFound):
    """No namespace has this name."""

    reason = "NAMESPACE_NOT_FOUND"


class ModelNotFound(errors.NotFound):
    """No model has this name."""

    reason = "MODEL_NOT_FOUND"


class VersionNotFound(errors.NotFound):
    """The model has no such version."""

    reason = "VERSION_NOT_FOUND"


class ModelDeleted(errors.NotFound):
    """The model is deleted. Its versions and aliases are not found either."""

    reason = "MODEL_DELETED"


class VersionDeleted(errors.NotFound):
    """The version is deleted."""

    reason = "VERSION_DELETED"


class AliasNotFound(errors.NotFound):
    """The model has no such alias."""

    reason = "ALIAS_NOT_FOUND"


class FileNotFound(errors.NotFound):
    """The version has no file at this path."""

    reason = "FILE_NOT_FOUND"


class EvaluationNotFound(errors.NotFound):
    """The version has no such evaluation."""

    reason = "EVALUATION_NOT_FOUND"


class NamespaceAlreadyExists(errors.AlreadyExists):
    """A namespace of this name exists."""

    reason = "NAMESPACE_ALREADY_EXISTS"


class ModelAlreadyExists(errors.AlreadyExists):
    """A model of this name exists, letter case aside."""

    reason = "MODEL_ALREADY_EXISTS"


class SemanticVersionAlreadyExists(errors.AlreadyExists):
    """Another version of the model has this semantic version."""

    reason = "SEMANTIC_VERSION_ALREADY_EXISTS"


class VersionAlreadyExists(errors.AlreadyExists):
    """The content is a version already."""

    reason = "VERSION_ALREADY_EXISTS"


class IdempotencyKeyReused(errors.AlreadyExists):
    """The idempotency key belongs to a version with other content."""

    reason = "IDEMPOTENCY_KEY_REUSED"


class NumberTaken(errors.AlreadyExists):
    """An import asks for a number that is not above every number ever used in the model."""

    reason = "NUMBER_TAKEN"


class EvaluationAlreadyExists(errors.AlreadyExists):
    """The version has an evaluation from this origin already, which measured something else."""

    reason = "EVALUATION_ALREADY_EXISTS"


class BlobMissing(errors.FailedPrecondition):
    """A version names blobs that its namespace does not hold."""

    reason = "BLOB_MISSING"


class ContentDeleted(errors.FailedPrecondition):
    """The model has this content already, in a deleted version."""

    reason = "CONTENT_DELETED"


class NameDeleted(errors.FailedPrecondition):
    """The name is one of a deleted model."""

    reason = "NAME_DELETED"


class VersionInUse(errors.FailedPrecondition):
    """The version cannot be deleted, for aliases point to it."""

    reason = "VERSION_IN_USE"


class ModelInUse(errors.FailedPrecondition):
    """The model cannot be deleted, for it has aliases."""

    reason = "MODEL_IN_USE"


class NotDeleted(errors.FailedPrecondition):
    """What is to be undeleted or purged is not deleted."""

    reason = "NOT_DELETED"


class UploadIncomplete(errors.FailedPrecondition):
    """A blob was finished before all of its bytes came. Those that came are kept."""

    reason = "UPLOAD_INCOMPLETE"


class NamespaceNotEmpty(errors.FailedPrecondition):
    """The namespace still has models, deleted ones included."""

    reason = "NAMESPACE_NOT_EMPTY"


class NameRetired(errors.FailedPrecondition):
    """The name belonged to a model that was renamed."""

    reason = "NAME_RETIRED"


class NoRollbackTarget(errors.FailedPrecondition):
    """The alias never pointed anywhere before, or only to versions that are deleted now."""

    reason = "NO_ROLLBACK_TARGET"


class FileIsExternal(errors.FailedPrecondition):
    """The file is an external reference; the registry does not have its bytes."""

    reason = "FILE_IS_EXTERNAL"


class HistoryReplaced(errors.FailedPrecondition):
    """The registry was restored since the cursor was given out."""

    reason = "HISTORY_REPLACED"


class EtagMismatch(errors.Aborted):
    """The resource changed since it was read."""

    reason = "ETAG_MISMATCH"


class AliasChanged(errors.Aborted):
    """The alias moved since it was read, or exists although it must not."""

    reason = "ALIAS_CHANGED"


class UploadSuperseded(errors.Aborted):
    """A newer stream of the same caller took this upload over."""

    reason = "UPLOAD_SUPERSEDED"


class Conflict(errors.Aborted):
    """Concurrent changes kept colliding in the database."""

    reason = "CONFLICT"


class OffsetOutOfRange(errors.OutOfRange):
    """A range starts behind the end of the file."""

    reason = "OFFSET_OUT_OF_RANGE"


class SequenceInFuture(errors.OutOfRange):
    """`minimum_sequence` is larger than the newest sequence."""

    reason = "SEQUENCE_IN_FUTURE"


class StorageFull(errors.ResourceExhausted):
    """The disk or the database has no room left. Nothing was lost."""

    reason = "STORAGE_FULL"


class Overloaded(errors.ResourceExhausted):
    """The server handles as many calls of this kind as it can."""

    reason = "OVERLOADED"


class QuotaExceeded(errors.ResourceExhausted):
    """A Namespace would have more Versions, or hold more bytes, than its quota allows."""

    reason = "QUOTA_EXCEEDED"


class QueryTooExpensive(errors.ResourceExhausted):
    """A query ran longer than its time budget."""

    reason = "QUERY_TOO_EXPENSIVE"


class UploadIdle(errors.DeadlineExceeded):
    """No message of an upload came for Limits.upload_idle_seconds."""

    reason = "UPLOAD_IDLE"


class AnswerNotTaken(errors.DeadlineExceeded):
    """Nobody took an answer of a stream for Limits.upload_idle_seconds."""

    reason = "ANSWER_NOT_TAKEN"


class DatabaseBusy(errors.Unavailable):
    """The database did not take the transaction in time. Nothing was written."""

    reason = "DATABASE_BUSY"


class OutcomeUnknown(errors.Unavailable):
    """A commit failed; the change may or may not be durable."""

    reason = "OUTCOME_UNKNOWN"


class StorageUnavailable(errors.Unavailable):
    """The storage of blobs or the database cannot be used now."""

    reason = "STORAGE_UNAVAILABLE"


class Draining(errors.Unavailable):
    """The server is shutting down."""

    reason = "DRAINING"


class BlobCorrupt(errors.DataLoss):
    """Stored bytes no longer match their digest; they are not served."""

    reason = "BLOB_CORRUPT"


class BlobLost(errors.DataLoss):
    """The bytes of a recorded blob are gone from storage."""

    reason = "BLOB_LOST"


class MaintenanceRunning(errors.FailedPrecondition):
    """A run of this kind goes on with other options."""

    reason = "MAINTENANCE_RUNNING"


class BackupNotConfigured(errors.FailedPrecondition):
    """The server was started without `--backup-dir`, or that directory does not exist."""

    reason = "BACKUP_NOT_CONFIGURED"


class BackupAlreadyExists(errors.AlreadyExists):
    """There is something of this name in the directory of backups."""

    reason = "BACKUP_ALREADY_EXISTS"


class TokenRequired(errors.Unauthenticated):
    """The server wants a login and the call has none."""

    reason = "TOKEN_REQUIRED"


class TokenMalformed(errors.Unauthenticated):
    """What stands in the metadata `authorization` cannot be a Token: it was cut or altered."""

    reason = "TOKEN_MALFORMED"


class TokenUnknown(errors.Unauthenticated):
    """The registry knows no such Token."""

    reason = "TOKEN_UNKNOWN"


class TokenExpired(errors.Unauthenticated):
    """The time of the Token is over."""

    reason = "TOKEN_EXPIRED"


class TokenRevoked(errors.Unauthenticated):
    """The Token was revoked."""

    reason = "TOKEN_REVOKED"


class PermissionMissing(errors.PermissionDenied):
    """The caller has no role that allows this in the scope."""

    reason = "PERMISSION_MISSING"


class TokenNotFound(errors.NotFound):
    """There is no Token of this uid that the caller may see."""

    reason = "TOKEN_NOT_FOUND"


class GrantNotFound(errors.NotFound):
    """The subject does not have the role on this scope itself."""

    reason = "GRANT_NOT_FOUND"


class GroupNotFound(errors.NotFound):
    """There is no Group of this name."""

    reason = "GROUP_NOT_FOUND"


class GroupAlreadyExists(errors.AlreadyExists):
    """A Group has the name."""

    reason = "GROUP_ALREADY_EXISTS"


class IssuerUnknown(errors.Unauthenticated):
    """The server takes no logins of this identity provider."""

    reason = "ISSUER_UNKNOWN"


class AlgorithmRefused(errors.Unauthenticated):
    """A login is not signed, or by an algorithm that is not taken from its issuer."""

    reason = "ALGORITHM_REFUSED"


class SigningKeyUnknown(errors.Unauthenticated):
    """The issuer has no key of the identifier that a login names."""

    reason = "SIGNING_KEY_UNKNOWN"


class SignatureInvalid(errors.Unauthenticated):
    """The signature of a login is not that of its issuer."""

    reason = "SIGNATURE_INVALID"


class AudienceMismatch(errors.Unauthenticated):
    """A login is for another audience."""

    reason = "AUDIENCE_MISMATCH"


class ClaimInvalid(errors.Unauthenticated):
    """A login lacks a claim."""

    reason = "CLAIM_INVALID"


class SigningKeysUnavailable(errors.Unavailable):
    """The keys of the issuer cannot be had now, so that no login of it can be checked."""

    reason = "SIGNING_KEYS_UNAVAILABLE"


class PolicyInvalid(errors.InvalidArgument):
    """A check of a policy does not parse."""

    reason = "POLICY_INVALID"


class StageUnknown(errors.InvalidArgument):
    """The Namespace has no such stage."""

    reason = "STAGE_UNKNOWN"


class PolicyNotFound(errors.NotFound):
    """The Namespace has no Policy of this name."""

    reason = "POLICY_NOT_FOUND"


class PromotionNotFound(errors.NotFound):
    """There is no Promotion of this number in the scope."""

    reason = "PROMOTION_NOT_FOUND"


class PolicyRequiresPromotion(errors.FailedPrecondition):
    """A Policy protects the target, so that only a Promotion moves it."""

    reason = "POLICY_REQUIRES_PROMOTION"


class PromotionClosed(errors.FailedPrecondition):
    """The Promotion is not open any more."""

    reason = "PROMOTION_CLOSED"


class ReviewerNotIndependent(errors.FailedPrecondition):
    """Who reviews proposed the Promotion, made the content of the Version, or measured it."""

    reason = "REVIEWER_NOT_INDEPENDENT"


class ReviewerNotPerson(errors.FailedPrecondition):
    """Only a person who logged in can approve or reject: no service, no stated name."""

    reason = "REVIEWER_NOT_PERSON"


class ReviewGiven(errors.FailedPrecondition):
    """The caller has approved the Promotion already, and that still counts."""

    reason = "REVIEW_GIVEN"


class ReviewNotGiven(errors.FailedPrecondition):
    """The caller has no approval that could be withdrawn."""

    reason = "REVIEW_NOT_GIVEN"


class ReviewerNotAsked(errors.FailedPrecondition):
    """No Policy of the Promotion asks for an approval of the caller."""

    reason = "REVIEWER_NOT_ASKED"


class AuthenticationRequired(errors.FailedPrecondition):
    """Approvals are demanded, and this server lets everybody in without a login."""

    reason = "AUTHENTICATION_REQUIRED"


class CheckNotFound(errors.NotFound):
    """The Promotion waits for no check from outside of this name."""

    reason = "CHECK_NOT_FOUND"


class CheckReported(errors.FailedPrecondition):
    """A check from outside was reported before."""

    reason = "CHECK_REPORTED"


class AlreadyAtTarget(errors.FailedPrecondition):
    """The Version is at the target already, or the Policy has this content."""

    reason = "ALREADY_AT_TARGET"


class PromotionOpen(errors.FailedPrecondition):
    """A Promotion of the same to the same target is open."""

    reason = "PROMOTION_OPEN"


class VersionRevoked(errors.FailedPrecondition):
    """The Version was revoked, so nothing is read of it, copied from it or pointed to it."""

    reason = "VERSION_REVOKED"


class EnvironmentNotFound(errors.NotFound):
    """There is no Environment of this name."""

    reason = "ENVIRONMENT_NOT_FOUND"


class RoleNotForOneself(errors.FailedPrecondition):
    """The caller would give a Role that decides on Promotions."""

    reason = "ROLE_NOT_FOR_ONESELF"


class StageInUse(errors.FailedPrecondition):
    """A stage that is to go out of the list of a Namespace is needed: a Policy protects it."""

    reason = "STAGE_IN_USE"


class EnvironmentAlreadyExists(errors.AlreadyExists):
    """An Environment of this name exists."""

    reason = "ENVIRONMENT_ALREADY_EXISTS"


BY_REASON: dict[str, type[errors.SteelyardError]] = {
    "INTERNAL": InternalError,
    "MALFORMED_MESSAGE": MalformedMessage,
    "MISSING_MESSAGE": MissingMessage,
    "TOO_MANY_MESSAGES": TooManyMessages,
    "REQUEST_READ_TIMEOUT": RequestReadTimeout,
    "DEADLINE_TOO_SHORT": DeadlineTooShort,
    "CALL_TIMEOUT": CallTimeout,
    "FIELD_REQUIRED": FieldRequired,
    "INVALID_NAME": InvalidName,
    "TOO_LONG": TooLong,
    "RESERVED_NAME": ReservedName,
    "INVALID_RESOURCE_NAME": InvalidResourceName,
    "RESOURCE_MISMATCH": ResourceMismatch,
    "OUT_OF_BOUNDS": OutOfBounds,
    "REQUEST_ID_INVALID": RequestIdInvalid,
    "REQUEST_ID_REUSED": RequestIdReused,
    "ETAG_INVALID": EtagInvalid,
    "FIELD_MASK_INVALID": FieldMaskInvalid,
    "IMMUTABLE_FIELD": ImmutableField,
    "ENUM_INVALID": EnumInvalid,
    "ONEOF_REQUIRED": OneofRequired,
    "TIMESTAMP_INVALID": TimestampInvalid,
    "LIMIT_EXCEEDED": LimitExceeded,
    "DUPLICATE_KEY": DuplicateKey,
    "CONTROL_CHARACTERS": ControlCharacters,
    "INVALID_TEXT": InvalidText,
    "SEMANTIC_VERSION_INVALID": SemanticVersionInvalid,
    "PAGE_SIZE_INVALID": PageSizeInvalid,
    "PAGE_TOKEN_INVALID": PageTokenInvalid,
    "ORDER_BY_INVALID": OrderByInvalid,
    "FILTER_INVALID": FilterInvalid,
    "METRIC_AMBIGUOUS": MetricAmbiguous,
    "UPLOAD_HEADER_REQUIRED": UploadHeaderRequired,
    "UPLOAD_HEADER_DUPLICATE": UploadHeaderDuplicate,
    "CHUNK_TOO_LARGE": ChunkTooLarge,
    "EMPTY_ARTIFACT": EmptyArtifact,
    "DIGEST_INVALID": DigestInvalid,
    "DIGEST_MISMATCH": DigestMismatch,
    "SIZE_MISMATCH": SizeMismatch,
    "INVALID_FILE_PATH": InvalidFilePath,
    "NAMESPACE_NOT_FOUND": NamespaceNotFound,
    "MODEL_NOT_FOUND": ModelNotFound,
    "VERSION_NOT_FOUND": VersionNotFound,
    "MODEL_DELETED": ModelDeleted,
    "VERSION_DELETED": VersionDeleted,
    "ALIAS_NOT_FOUND": AliasNotFound,
    "FILE_NOT_FOUND": FileNotFound,
    "EVALUATION_NOT_FOUND": EvaluationNotFound,
    "NAMESPACE_ALREADY_EXISTS": NamespaceAlreadyExists,
    "MODEL_ALREADY_EXISTS": ModelAlreadyExists,
    "SEMANTIC_VERSION_ALREADY_EXISTS": SemanticVersionAlreadyExists,
    "VERSION_ALREADY_EXISTS": VersionAlreadyExists,
    "IDEMPOTENCY_KEY_REUSED": IdempotencyKeyReused,
    "NUMBER_TAKEN": NumberTaken,
    "EVALUATION_ALREADY_EXISTS": EvaluationAlreadyExists,
    "BLOB_MISSING": BlobMissing,
    "CONTENT_DELETED": ContentDeleted,
    "NAME_DELETED": NameDeleted,
    "VERSION_IN_USE": VersionInUse,
    "MODEL_IN_USE": ModelInUse,
    "NOT_DELETED": NotDeleted,
    "UPLOAD_INCOMPLETE": UploadIncomplete,
    "NAMESPACE_NOT_EMPTY": NamespaceNotEmpty,
    "NAME_RETIRED": NameRetired,
    "NO_ROLLBACK_TARGET": NoRollbackTarget,
    "FILE_IS_EXTERNAL": FileIsExternal,
    "HISTORY_REPLACED": HistoryReplaced,
    "ETAG_MISMATCH": EtagMismatch,
    "ALIAS_CHANGED": AliasChanged,
    "UPLOAD_SUPERSEDED": UploadSuperseded,
    "CONFLICT": Conflict,
    "OFFSET_OUT_OF_RANGE": OffsetOutOfRange,
    "SEQUENCE_IN_FUTURE": SequenceInFuture,
    "STORAGE_FULL": StorageFull,
    "OVERLOADED": Overloaded,
    "QUOTA_EXCEEDED": QuotaExceeded,
    "QUERY_TOO_EXPENSIVE": QueryTooExpensive,
    "UPLOAD_IDLE": UploadIdle,
    "ANSWER_NOT_TAKEN": AnswerNotTaken,
    "DATABASE_BUSY": DatabaseBusy,
    "OUTCOME_UNKNOWN": OutcomeUnknown,
    "STORAGE_UNAVAILABLE": StorageUnavailable,
    "DRAINING": Draining,
    "BLOB_CORRUPT": BlobCorrupt,
    "BLOB_LOST": BlobLost,
    "MAINTENANCE_RUNNING": MaintenanceRunning,
    "BACKUP_NOT_CONFIGURED": BackupNotConfigured,
    "BACKUP_ALREADY_EXISTS": BackupAlreadyExists,
    "TOKEN_REQUIRED": TokenRequired,
    "TOKEN_MALFORMED": TokenMalformed,
    "TOKEN_UNKNOWN": TokenUnknown,
    "TOKEN_EXPIRED": TokenExpired,
    "TOKEN_REVOKED": TokenRevoked,
    "PERMISSION_MISSING": PermissionMissing,
    "TOKEN_NOT_FOUND": TokenNotFound,
    "GRANT_NOT_FOUND": GrantNotFound,
    "GROUP_NOT_FOUND": GroupNotFound,
    "GROUP_ALREADY_EXISTS": GroupAlreadyExists,
    "ISSUER_UNKNOWN": IssuerUnknown,
    "ALGORITHM_REFUSED": AlgorithmRefused,
    "SIGNING_KEY_UNKNOWN": SigningKeyUnknown,
    "SIGNATURE_INVALID": SignatureInvalid,
    "AUDIENCE_MISMATCH": AudienceMismatch,
    "CLAIM_INVALID": ClaimInvalid,
    "SIGNING_KEYS_UNAVAILABLE": SigningKeysUnavailable,
    "POLICY_INVALID": PolicyInvalid,
    "STAGE_UNKNOWN": StageUnknown,
    "POLICY_NOT_FOUND": PolicyNotFound,
    "PROMOTION_NOT_FOUND": PromotionNotFound,
    "POLICY_REQUIRES_PROMOTION": PolicyRequiresPromotion,
    "PROMOTION_CLOSED": PromotionClosed,
    "REVIEWER_NOT_INDEPENDENT": ReviewerNotIndependent,
    "REVIEWER_NOT_PERSON": ReviewerNotPerson,
    "REVIEW_GIVEN": ReviewGiven,
    "REVIEW_NOT_GIVEN": ReviewNotGiven,
    "REVIEWER_NOT_ASKED": ReviewerNotAsked,
    "AUTHENTICATION_REQUIRED": AuthenticationRequired,
    "CHECK_NOT_FOUND": CheckNotFound,
    "CHECK_REPORTED": CheckReported,
    "ALREADY_AT_TARGET": AlreadyAtTarget,
    "PROMOTION_OPEN": PromotionOpen,
    "VERSION_REVOKED": VersionRevoked,
    "ENVIRONMENT_NOT_FOUND": EnvironmentNotFound,
    "ROLE_NOT_FOR_ONESELF": RoleNotForOneself,
    "STAGE_IN_USE": StageInUse,
    "ENVIRONMENT_ALREADY_EXISTS": EnvironmentAlreadyExists,
}
