"""Modelward: a model registry for trading.

`Client` and `AsyncClient` do everything; what they return are frozen dataclasses, what they raise stands in
`modelward.errors`.
"""

from modelward._async.client import AsyncClient
from modelward._sync.client import Client
from modelward.errors import ModelwardError
from modelward.lifecycle import (
    ArtifactFile,
    AuditRecord,
    AuditVerification,
    FreezeWindow,
    GateResult,
    Halt,
    MetricMargin,
    MetricRange,
    Model,
    ModelFormat,
    ModelVersion,
    PromotionPolicy,
    Resolved,
    RollbackResult,
    Stage,
    Transition,
    TransitionResult,
    VersionRef,
)

__all__ = [
    "ArtifactFile",
    "AsyncClient",
    "AuditRecord",
    "AuditVerification",
    "Client",
    "FreezeWindow",
    "GateResult",
    "Halt",
    "MetricMargin",
    "MetricRange",
    "Model",
    "ModelFormat",
    "ModelVersion",
    "ModelwardError",
    "PromotionPolicy",
    "Resolved",
    "RollbackResult",
    "Stage",
    "Transition",
    "TransitionResult",
    "VersionRef",
]
