"""Modelward: a model registry for trading.

`Client` and `AsyncClient` do everything; what they return are frozen dataclasses, what they raise stands in
`modelward.errors`.
"""

from modelward._async.client import AsyncClient
from modelward._sync.client import Client
from modelward.errors import ModelwardError
from modelward.lifecycle import (
    ArtifactFile,
    GateResult,
    Halt,
    MetricRange,
    Model,
    ModelFormat,
    ModelVersion,
    Resolved,
    Stage,
    Transition,
    TransitionResult,
    VersionRef,
)

__all__ = [
    "ArtifactFile",
    "AsyncClient",
    "Client",
    "GateResult",
    "Halt",
    "MetricRange",
    "Model",
    "ModelFormat",
    "ModelVersion",
    "ModelwardError",
    "Resolved",
    "Stage",
    "Transition",
    "TransitionResult",
    "VersionRef",
]
