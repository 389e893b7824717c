"""The permission required by each call, and how it applies to clients restricted to some models."""

from enum import Enum
from typing import NamedTuple

from modelward.caller import Permission, Role


class Reach(Enum):
    """The models that a call can reach, for clients that are restricted to some."""

    NAMED = "the models that its request names; it must name some"
    LISTED = "those that its request names, or else everything: a restricted client sees its own part"
    WHOLE = "the whole registry: a restricted client is refused, unless its request names a model"
    NONE = "no model"


class Rule(NamedTuple):
    permission: Permission | None
    """What the client's role must permit; None: no client may make the call."""
    reach: Reach = Reach.NAMED

    @property
    def least_roles(self) -> list[Role]:
        """The roles that permit it, without those that include another of them."""
        roles = [role for role in Role if self.permission in role.permissions]
        return [role for role in roles if not any(other is not role and role.covers(other) for other in roles)]


READ, ASSESS, SUBMIT, OPERATE, REVIEW, DRILL, ADMINISTER = map(Rule, Permission)
LISTED = Rule(Permission.READ, Reach.LISTED)
NO_MODEL = Rule(Permission.READ, Reach.NONE)

RULES = {
    "LifecycleService": {
        "CreateModel": SUBMIT,
        "GetModel": READ,
        "ListModels": LISTED,
        "UpdateModel": SUBMIT,
        "UploadBlobs": Rule(Permission.ASSESS, Reach.NONE),
        "DownloadArtifact": READ,
        "RegisterModelVersion": SUBMIT,
        "GetModelVersion": READ,
        "ListModelVersions": LISTED,
        "UpdateModelVersion": SUBMIT,
        "LogMetrics": SUBMIT,
        "TransitionModelVersion": OPERATE,
        "RollbackModel": OPERATE,
        "HaltModel": OPERATE,
        "HaltModels": Rule(Permission.OPERATE, Reach.LISTED),
        "ResumeModel": OPERATE,
        "DeleteArtifact": OPERATE,
        "ResolveModel": READ,
        "WatchModels": LISTED,
        "ReportActiveVersion": READ,
        "GetRollout": READ,
        "ListRollouts": LISTED,
        "ListEnginePeriods": READ,
        "ListTransitions": LISTED,
        "ListProductionVersions": LISTED,
        "GetOverview": LISTED,
        "VerifyAuditLog": Rule(Permission.READ, Reach.WHOLE),
        "ExportAuditLog": Rule(Permission.READ, Reach.WHOLE),
        "ReconcileMlflow": Rule(Permission.ADMINISTER, Reach.WHOLE),
        "ImportMlflow": Rule(Permission.ADMINISTER, Reach.WHOLE),
        "GetPromotionPolicy": READ,
        "SetPromotionPolicy": ADMINISTER,
        "GetCaller": Rule(Permission.READ, Reach.NONE),
        "GetSystem": Rule(Permission.OPERATE, Reach.WHOLE),
    },
    "DriftService": {
        "SetReference": SUBMIT,
        "GetReference": READ,
        "DetectDrift": ASSESS,
        "DetectDriftStream": ASSESS,
        "Observe": SUBMIT,
        "RecordOutcomes": SUBMIT,
        "ListPerformance": READ,
        "GetDriftPolicy": READ,
        "SetDriftPolicy": ADMINISTER,
        "GetDriftReport": READ,
        "ListDriftReports": LISTED,
        "RenderDriftReport": READ,
    },
    "ComparisonService": {
        "CompareModels": ASSESS,
        "GetComparison": READ,
        "ListComparisons": LISTED,
        "RenderComparison": READ,
        "BenchmarkModels": ASSESS,
        "CreateAbTest": OPERATE,
        "GetAbTest": READ,
        "ListAbTests": LISTED,
        "AssignVariant": READ,
        "RecordAbOutcomes": SUBMIT,
        "GetAbTestResult": READ,
        "ConcludeAbTest": OPERATE,
        "RenderAbTest": READ,
    },
    "RetrainingService": {
        "CreateSchedule": OPERATE,
        "GetSchedule": READ,
        "ListSchedules": LISTED,
        "UpdateSchedule": OPERATE,
        "DeleteSchedule": OPERATE,
        "PauseSchedule": OPERATE,
        "ResumeSchedule": OPERATE,
        "PreviewSchedule": Rule(Permission.READ, Reach.LISTED),
        "ListFirings": LISTED,
        "ListDueModels": LISTED,
        "RequestRetraining": SUBMIT,
        "LeaseJob": Rule(Permission.SUBMIT, Reach.LISTED),
        "LeaseJobs": Rule(Permission.SUBMIT, Reach.LISTED),
        "HeartbeatJob": SUBMIT,
        "CompleteJob": SUBMIT,
        "FailJob": SUBMIT,
        "RetryJob": SUBMIT,
        "GetJob": READ,
        "ListJobs": LISTED,
        "GetRetrainingPolicy": READ,
        "SetRetrainingPolicy": ADMINISTER,
    },
    "GovernanceService": {
        "RequestApproval": SUBMIT,
        "DecideApproval": READ,  # The caller's functions decide, whatever its role.
        "WithdrawApproval": SUBMIT,
        "GetApproval": READ,
        "ListApprovals": LISTED,
        "OpenFinding": REVIEW,
        "UpdateFinding": READ,  # Its owner or a reviewer.
        "CloseFinding": REVIEW,
        "GetFinding": READ,
        "ListFindings": LISTED,
        "RecordReview": REVIEW,
        "ListReviews": LISTED,
        "ListDueReviews": LISTED,
        "StartDrill": Rule(Permission.DRILL, Reach.LISTED),
        "AnswerDrill": READ,  # As an engine's reports.
        "GetDrill": READ,
        "ListDrills": LISTED,
        "GetLogHead": NO_MODEL,  # A hash, which shows nothing of the records.
        "ExportEvidence": Rule(Permission.READ, Reach.WHOLE),
    },
    "ScoringService": {
        "Score": READ,
        "ScoreStream": READ,
        "ListScores": LISTED,
    },
}
"""Every call of the contract."""

PACKAGE = "modelward.v1."
INFERENCE_SERVICE = "inference.GRPCInferenceService"
INFERENCE = {
    "ServerLive": NO_MODEL,
    "ServerReady": NO_MODEL,
    "ServerMetadata": NO_MODEL,
    "ModelReady": READ,
    "ModelMetadata": READ,
    "ModelInfer": READ,
}
"""Every call of the Open Inference Protocol."""
ELSEWHERE = {
    "grpc.reflection.v1alpha.ServerReflection": Rule(Permission.READ, Reach.NONE),  # The contract, which is public.
    "grpc.channelz.v1.Channelz": Rule(Permission.ADMINISTER, Reach.WHOLE),  # Addresses and calls of all clients.
}
"""Services beside the contract. Health requires no permission, since probes of servers have no token."""
UNKNOWN = Rule(None, Reach.WHOLE)


def rule_of(method: str) -> Rule:
    """Return the rule for a call, named as on the wire: `/modelward.v1.DriftService/DetectDrift`.

    A call without an entry is refused to all clients.
    """
    service, _, name = method.removeprefix("/").rpartition("/")
    if service in ELSEWHERE:
        return ELSEWHERE[service]
    if service == INFERENCE_SERVICE:
        return INFERENCE.get(name, UNKNOWN)
    ours = RULES.get(service.removeprefix(PACKAGE), {}) if service.startswith(PACKAGE) else {}
    return ours.get(name, UNKNOWN)
