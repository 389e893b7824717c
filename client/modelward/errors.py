"""Exceptions of Modelward: the server raises these classes, and the client raises the same ones again.

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
│   ├── AbTestNotFound
│   ├── ApprovalNotFound
│   ├── FindingNotFound
│   └── DrillNotFound
├── AlreadyExists
│   ├── ModelExists
│   ├── ScheduleExists
│   ├── AbTestExists
│   ├── ApprovalExists
│   └── VersionExists
├── FailedPrecondition
│   ├── IllegalTransition
│   ├── ApprovalClosed
│   ├── ApprovalNotNeeded
│   ├── FindingClosed
│   ├── DrillEnded
│   ├── EngineNotDrilled
│   ├── BlobsMissing
│   ├── NoTrustedKey
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
│   ├── NotApprover
│   ├── NotIndependent
│   └── ModelNotAllowed
├── DeadlineExceeded
└── UnexpectedError             a status or an answer that Modelward itself does not send
"""

from dataclasses import dataclass
from typing import ClassVar

import grpc

from modelward._record import Record
from modelward.lifecycle import GateResult
from modelward.v1 import errors_pb2

DOMAIN = "modelward"
"""The `domain` of every `google.rpc.ErrorInfo` that Modelward sends."""


@dataclass(frozen=True, repr=False)
class FieldViolation(Record):
    """One field of a request and how to fix it."""

    field: str
    """The argument of the called method, or the path of the field in the request, such as `columns[2].doubles`."""
    description: str
    """What is wrong and how to fix it."""

    def __str__(self) -> str:
        return f"{self.field}: {self.description}"


class ModelwardError(Exception):
    """The root of the exception hierarchy; most exceptions are constructed as this one.

    Args:
        message: a sentence for people.
        metadata: details for programs, which become text.

    Attributes:
        message: a sentence for people.
        metadata: details for programs; `errors.proto` documents the keys of each reason.
        status: the gRPC status of the error.
        reason: its stable identifier, empty for an error that no Modelward server described.
    """

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    reason: ClassVar[str] = ""
    by_reason: ClassVar[dict[str, type["ModelwardError"]]] = {}

    def __init__(self, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = {key: str(value) for key, value in metadata.items()}

    def __init_subclass__(cls, reason: str = "") -> None:
        if reason:
            errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")  # Fails here for a reason that the contract lacks.
            cls.reason = reason
            cls.by_reason[reason] = cls


class UntrustedTypesWarning(UserWarning):
    """A registered model can only be loaded when the types in it are named as trusted."""


class InvalidArgument(ModelwardError):
    """The request itself is wrong; the same call will always fail."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class InvalidField(InvalidArgument, reason="INVALID_FIELD"):
    """Fields of the request are wrong.

    Args:
        violations: each field and its fix.
        message: a sentence for people; made of the violations by default.
        metadata: details for programs, which become text.

    Attributes:
        violations: each field and its fix.
    """

    def __init__(self, *violations: FieldViolation, message: str = "", **metadata: object) -> None:
        super().__init__(message or "; ".join(map(str, violations)), **metadata)
        self.violations = violations


class MessageTooLarge(InvalidArgument, reason="MESSAGE_TOO_LARGE"):
    """One message exceeds the server's limit; send the data as a stream or by URI."""


class RequestIdReused(InvalidArgument, reason="REQUEST_ID_REUSED"):
    """The request id was already used with another request; create a new id for each logical call."""


class NotFound(ModelwardError):
    """A resource that the request names does not exist."""

    status = grpc.StatusCode.NOT_FOUND


class ModelNotFound(NotFound, reason="MODEL_NOT_FOUND"):
    """There is no model with this name."""


class VersionNotFound(NotFound, reason="VERSION_NOT_FOUND"):
    """The model has no version with this number."""


class NothingResolved(NotFound, reason="NOTHING_RESOLVED"):
    """No version holds the requested stage or alias."""


class FileNotInArtifact(NotFound, reason="FILE_NOT_FOUND"):
    """The version's artifact has no file with this path."""


class ReferenceNotFound(NotFound, reason="REFERENCE_NOT_FOUND"):
    """The version has no reference data; set it with `set_reference`."""


class ReportNotFound(NotFound, reason="REPORT_NOT_FOUND"):
    """There is no drift report with this id."""


class ScheduleNotFound(NotFound, reason="SCHEDULE_NOT_FOUND"):
    """There is no schedule with this id."""


class JobNotFound(NotFound, reason="JOB_NOT_FOUND"):
    """There is no retraining job with this id."""


class ComparisonNotFound(NotFound, reason="COMPARISON_NOT_FOUND"):
    """There is no comparison with this id."""


class AbTestNotFound(NotFound, reason="AB_TEST_NOT_FOUND"):
    """There is no A/B test with this name."""


class ApprovalNotFound(NotFound, reason="APPROVAL_NOT_FOUND"):
    """There is no request of approval with this id."""


class FindingNotFound(NotFound, reason="FINDING_NOT_FOUND"):
    """There is no finding with this id."""


class DrillNotFound(NotFound, reason="DRILL_NOT_FOUND"):
    """There is no drill with this id."""


class AlreadyExists(ModelwardError):
    """The resource that the request would create already exists."""

    status = grpc.StatusCode.ALREADY_EXISTS


class ModelExists(AlreadyExists, reason="MODEL_EXISTS"):
    """A model with this name already exists."""


class ScheduleExists(AlreadyExists, reason="SCHEDULE_EXISTS"):
    """A schedule with this id already exists."""


class AbTestExists(AlreadyExists, reason="AB_TEST_EXISTS"):
    """An A/B test with this name already exists."""


class ApprovalExists(AlreadyExists, reason="APPROVAL_EXISTS"):
    """Another request of approval for the same transition is open; `metadata["approval_id"]` names it."""


class VersionExists(AlreadyExists, reason="VERSION_EXISTS"):
    """The model has the version that would be imported; `metadata["version"]` is its number here."""


class FailedPrecondition(ModelwardError):
    """The request is valid, but the current state does not allow it."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class IllegalTransition(FailedPrecondition, reason="ILLEGAL_TRANSITION"):
    """The stage machine does not allow the transition; `metadata["legal"]` lists the allowed stages."""


class ArtifactDeleted(FailedPrecondition, reason="ARTIFACT_DELETED"):
    """The version's files were deleted; its record and digests remain."""


class ApprovalClosed(FailedPrecondition, reason="APPROVAL_CLOSED"):
    """The request of approval can no longer be decided; `metadata["state"]` says why."""


class ApprovalNotNeeded(FailedPrecondition, reason="APPROVAL_NOT_NEEDED"):
    """The promotion policy lists no function that has to approve the transition."""


class FindingClosed(FailedPrecondition, reason="FINDING_CLOSED"):
    """The finding was closed, and can no longer be changed."""


class DrillEnded(FailedPrecondition, reason="DRILL_ENDED"):
    """The drill ended before the answer was received, which therefore does not count."""


class EngineNotDrilled(FailedPrecondition, reason="ENGINE_NOT_DRILLED"):
    """The engine was not running when the drill started, so that it does not count."""


class ExtraMissing(FailedPrecondition, reason="EXTRA_MISSING"):
    """The call needs an optional part of the server that is not installed; `metadata["extra"]` names it."""


class NoTrustedKey(FailedPrecondition, reason="NO_TRUSTED_KEY"):
    """The server trusts no key of evidence packs, so it imports none; `metadata["setting"]` names the setting."""


class BlobsMissing(FailedPrecondition, reason="BLOBS_MISSING"):
    """The manifest names content that was not uploaded."""


class SourceNotAllowed(FailedPrecondition, reason="SOURCE_NOT_ALLOWED"):
    """The server may not read from this URI; the operator allows locations with `MODELWARD_ALLOWED_SOURCES`."""


class FormatNotExecutable(FailedPrecondition, reason="FORMAT_NOT_EXECUTABLE"):
    """The model's format is stored but not run here."""


class ModelFailed(FailedPrecondition, reason="MODEL_FAILED"):
    """The model did not load, raised an exception, or exceeded its time or memory limit."""


class NotDue(FailedPrecondition, reason="NOT_DUE"):
    """The model is not due for retraining."""


class JobNotHeld(FailedPrecondition, reason="JOB_NOT_HELD"):
    """The job has ended, or the lease has expired and another worker may hold it."""


class JobHasVersion(FailedPrecondition, reason="JOB_HAS_VERSION"):
    """A version was already registered for the job; `metadata` names it."""


class JobNotRetryable(FailedPrecondition, reason="JOB_NOT_RETRYABLE"):
    """The job has not failed permanently, or its model has a newer job."""


class ModelHalted(FailedPrecondition, reason="MODEL_HALTED"):
    """The model is halted and must not be used until it is resumed."""


class GatesFailed(FailedPrecondition, reason="GATES_FAILED"):
    """The promotion policy rejects the transition.

    Args:
        gates: every gate that failed, with its evidence.
        message: a sentence for people; made of the gates by default.
        metadata: details for programs, which become text.

    Attributes:
        gates: every gate that failed, with its evidence.
    """

    def __init__(self, *gates: GateResult, message: str = "", **metadata: object) -> None:
        failed = "; ".join(f"{gate.gate}: {gate.evidence}" for gate in gates)
        super().__init__(message or f"the promotion policy rejects it: {failed}", **metadata)
        self.gates = gates


class NoPredecessor(FailedPrecondition, reason="NO_PREDECESSOR"):
    """There is no earlier production version."""


class AbTestConcluded(FailedPrecondition, reason="AB_TEST_CONCLUDED"):
    """The A/B test has ended; `metadata["winner"]` is the chosen variant."""


class AbTestUndecided(FailedPrecondition, reason="AB_TEST_UNDECIDED"):
    """The rule does not decide the A/B test yet; it continues."""


class CalendarEnds(FailedPrecondition, reason="CALENDAR_ENDS"):
    """The exchange calendar does not reach that far; `metadata` names it and its first and last session."""


class NothingToReplay(FailedPrecondition, reason="NOTHING_TO_REPLAY"):
    """The server keeps no rows of live monitoring, or none of that time that have labels; `metadata` counts them."""


class StoreReadOnly(FailedPrecondition, reason="STORE_READ_ONLY"):
    """A store behind the server accepts no writes, such as a standby or a file without write permission."""


class SchemaMismatch(FailedPrecondition, reason="SCHEMA_MISMATCH"):
    """The ledger's schema is not that of this server's version."""


class Aborted(ModelwardError):
    """A concurrent change came first; read again and decide again."""

    status = grpc.StatusCode.ABORTED


class EtagMismatch(Aborted, reason="ETAG_MISMATCH"):
    """The resource changed since its etag was read; `metadata["current_etag"]` is the current one."""


class JobAlreadyLeased(Aborted, reason="JOB_ALREADY_LEASED"):
    """Another worker holds the job."""


class ConcurrentChange(Aborted, reason="CONCURRENT_CHANGE"):
    """Two writers conflicted; a retry with the same request id is safe."""


class DataLoss(ModelwardError):
    """Data are corrupted or lost."""

    status = grpc.StatusCode.DATA_LOSS


class DigestMismatch(DataLoss, reason="DIGEST_MISMATCH"):
    """Content does not match its SHA-256; `metadata["actual"]` is empty when it is lost."""


class StoreDamaged(DataLoss, reason="STORE_DAMAGED"):
    """A store behind the server is damaged; its operator must restore a backup."""


class ResourceExhausted(ModelwardError):
    """A limit was reached."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class LimitReached(ResourceExhausted, reason="LIMIT_REACHED"):
    """A limit of the server was reached; `metadata["limit"]` names it.

    Args:
        message: a sentence for people.
        retry_seconds: the time after which another attempt may succeed; None when it is not known.
        metadata: details for programs, which become text.

    Attributes:
        retry_seconds: the time after which another attempt may succeed, where the server knows it; clients wait so
            long.
    """

    def __init__(self, message: str, retry_seconds: float | None = None, **metadata: object) -> None:
        super().__init__(message, **metadata)
        self.retry_seconds = retry_seconds


class Unavailable(ModelwardError):
    """The server, or a store behind it, does not respond; a retry may succeed."""

    status = grpc.StatusCode.UNAVAILABLE


class StoreUnavailable(Unavailable, reason="STORE_UNAVAILABLE"):
    """A store behind the server does not respond."""


class OutOfRange(ModelwardError):
    """The requested position is outside the existing range."""

    status = grpc.StatusCode.OUT_OF_RANGE


class ResumeTokenExpired(OutOfRange, reason="RESUME_TOKEN_EXPIRED"):
    """The resume token is older than the oldest event that the server keeps."""


class Unimplemented(ModelwardError):
    """The server does not provide the call."""

    status = grpc.StatusCode.UNIMPLEMENTED


class NotServed(Unimplemented, reason="NOT_SERVED"):
    """The contract contains the call, but this server does not provide it yet."""


class Unauthenticated(ModelwardError):
    """The caller is not authenticated."""

    status = grpc.StatusCode.UNAUTHENTICATED


class NotAuthenticated(Unauthenticated, reason="NOT_AUTHENTICATED"):
    """The call has no credential, or an invalid one."""


class PermissionDenied(ModelwardError):
    """The caller is authenticated, but not permitted to do this."""

    status = grpc.StatusCode.PERMISSION_DENIED


class RoleTooLow(PermissionDenied, reason="ROLE_TOO_LOW"):
    """The call requires another role."""


class NotApprover(PermissionDenied, reason="NOT_APPROVER"):
    """The caller may not decide this request of approval, or not withdraw it."""


class NotIndependent(PermissionDenied, reason="NOT_INDEPENDENT"):
    """The caller is not independent of what it would close or review."""


class ModelNotAllowed(PermissionDenied, reason="MODEL_NOT_ALLOWED"):
    """The caller may access some models only, and this is not one of them."""


class DeadlineExceeded(ModelwardError):
    """The call took longer than its timeout; whether it took effect is unknown, so retry with the same request id."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


class UnexpectedError(ModelwardError):
    """A status or an answer that Modelward itself does not send: from a proxy, or due to a defect of the server."""
