"""The permission required by each call: the minimum role, and how it applies to clients restricted to some models."""

from enum import Enum
from typing import NamedTuple

from modelward.caller import Role


class Reach(Enum):
    """The models that a call can reach, for clients that are restricted to some."""

    NAMED = "the models that its request names; it must name some"
    LISTED = "those that its request names, or else everything: a restricted client sees its own part"
    WHOLE = "the whole registry: a restricted client is refused, unless its request names a model"
    NONE = "no model"


class Permission(NamedTuple):
    role: Role | None
    """The minimum role; None: no client may make the call."""
    reach: Reach = Reach.NAMED


VIEWER, TRAINER, OPERATOR, ADMIN = map(Permission, Role)
LISTED = Permission(Role.VIEWER, Reach.LISTED)
NO_MODEL = Permission(Role.VIEWER, Reach.NONE)

PERMISSIONS = {
    "LifecycleService": {
        "CreateModel": TRAINER,
        "GetModel": VIEWER,
        "ListModels": LISTED,
        "UpdateModel": TRAINER,
        "UploadBlobs": Permission(Role.TRAINER, Reach.NONE),
        "DownloadArtifact": VIEWER,
        "RegisterModelVersion": TRAINER,
        "GetModelVersion": VIEWER,
        "ListModelVersions": LISTED,
        "UpdateModelVersion": TRAINER,
        "LogMetrics": TRAINER,
        "TransitionModelVersion": OPERATOR,
        "RollbackModel": OPERATOR,
        "HaltModel": OPERATOR,
        "HaltModels": Permission(Role.OPERATOR, Reach.LISTED),
        "ResumeModel": OPERATOR,
        "DeleteArtifact": OPERATOR,
        "ResolveModel": VIEWER,
        "WatchModels": LISTED,
        "ReportActiveVersion": VIEWER,
        "GetRollout": VIEWER,
        "ListRollouts": LISTED,
        "ListEnginePeriods": VIEWER,
        "ListTransitions": LISTED,
        "ListProductionVersions": LISTED,
        "GetOverview": LISTED,
        "VerifyAuditLog": Permission(Role.VIEWER, Reach.WHOLE),
        "ExportAuditLog": Permission(Role.VIEWER, Reach.WHOLE),
        "ReconcileMlflow": Permission(Role.ADMIN, Reach.WHOLE),
        "ImportMlflow": Permission(Role.ADMIN, Reach.WHOLE),
        "GetPromotionPolicy": VIEWER,
        "SetPromotionPolicy": ADMIN,
        "GetCaller": Permission(Role.VIEWER, Reach.NONE),
        "GetSystem": Permission(Role.OPERATOR, Reach.WHOLE),
    },
    "DriftService": {
        "SetReference": TRAINER,
        "GetReference": VIEWER,
        "DetectDrift": TRAINER,
        "DetectDriftStream": TRAINER,
        "Observe": TRAINER,
        "RecordOutcomes": TRAINER,
        "ListPerformance": VIEWER,
        "GetDriftPolicy": VIEWER,
        "SetDriftPolicy": ADMIN,
        "GetDriftReport": VIEWER,
        "ListDriftReports": LISTED,
        "RenderDriftReport": VIEWER,
    },
    "ComparisonService": {
        "CompareModels": TRAINER,
        "GetComparison": VIEWER,
        "ListComparisons": LISTED,
        "RenderComparison": VIEWER,
        "BenchmarkModels": TRAINER,
        "CreateAbTest": OPERATOR,
        "GetAbTest": VIEWER,
        "ListAbTests": LISTED,
        "AssignVariant": VIEWER,
        "RecordAbOutcomes": TRAINER,
        "GetAbTestResult": VIEWER,
        "ConcludeAbTest": OPERATOR,
        "RenderAbTest": VIEWER,
    },
    "RetrainingService": {
        "CreateSchedule": OPERATOR,
        "GetSchedule": VIEWER,
        "ListSchedules": LISTED,
        "UpdateSchedule": OPERATOR,
        "DeleteSchedule": OPERATOR,
        "PauseSchedule": OPERATOR,
        "ResumeSchedule": OPERATOR,
        "PreviewSchedule": Permission(Role.VIEWER, Reach.LISTED),
        "ListFirings": LISTED,
        "ListDueModels": LISTED,
        "RequestRetraining": TRAINER,
        "LeaseJob": Permission(Role.TRAINER, Reach.LISTED),
        "LeaseJobs": Permission(Role.TRAINER, Reach.LISTED),
        "HeartbeatJob": TRAINER,
        "CompleteJob": TRAINER,
        "FailJob": TRAINER,
        "RetryJob": TRAINER,
        "GetJob": VIEWER,
        "ListJobs": LISTED,
        "GetRetrainingPolicy": VIEWER,
        "SetRetrainingPolicy": ADMIN,
    },
    "ScoringService": {
        "Score": VIEWER,
        "ScoreStream": VIEWER,
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
    "ModelReady": VIEWER,
    "ModelMetadata": VIEWER,
    "ModelInfer": VIEWER,
}
"""Every call of the Open Inference Protocol."""
ELSEWHERE = {
    "grpc.reflection.v1alpha.ServerReflection": Permission(Role.VIEWER, Reach.NONE),  # The contract, which is public.
    "grpc.channelz.v1.Channelz": Permission(Role.ADMIN, Reach.WHOLE),  # Addresses and calls of all clients.
}
"""Services beside the contract. Health requires no permission, since probes of servers have no token."""
UNKNOWN = Permission(None, Reach.WHOLE)


def permission_of(method: str) -> Permission:
    """Return the permission for a call, named as on the wire: `/modelward.v1.DriftService/DetectDrift`.

    A call without an entry is refused to all clients.
    """
    service, _, name = method.removeprefix("/").rpartition("/")
    if service in ELSEWHERE:
        return ELSEWHERE[service]
    if service == INFERENCE_SERVICE:
        return INFERENCE.get(name, UNKNOWN)
    ours = PERMISSIONS.get(service.removeprefix(PACKAGE), {}) if service.startswith(PACKAGE) else {}
    return ours.get(name, UNKNOWN)
