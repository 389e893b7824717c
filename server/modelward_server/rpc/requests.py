"""Conversion of the registry's requests into values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from google.protobuf.message import Message

from modelward.backtest import Overfitting
from modelward.errors import FieldViolation, InvalidField
from modelward.inventory import Environment, Lineage, SourceCode
from modelward.lifecycle import ArtifactFile, Stage, TrainingWindow
from modelward.shared.convert.backtest import fold_from_proto
from modelward.shared.convert.common import file_from_proto, stage_from_proto, time_from_proto
from modelward.shared.convert.inventory import lineage_from_proto
from modelward.shared.convert.lifecycle import format_from_proto, metric_range_from_proto, training_from_proto
from modelward.shared.convert.signature import signature_from_proto
from modelward.v1 import common_pb2
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.drift.row_order import parse_time, time_text
from modelward_server.lifecycle.queries import ModelFilter, VersionFilter
from modelward_server.lifecycle.resolve import Selector
from modelward_server.lifecycle.versions import NewVersion


def optional_time(request: Message, field: str) -> datetime | None:
    """Return a timestamp that a request may omit."""
    return time_from_proto(getattr(request, field)) if request.HasField(field) else None


def stages_of(values: Iterable[common_pb2.Stage.ValueType]) -> list[Stage]:
    return [stage for value in values if (stage := stage_from_proto(value)) is not None]


def selector(request: pb.ResolveModelRequest) -> Selector:
    """Return the selector of a request: production by default."""
    chosen = request.WhichOneof("selector")
    if chosen == "version":
        return request.version
    if chosen == "alias":
        return request.alias
    return stage_from_proto(request.stage) or Stage.PRODUCTION


def new_version(
    request: pb.RegisterModelVersionRequest, copied: Sequence[ArtifactFile] | None, overfitting: Overfitting | None
) -> NewVersion:
    """Return the version to register.

    Args:
        request: its registration.
        copied: files copied from a URI instead of a manifest.
        overfitting: what its trials say.
    """
    return NewVersion(
        model=request.model,
        files=[file_from_proto(file) for file in request.manifest.files] if copied is None else copied,
        format=format_from_proto(request.format, request.format_name),
        framework=request.framework,
        description=request.description,
        tags=dict(request.tags),
        params=dict(request.params),
        metrics=dict(request.metrics),
        signature=signature_from_proto(request.signature) if request.HasField("signature") else None,
        overfitting=overfitting,
        folds=tuple(map(fold_from_proto, request.folds)),
        training_window=training_window_of(request),
        lineage=lineage_of(request),
        job_id=request.job_id,
    )


def lineage_of(request: pb.RegisterModelVersionRequest) -> Lineage:
    """Return the lineage that was given, with what the client found by itself where that has nothing."""
    given, found = lineage_from_proto(request.lineage), lineage_from_proto(request.collected_lineage)
    return replace(
        given,
        code=given.code if given.code != SourceCode() else found.code,
        data=given.data or found.data,
        environment=given.environment if given.environment != Environment() else found.environment,
    )


def training_window_of(request: pb.RegisterModelVersionRequest) -> TrainingWindow | None:
    """Return the times of the training data, as they are shown.

    Raises:
        InvalidField: one is not a time, the last is before the first, or a horizon is given with integers.
    """
    if not request.HasField("training_window"):
        return None
    window = training_from_proto(request.training_window)
    first, last = (parse_time(getattr(window, end), f"training_window.{end}") for end in ("first", "last"))
    if isinstance(first, int) != isinstance(last, int) or first > last:
        raise InvalidField(FieldViolation("training_window.last", "must not be before first, and be of the same kind"))
    if window.horizon and isinstance(last, int):
        fix = "is a duration, but the times are integers; add it to last instead"
        raise InvalidField(FieldViolation("training_window.horizon", fix))
    return replace(window, first=time_text(first), last=time_text(last))


def model_filter(request: pb.ListModelsRequest) -> ModelFilter:
    return ModelFilter(
        name_prefix=request.name_prefix,
        stages=tuple(stages_of(request.stages)),
        tags=dict(request.tags),
        owner=request.owner,
        tier=request.tier,
        desk=request.desk,
    )


def version_filter(request: pb.ListModelVersionsRequest) -> VersionFilter:
    return VersionFilter(
        model=request.model,
        name_prefix=request.name_prefix,
        stages=tuple(stages_of(request.stages)),
        tags=dict(request.tags),
        metrics=tuple(map(metric_range_from_proto, request.metrics)),
        created_after=optional_time(request, "created_after"),
        created_before=optional_time(request, "created_before"),
    )
