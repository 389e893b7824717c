"""Convert models, versions and transitions between dataclasses and messages."""

from __future__ import annotations

from collections.abc import Mapping

from modelward.inventory import Inventory, Lineage
from modelward.lifecycle import (
    ArtifactDeletion,
    GateResult,
    Halt,
    HaltResult,
    MetricRange,
    Model,
    ModelFormat,
    ModelSignature,
    ModelVersion,
    Origin,
    RollbackResult,
    Stage,
    TrainingWindow,
    Transition,
    TransitionResult,
    Trial,
    TrialResult,
)
from modelward.shared.convert.backtest import (
    fold_from_proto,
    fold_to_proto,
    overfitting_from_proto,
    overfitting_to_proto,
)
from modelward.shared.convert.common import (
    file_from_proto,
    file_to_proto,
    ref_from_proto,
    ref_to_proto,
    span_from_proto,
    span_to_proto,
    stage_from_proto,
    stage_to_proto,
    time_from_proto,
    time_to_proto,
)
from modelward.shared.convert.inventory import (
    inventory_from_proto,
    inventory_to_proto,
    lineage_from_proto,
    lineage_to_proto,
)
from modelward.shared.convert.signature import signature_from_proto, signature_to_proto
from modelward.v1 import lifecycle_pb2 as pb

TRIAL_RESULTS: Mapping[TrialResult, pb.TrialResult.ValueType] = {
    known: pb.TrialResult.Value(f"TRIAL_RESULT_{known.name}") for known in TrialResult
}
FORMATS: Mapping[str, pb.ModelFormat.ValueType] = {
    known: pb.ModelFormat.Value(f"MODEL_FORMAT_{known.name}") for known in ModelFormat
}


def format_to_proto(value: str | None) -> pb.ModelFormat.ValueType:
    """Convert a format's name; that of another package's format is OTHER."""
    return pb.MODEL_FORMAT_UNSPECIFIED if not value else FORMATS.get(value, pb.MODEL_FORMAT_OTHER)


def format_from_proto(value: pb.ModelFormat.ValueType, name: str = "") -> ModelFormat | str | None:
    """Convert a format; return None for unspecified.

    Args:
        value: the format; OTHER for one of another package, and an unknown number for one that only newer servers list.
        name: the format's name; older servers and clients leave it empty.
    """
    listed = next((format_ for format_, known in FORMATS.items() if known == value), None)
    return ModelFormat.named(name) if name and listed in {None, ModelFormat.OTHER} else listed


def halt_to_proto(halt: Halt) -> pb.Halt:
    return pb.Halt(actor=halt.actor, reason=halt.reason, halted_at=time_to_proto(halt.halted_at))


def halt_from_proto(message: pb.Halt) -> Halt:
    return Halt(message.actor, message.reason, time_from_proto(message.halted_at))


def model_to_proto(model: Model) -> pb.Model:
    return pb.Model(
        name=model.name,
        description=model.description,
        tags=model.tags,
        created_at=time_to_proto(model.created_at),
        updated_at=time_to_proto(model.updated_at),
        latest_version=model.latest_version,
        production_version=model.production_version,
        halt=halt_to_proto(model.halt) if model.halt else None,
        etag=model.etag,
        inventory=inventory_to_proto(model.inventory) if model.inventory != Inventory() else None,
    )


def model_from_proto(message: pb.Model) -> Model:
    return Model(
        name=message.name,
        description=message.description,
        tags=dict(sorted(message.tags.items())),
        created_at=time_from_proto(message.created_at),
        updated_at=time_from_proto(message.updated_at),
        latest_version=message.latest_version,
        production_version=message.production_version,
        halt=halt_from_proto(message.halt) if message.HasField("halt") else None,
        etag=message.etag,
        inventory=inventory_from_proto(message.inventory),
    )


def training_to_proto(window: TrainingWindow) -> pb.TrainingWindow:
    horizon = span_to_proto(window.horizon) if window.horizon else None
    return pb.TrainingWindow(first=window.first, last=window.last, horizon=horizon)


def training_from_proto(message: pb.TrainingWindow) -> TrainingWindow:
    return TrainingWindow(message.first, message.last, span_from_proto(message.horizon))


def model_signature_to_proto(signature: ModelSignature) -> pb.ModelSignature:
    return pb.ModelSignature(
        fingerprint=signature.fingerprint,
        trusted_fingerprint=signature.trusted_fingerprint,
        signer=signature.signer,
        verified_at=time_to_proto(signature.verified_at),
        bundle_sha256=signature.bundle_sha256,
        unsigned_files=signature.unsigned_files,
    )


def model_signature_from_proto(message: pb.ModelSignature) -> ModelSignature:
    return ModelSignature(
        fingerprint=message.fingerprint,
        trusted_fingerprint=message.trusted_fingerprint,
        signer=message.signer,
        verified_at=time_from_proto(message.verified_at),
        bundle_sha256=message.bundle_sha256,
        unsigned_files=tuple(message.unsigned_files),
    )


def origin_to_proto(origin: Origin) -> pb.Origin:
    return pb.Origin(
        source_model=origin.source_model,
        source_version=origin.source_version,
        registrants=origin.registrants,
        registered_at=time_to_proto(origin.registered_at),
        registration_hash=origin.registration_hash,
        registration_sequence=origin.registration_sequence,
        key_id=origin.key_id,
        pack_sha256=origin.pack_sha256,
        pack_bytes=origin.pack_bytes,
        exported_at=time_to_proto(origin.exported_at),
        log_records=origin.log_records,
        log_root=origin.log_root,
    )


def origin_from_proto(message: pb.Origin) -> Origin:
    return Origin(
        source_model=message.source_model,
        source_version=message.source_version,
        registrants=tuple(message.registrants),
        registered_at=time_from_proto(message.registered_at),
        registration_hash=message.registration_hash,
        registration_sequence=message.registration_sequence,
        key_id=message.key_id,
        pack_sha256=message.pack_sha256,
        pack_bytes=message.pack_bytes,
        exported_at=time_from_proto(message.exported_at),
        log_records=message.log_records,
        log_root=message.log_root,
    )


def version_to_proto(version: ModelVersion) -> pb.ModelVersion:
    return pb.ModelVersion(
        model=version.model,
        version=version.version,
        stage=stage_to_proto(version.stage),
        description=version.description,
        tags=version.tags,
        params=version.params,
        metrics=version.metrics,
        files=map(file_to_proto, version.files),
        format=format_to_proto(version.format),
        framework=version.framework,
        digest=version.digest,
        created_by=version.created_by,
        created_at=time_to_proto(version.created_at),
        updated_at=time_to_proto(version.updated_at),
        stage_since=time_to_proto(version.stage_since),
        run_id=version.run_id,
        mlflow_version=version.mlflow_version,
        references=version.references,
        etag=version.etag,
        artifact_deletion=deletion_to_proto(version.artifact_deletion) if version.artifact_deletion else None,
        format_name=version.format,
        model_file=version.model_file,
        signature=signature_to_proto(version.signature),
        trial=trial_to_proto(version.trial),
        overfitting=overfitting_to_proto(version.overfitting),
        folds=map(fold_to_proto, version.folds),
        training_window=training_to_proto(version.training_window) if version.training_window else None,
        lineage=lineage_to_proto(version.lineage) if version.lineage != Lineage() else None,
        job_id=version.job_id,
        model_signature=model_signature_to_proto(version.model_signature) if version.model_signature else None,
        origin=origin_to_proto(version.origin) if version.origin else None,
    )


def version_from_proto(message: pb.ModelVersion) -> ModelVersion:
    return ModelVersion(
        model=message.model,
        version=message.version,
        stage=stage_from_proto(message.stage) or Stage.TRAINING,
        description=message.description,
        tags=dict(sorted(message.tags.items())),
        params=dict(sorted(message.params.items())),
        metrics=dict(sorted(message.metrics.items())),
        files=tuple(map(file_from_proto, message.files)),
        format=format_from_proto(message.format, message.format_name) or ModelFormat.OTHER,
        framework=message.framework,
        digest=message.digest,
        created_by=message.created_by,
        created_at=time_from_proto(message.created_at),
        updated_at=time_from_proto(message.updated_at),
        stage_since=time_from_proto(message.stage_since),
        run_id=message.run_id,
        mlflow_version=message.mlflow_version,
        references=tuple(message.references),
        etag=message.etag,
        model_file=message.model_file,
        signature=signature_from_proto(message.signature) if message.HasField("signature") else None,
        trial=trial_from_proto(message.trial) if message.HasField("trial") else None,
        overfitting=overfitting_from_proto(message.overfitting) if message.HasField("overfitting") else None,
        folds=tuple(map(fold_from_proto, message.folds)),
        training_window=training_from_proto(message.training_window) if message.HasField("training_window") else None,
        lineage=lineage_from_proto(message.lineage),
        job_id=message.job_id,
        model_signature=model_signature_from_proto(message.model_signature)
        if message.HasField("model_signature")
        else None,
        origin=origin_from_proto(message.origin) if message.HasField("origin") else None,
        artifact_deletion=deletion_from_proto(message.artifact_deletion)
        if message.HasField("artifact_deletion")
        else None,
    )


def trial_to_proto(trial: Trial | None) -> pb.Trial | None:
    if trial is None:
        return None
    return pb.Trial(
        result=TRIAL_RESULTS[trial.result],
        reason=trial.reason,
        tried_with=trial.tried_with,
        tried_at=time_to_proto(trial.tried_at),
    )


def trial_from_proto(message: pb.Trial) -> Trial:
    result = next((known for known, value in TRIAL_RESULTS.items() if value == message.result), TrialResult.PENDING)
    tried_at = time_from_proto(message.tried_at) if message.HasField("tried_at") else None
    return Trial(result, message.reason, message.tried_with, tried_at)


def deletion_to_proto(deletion: ArtifactDeletion) -> pb.ArtifactDeletion:
    return pb.ArtifactDeletion(
        deleted_by=deletion.deleted_by, reason=deletion.reason, deleted_at=time_to_proto(deletion.deleted_at)
    )


def deletion_from_proto(message: pb.ArtifactDeletion) -> ArtifactDeletion:
    return ArtifactDeletion(message.deleted_by, message.reason, time_from_proto(message.deleted_at))


def metric_range_to_proto(bounds: MetricRange) -> pb.MetricRange:
    return pb.MetricRange(key=bounds.key, at_least=bounds.at_least, at_most=bounds.at_most)


def metric_range_from_proto(message: pb.MetricRange) -> MetricRange:
    return MetricRange(
        message.key,
        message.at_least if message.HasField("at_least") else None,
        message.at_most if message.HasField("at_most") else None,
    )


def gate_to_proto(gate: GateResult) -> pb.GateResult:
    return pb.GateResult(gate=gate.gate, passed=gate.passed, evidence=gate.evidence)


def gate_from_proto(message: pb.GateResult) -> GateResult:
    return GateResult(message.gate, message.passed, message.evidence)


def transition_to_proto(transition: Transition) -> pb.Transition:
    message = pb.Transition(
        sequence=transition.sequence,
        version=ref_to_proto(transition.version),
        to=stage_to_proto(transition.to_stage),
        actor=transition.actor,
        reason=transition.reason,
        moved_at=time_to_proto(transition.moved_at),
        displaced_by=transition.displaced_by,
        gates=map(gate_to_proto, transition.gates),
    )
    setattr(message, "from", stage_to_proto(transition.from_stage))  # The field's name is a keyword of Python.
    return message


def transition_from_proto(message: pb.Transition) -> Transition:
    return Transition(
        sequence=message.sequence,
        version=ref_from_proto(message.version),
        from_stage=stage_from_proto(getattr(message, "from")),
        to_stage=stage_from_proto(message.to) or Stage.TRAINING,
        actor=message.actor,
        reason=message.reason,
        moved_at=time_from_proto(message.moved_at),
        displaced_by=message.displaced_by,
        gates=tuple(map(gate_from_proto, message.gates)),
    )


def transition_result_to_proto(result: TransitionResult) -> pb.TransitionModelVersionResponse:
    return pb.TransitionModelVersionResponse(
        version=version_to_proto(result.version),
        archived=version_to_proto(result.archived) if result.archived else None,
        transition=transition_to_proto(result.transition),
        gates=map(gate_to_proto, result.gates),
    )


def transition_result_from_proto(message: pb.TransitionModelVersionResponse) -> TransitionResult:
    return TransitionResult(
        version=version_from_proto(message.version),
        archived=version_from_proto(message.archived) if message.HasField("archived") else None,
        transition=transition_from_proto(message.transition),
        gates=tuple(map(gate_from_proto, message.gates)),
    )


def rollback_result_to_proto(result: RollbackResult) -> pb.RollbackModelResponse:
    return pb.RollbackModelResponse(
        version=version_to_proto(result.version),
        archived=version_to_proto(result.archived) if result.archived else None,
        transition=transition_to_proto(result.transition),
    )


def halt_result_to_proto(result: HaltResult) -> pb.HaltModelsResponse:
    return pb.HaltModelsResponse(
        halted=map(model_to_proto, result.halted), already_halted=map(model_to_proto, result.already_halted)
    )


def halt_result_from_proto(message: pb.HaltModelsResponse) -> HaltResult:
    return HaltResult(
        halted=tuple(map(model_from_proto, message.halted)),
        already_halted=tuple(map(model_from_proto, message.already_halted)),
    )


def rollback_result_from_proto(message: pb.RollbackModelResponse) -> RollbackResult:
    return RollbackResult(
        version=version_from_proto(message.version),
        archived=version_from_proto(message.archived) if message.HasField("archived") else None,
        transition=transition_from_proto(message.transition),
    )
