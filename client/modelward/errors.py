"""Every error that Modelward raises: the server raises these classes, and the client raises the same ones again.

ModelwardError
├── InvalidArgument
│   ├── InvalidField            each field and its fix in `violations`
│   ├── MessageTooLarge
│   └── RequestIdReused
├── NotFound
│   ├── ModelNotFound
│   ├── VersionNotFound
│   ├── NothingResolved
│   ├── FileNotInArtifact
│   ├── ReferenceNotFound
│   ├── ReportNotFound
│   ├── ScheduleNotFound
│   ├── JobNotFound
│   ├── ComparisonNotFound
│   └── AbTestNotFound
├── AlreadyExists
│   ├── ModelExists
│   ├── ScheduleExists
│   └── AbTestExists
├── FailedPrecondition
│   ├── IllegalTransition
│   ├── BlobsMissing
│   ├── SourceNotAllowed
│   ├── FormatNotExecutable
│   ├── ModelFailed
│   ├── NotDue
│   ├── JobNotHeld
│   ├── JobHasVersion
│   ├── JobNotRetryable
│   ├── ModelHalted
│   ├── GatesFailed
│   ├── NoPredecessor
│   ├── AbTestConcluded
│   ├── AbTestUndecided
│   ├── CalendarEnds
│   ├── StoreReadOnly
│   └── SchemaMismatch
├── Aborted
│   ├── EtagMismatch
│   ├── JobAlreadyLeased
│   └── ConcurrentChange
├── DataLoss
│   ├── DigestMismatch
│   └── StoreDamaged
├── ResourceExhausted
│   └── LimitReached
├── Unavailable
│   └── StoreUnavailable
├── OutOfRange
│   └── ResumeTokenExpired
├── Unimplemented
│   └── NotServed
├── Unauthenticated
│   └── NotAuthenticated
├── PermissionDenied
│   ├── RoleTooLow
│   └── ModelNotAllowed
├── DeadlineExceeded
└── UnexpectedError             a status or an answer that Modelward does not send by itself
"""

from dataclasses import dataclass
from typing import ClassVar

import grpc

from modelward.lifecycle import GateResult
from modelward.v1 import errors_pb2

DOMAIN = "modelward"
"""The `domain` of every `google.rpc.ErrorInfo` that Modelward sends."""


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request and what would make it right."""

    field: str
    """Path of the field in the request, as `columns[2].doubles`."""
    description: str
    """What is wrong and how to mend it."""

    def __str__(self) -> str:
        return f"{self.field}: {self.description}"


class ModelwardError(Exception):
    """The root of the hierarchy.

    Attributes:
        message: a sentence for people.
        metadata: facts for programs; the keys stand beside each reason in `errors.proto`.
        status: the gRPC status that carries it.
        reason: its stable name, empty for an error that no Modelward server described.
    """

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    reason: ClassVar[str] = ""
    by_reason: ClassVar[dict[str, type["ModelwardError"]]] = {}

    def __init__(self, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items()}

    def __init_subclass__(cls, reason: str = "") -> None:
        if reason:
            errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")  # A reason that the contract lacks fails here.
            cls.reason = reason
            cls.by_reason[reason] = cls


class UntrustedTypesWarning(UserWarning):
    """A model was registered that loads only where the types in it are named as trusted."""


class InvalidArgument(ModelwardError):
    """The request itself is wrong; the same call will always fail."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class InvalidField(InvalidArgument, reason="INVALID_FIELD"):
    """Fields of the request are wrong; `violations` names each and its fix."""

    def __init__(self, *violations: FieldViolation, message: str = "", **metadata: object) -> None:
        super().__init__(message or "; ".join(map(str, violations)), **metadata)
        self.violations = violations


class MessageTooLarge(InvalidArgument, reason="MESSAGE_TOO_LARGE"):
    """One message is over the server's limit; send the data as a stream or by URI."""


class RequestIdReused(InvalidArgument, reason="REQUEST_ID_REUSED"):
    """The request id came before with another request; make a new one for each logical call."""


class NotFound(ModelwardError):
    """What the request names does not exist."""

    status = grpc.StatusCode.NOT_FOUND


class ModelNotFound(NotFound, reason="MODEL_NOT_FOUND"):
    """No model has that name."""


class VersionNotFound(NotFound, reason="VERSION_NOT_FOUND"):
    """The model has no version of that number."""


class NothingResolved(NotFound, reason="NOTHING_RESOLVED"):
    """No version holds the stage or alias asked for."""


class FileNotInArtifact(NotFound, reason="FILE_NOT_FOUND"):
    """The version's artifact has no file of that path."""


class ReferenceNotFound(NotFound, reason="REFERENCE_NOT_FOUND"):
    """The version has no reference data; set it with `set_reference`."""


class ReportNotFound(NotFound, reason="REPORT_NOT_FOUND"):
    """No drift report has that id."""


class ScheduleNotFound(NotFound, reason="SCHEDULE_NOT_FOUND"):
    """No schedule has that id."""


class JobNotFound(NotFound, reason="JOB_NOT_FOUND"):
    """No retraining job has that id."""


class ComparisonNotFound(NotFound, reason="COMPARISON_NOT_FOUND"):
    """No comparison has that id."""


class AbTestNotFound(NotFound, reason="AB_TEST_NOT_FOUND"):
    """No A/B test has that name."""


class AlreadyExists(ModelwardError):
    """What the request would create is there already."""

    status = grpc.StatusCode.ALREADY_EXISTS


class ModelExists(AlreadyExists, reason="MODEL_EXISTS"):
    """A model of that name exists."""


class ScheduleExists(AlreadyExists, reason="SCHEDULE_EXISTS"):
    """A schedule of that id exists."""


class AbTestExists(AlreadyExists, reason="AB_TEST_EXISTS"):
    """An A/B test of that name exists."""


class FailedPrecondition(ModelwardError):
    """The request is well formed, but the state of things forbids it."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class IllegalTransition(FailedPrecondition, reason="ILLEGAL_TRANSITION"):
    """The stage machine forbids the move; `metadata["legal"]` says which stages are open."""


class ArtifactDeleted(FailedPrecondition, reason="ARTIFACT_DELETED"):
    """The version's files were deleted; its record and digests are there."""


class BlobsMissing(FailedPrecondition, reason="BLOBS_MISSING"):
    """The manifest names content that was not uploaded."""


class SourceNotAllowed(FailedPrecondition, reason="SOURCE_NOT_ALLOWED"):
    """The server may not read from that URI; the operator allows places with `MODELWARD_ALLOWED_SOURCES`."""


class FormatNotExecutable(FailedPrecondition, reason="FORMAT_NOT_EXECUTABLE"):
    """The model's format is stored but not run here."""


class ModelFailed(FailedPrecondition, reason="MODEL_FAILED"):
    """The model did not load, raised, or broke its limits of time or memory."""


class NotDue(FailedPrecondition, reason="NOT_DUE"):
    """The model is not due for retraining."""


class JobNotHeld(FailedPrecondition, reason="JOB_NOT_HELD"):
    """The job has ended, or the lease ran out and another may hold it."""


class JobHasVersion(FailedPrecondition, reason="JOB_HAS_VERSION"):
    """A version was registered for the job before; `metadata` names it."""


class JobNotRetryable(FailedPrecondition, reason="JOB_NOT_RETRYABLE"):
    """The job did not fail for good, or its model has a newer job."""


class ModelHalted(FailedPrecondition, reason="MODEL_HALTED"):
    """The model is halted; nobody may trade on it until it is resumed."""


class GatesFailed(FailedPrecondition, reason="GATES_FAILED"):
    """The promotion policy refuses the move; `gates` has every gate that failed, with its evidence."""

    def __init__(self, *gates: GateResult, message: str = "", **metadata: object) -> None:
        failed = "; ".join(f"{gate.gate}: {gate.evidence}" for gate in gates)
        super().__init__(message or f"the promotion policy refuses it: {failed}", **metadata)
        self.gates = gates


class NoPredecessor(FailedPrecondition, reason="NO_PREDECESSOR"):
    """Nothing was in production before."""


class AbTestConcluded(FailedPrecondition, reason="AB_TEST_CONCLUDED"):
    """The A/B test has ended; `metadata["winner"]` is the variant that was chosen."""


class AbTestUndecided(FailedPrecondition, reason="AB_TEST_UNDECIDED"):
    """The rule decides nothing about the A/B test yet; it goes on."""


class CalendarEnds(FailedPrecondition, reason="CALENDAR_ENDS"):
    """The exchange's calendar does not reach that far; `metadata` names it and its first and last session."""


class StoreReadOnly(FailedPrecondition, reason="STORE_READ_ONLY"):
    """A store behind the server takes no changes, as a standby or a file without the right to write."""


class SchemaMismatch(FailedPrecondition, reason="SCHEMA_MISMATCH"):
    """The ledger's tables are not those of this server's version."""


class Aborted(ModelwardError):
    """Somebody else was faster; read again and decide anew."""

    status = grpc.StatusCode.ABORTED


class EtagMismatch(Aborted, reason="ETAG_MISMATCH"):
    """The resource changed since its etag was read; `metadata["current_etag"]` is the one that holds."""


class JobAlreadyLeased(Aborted, reason="JOB_ALREADY_LEASED"):
    """Another worker holds the job."""


class ConcurrentChange(Aborted, reason="CONCURRENT_CHANGE"):
    """Two writers met; a retry with the same request id is safe."""


class DataLoss(ModelwardError):
    """Bytes are not what they should be."""

    status = grpc.StatusCode.DATA_LOSS


class DigestMismatch(DataLoss, reason="DIGEST_MISMATCH"):
    """Content does not have its SHA-256; `metadata["actual"]` is empty when it is lost."""


class StoreDamaged(DataLoss, reason="STORE_DAMAGED"):
    """A store behind the server is damaged; its operator must restore a backup."""


class ResourceExhausted(ModelwardError):
    """A limit was reached."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class LimitReached(ResourceExhausted, reason="LIMIT_REACHED"):
    """A limit of the server was reached; `metadata["limit"]` names it.

    Attributes:
        retry_seconds: after how long another attempt may help, where the server knows; clients wait for so long.
    """

    def __init__(self, message: str, retry_seconds: float | None = None, **metadata: object) -> None:
        super().__init__(message, **metadata)
        self.retry_seconds = retry_seconds


class Unavailable(ModelwardError):
    """The server, or a store behind it, does not answer; a retry may."""

    status = grpc.StatusCode.UNAVAILABLE


class StoreUnavailable(Unavailable, reason="STORE_UNAVAILABLE"):
    """A store behind the server does not answer."""


class OutOfRange(ModelwardError):
    """The position asked for lies outside what exists."""

    status = grpc.StatusCode.OUT_OF_RANGE


class ResumeTokenExpired(OutOfRange, reason="RESUME_TOKEN_EXPIRED"):
    """The resume token is older than what the server keeps."""


class Unimplemented(ModelwardError):
    """The server does not serve the call."""

    status = grpc.StatusCode.UNIMPLEMENTED


class NotServed(Unimplemented, reason="NOT_SERVED"):
    """The contract has the call; this server does not serve it yet."""


class Unauthenticated(ModelwardError):
    """Who calls is not known."""

    status = grpc.StatusCode.UNAUTHENTICATED


class NotAuthenticated(Unauthenticated, reason="NOT_AUTHENTICATED"):
    """The call has no credential, or one that is not good."""


class PermissionDenied(ModelwardError):
    """Who calls is known, and may not do this."""

    status = grpc.StatusCode.PERMISSION_DENIED


class RoleTooLow(PermissionDenied, reason="ROLE_TOO_LOW"):
    """The call is for another role."""


class ModelNotAllowed(PermissionDenied, reason="MODEL_NOT_ALLOWED"):
    """The caller may reach some models only, and this is none of them."""


class DeadlineExceeded(ModelwardError):
    """The call took longer than its timeout; whether it took effect is unknown, so retry with the same request id."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


class UnexpectedError(ModelwardError):
    """A status or an answer that Modelward does not send by itself: a proxy's, or a defect of the server."""
