"""Versions: register, read and update them, and log their metrics."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.orm import Session

from modelward.backtest import Overfitting, ValidationFold
from modelward.errors import BlobsMissing
from modelward.formats import format_of_file, formats
from modelward.inventory import Lineage
from modelward.lifecycle import (
    ArtifactFile,
    ModelFormat,
    ModelSignature,
    ModelVersion,
    Origin,
    Stage,
    TrainingWindow,
    Transition,
    Trial,
    TrialResult,
    VersionRef,
)
from modelward.shared.json_values import to_json
from modelward.shared.manifest import manifest_digest
from modelward.signature import Signature
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.field_paths import replaced
from modelward_server.lifecycle.files import check_paths
from modelward_server.lifecycle.lineage import lineage_of, record_lineage, set_lineage
from modelward_server.lifecycle.mlflow_folder import MlflowFolder, described_by, read_description
from modelward_server.lifecycle.models import add_model, touch_model
from modelward_server.lifecycle.repository import (
    check_etag,
    check_mask,
    etag,
    from_transition,
    model_row,
    to_version,
    version_row,
)
from modelward_server.lifecycle.trials import trial_of_new
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.documents import BACKTEST, FOLD, MODEL_SIGNATURE, ORIGIN, TRAINING_WINDOW
from modelward_server.storage.search_tables import set_version_metrics, set_version_tags
from modelward_server.storage.signature_tables import ModelSignatureRow
from modelward_server.storage.tables import MetricRow, ModelRow, TransitionRow, VersionRow

INSERT_METRIC = insert(MetricRow)
LATEST_METRIC = (
    select(MetricRow.value)
    .where(
        MetricRow.model == bindparam("of"),
        MetricRow.version == bindparam("number"),
        MetricRow.key == bindparam("named"),
    )
    .order_by(MetricRow.measured_at.desc(), MetricRow.id.desc())
    .limit(1)
)


@dataclass(frozen=True)
class NewVersion:
    """The content of a version to be registered."""

    model: str
    files: Sequence[ArtifactFile]
    format: ModelFormat | str | None
    """None: recognised by the content of the files."""
    framework: str
    description: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    model_file: str = ""
    """The path of the file that holds the model; empty if its format is not known."""
    signature: Signature | None = None
    """What the registrant knows of it; the trial completes it."""
    trial: Trial | None = None
    """Whether it is to be tried."""
    overfitting: Overfitting | None = None
    folds: Sequence[ValidationFold] = ()
    training_window: TrainingWindow | None = None
    lineage: Lineage = field(default_factory=Lineage)
    job_id: str = ""
    """The retraining job that produced it; empty if none did."""
    model_signature: ModelSignature | None = None
    bundle: str = ""
    """The bundle of that signature, JSON."""
    origin: Origin | None = None
    """Where it is imported from; None if it is not."""

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the manifest."""
        return manifest_digest(self.files)


def prepare_registration(blobs: BlobStore, new: NewVersion, *, allow_pickle: bool) -> NewVersion:
    """Check the uploaded files, recognise the format and hash the manifest, outside of the registering transaction.

    Args:
        blobs: the files.
        new: the version.
        allow_pickle: whether formats that run their author's code may be tried.

    Raises:
        InvalidField: the files cannot be stored in one folder.
        BlobsMissing: the content of a file was not uploaded.
    """
    check_files(blobs, new.files)
    assert new.digest
    recognised = _recognised(blobs, new)
    trial = recognised.trial or trial_of_new(recognised.format or ModelFormat.OTHER, allow_pickle)
    return replace(recognised, trial=trial)


def register(session: Session, new: NewVersion, actor: ActorContext) -> ModelVersion:
    """Register the next version of a model, creating the model if it is new; its files were checked before.

    Raises:
        InvalidField: its parent is not an earlier version.
    """
    model = session.get(ModelRow, new.model, with_for_update=True) or add_model(session, new.model, actor)
    actor = actor.not_before(model.updated_at)
    model.latest_version += 1
    touch_model(model, actor)
    row = _new_row(new, model.latest_version, actor)
    set_lineage(row, new.lineage)
    session.add(row)
    if new.bundle:
        session.flush()  # The version's row comes first: no relationship tells the order.
        session.add(ModelSignatureRow(model=row.model, version=row.version, bundle=new.bundle))
    set_version_tags(session, row, row.tags)
    set_version_metrics(session, row, row.metrics)
    _record_metrics(session, row, new.metrics, actor.at)
    registered = to_version(row)
    sequence = audit.append(session, Kind.REGISTERED, row.model, registered, actor, row.version)
    session.add(_registration(row, actor, sequence))
    return registered


def check_files(blobs: BlobStore, files: Sequence[ArtifactFile]) -> None:
    """Check the files of a version to be registered.

    Raises:
        InvalidField: the files cannot be stored in one folder.
        BlobsMissing: the content of a file was not uploaded.
    """
    check_paths(files)
    for file in files:
        blobs.touch(file.sha256)
    missing = sorted({file.sha256 for file in files if not blobs.has(file.sha256, file.size_bytes)})
    if missing:
        raise BlobsMissing(
            f"{len(missing)} of {len(files)} files are not on the server in that size; upload them first",
            missing=",".join(missing),
        )


def _new_row(new: NewVersion, number: int, actor: ActorContext) -> VersionRow:
    files = sorted(new.files, key=lambda file: file.path)
    return VersionRow(
        model=new.model,
        version=number,
        stage=Stage.TRAINING,
        description=new.description,
        tags=dict(sorted(new.tags.items())),
        params=dict(sorted(new.params.items())),
        metrics=dict(sorted(new.metrics.items())),
        files=[asdict(file) for file in files],
        references=[],
        format=new.format or ModelFormat.OTHER,
        model_file=new.model_file,
        signature=None if new.signature is None else to_json(new.signature),
        trial_result=new.trial.result if new.trial else "",
        trial_reason=new.trial.reason if new.trial else "",
        tried_with="",
        tried_at=new.trial.tried_at if new.trial else None,
        tried_configurations=new.overfitting.trials if new.overfitting else 0,
        backtest=BACKTEST.dump(new.overfitting.backtest) if new.overfitting and new.overfitting.backtest else None,
        folds=FOLD.dump_all(new.folds) or None,
        training_window=TRAINING_WINDOW.dump(new.training_window) if new.training_window else None,
        job_id=new.job_id,
        model_signature=MODEL_SIGNATURE.dump(new.model_signature) if new.model_signature else None,
        origin=ORIGIN.dump(new.origin) if new.origin else None,
        framework=new.framework,
        digest=new.digest,
        created_by=actor.name,
        created_at=actor.at,
        updated_at=actor.at,
        stage_since=actor.at,
        revision=1,
        run_id="",
        mlflow_version="",
        mirror_wanted=1,
        mirror_done=0,
    )


def _registration(row: VersionRow, actor: ActorContext, sequence: int) -> TransitionRow:
    ref, stage = VersionRef(row.model, row.version), Stage(row.stage)
    return from_transition(Transition(sequence, ref, None, stage, actor.name, "registered", actor.at, displaced_by=0))


def _recognised(blobs: BlobStore, new: NewVersion) -> NewVersion:
    """Find the format, and the file of that format, among the files at the artifact's root; none if none is known."""
    at_root = {file.path: blobs.path(file.sha256) for file in new.files if "/" not in file.path}
    if new.format is None and (folder := _mlflow_folder(blobs, new.files)):
        return _recognised_by_mlflow(folder, at_root, new)
    known = {name: found for name, path in sorted(at_root.items()) if (found := format_of_file(path))}
    if new.format is None:
        name = next(iter(known), "")
        return replace(new, format=ModelFormat.named(known[name].name) if name else ModelFormat.OTHER, model_file=name)
    file_name = formats()[new.format].file_name if new.format in formats() else ""
    declared = [name for name, found in known.items() if found.name == new.format]
    return replace(new, model_file=next(iter(declared), file_name if file_name in at_root else ""))


def _mlflow_folder(blobs: BlobStore, files: Sequence[ArtifactFile]) -> MlflowFolder | None:
    described = described_by(files)
    return read_description(blobs.path(described.sha256)) if described else None


def _recognised_by_mlflow(folder: MlflowFolder, at_root: Mapping[str, Path], new: NewVersion) -> NewVersion:
    """Find the format among the files that are the model by MLflow's description, or say why none is known."""
    named = folder.model_files(list(at_root))
    known = {name: found for name in named if (found := format_of_file(at_root[name]))}
    given = replace(new, framework=new.framework or folder.framework, signature=new.signature or folder.signature)
    if known and not folder.own_code:
        name = next(iter(known))
        return replace(given, format=ModelFormat.named(known[name].name), model_file=name)
    reason = folder.own_code or f"none of its files has a format that is known here; {folder.describe()} loads them"
    trial = Trial(TrialResult.NOT_TRIED, reason, "", datetime.now(UTC))
    return replace(given, format=ModelFormat.OTHER, trial=trial)


def get_version(session: Session, ref: VersionRef) -> ModelVersion:
    """Return a version.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
    """
    return to_version(version_row(session, ref))


def number_of_trials(session: Session, model: str) -> int:
    """Return how many configurations of a model were tried: at least one for each of its versions.

    Raises:
        ModelNotFound: the model does not exist.
    """
    versions = model_row(session, model).latest_version
    told = VersionRow.tried_configurations
    more = session.scalar(select(func.sum(told - 1)).where(VersionRow.model == model, told > 1))
    return versions + int(more or 0)


def update_version(
    session: Session,
    ref: VersionRef,
    paths: Collection[str],
    description: str,
    tags: Mapping[str, str],
    lineage: Lineage,
    expected_etag: str,
    actor: ActorContext,
) -> ModelVersion:
    """Replace what `paths` names of a version: its description, its tags, its lineage or parts of that.

    Raises:
        InvalidField: `paths` is empty or names no field, or the lineage's parent is not an earlier version.
        ModelNotFound, VersionNotFound: the version does not exist.
        EtagMismatch: the version has changed since `expected_etag` was read.
    """
    check_mask(paths, "description", "tags", "lineage")
    row = version_row(session, ref, lock=True)
    check_etag(expected_etag, etag(row))
    if "description" in paths:
        row.description = description
    if "tags" in paths:
        set_version_tags(session, row, tags)
    before = lineage_of(row)
    set_lineage(row, replaced(before, lineage, paths, "lineage"))
    changed = record_change(session, row, actor)
    record_lineage(session, row, before, actor)
    return changed


def log_metrics(
    session: Session, ref: VersionRef, metrics: Mapping[str, float], measured_at: datetime | None, actor: ActorContext
) -> ModelVersion:
    """Add values of metrics; the value of each key that was measured last becomes the version's.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
    """
    row = version_row(session, ref, lock=True)
    _record_metrics(session, row, metrics, measured_at or actor.at)
    set_version_metrics(session, row, {key: _latest(session, ref, key) for key in metrics})
    return record_change(session, row, actor)


def _record_metrics(session: Session, row: VersionRow, metrics: Mapping[str, float], measured_at: datetime) -> None:
    logged = {"model": row.model, "version": row.version, "measured_at": measured_at}
    if metrics:  # Without the ORM, which takes most of the time of a small change.
        session.connection().execute(INSERT_METRIC, [logged | {"key": key, "value": metrics[key]} for key in metrics])


def _latest(session: Session, ref: VersionRef, key: str) -> float:
    """Return the value of a metric that was measured last."""
    of = {"of": ref.model, "number": ref.version, "named": key}
    return session.connection().execute(LATEST_METRIC, of).scalar_one()


def record_change(session: Session, row: VersionRow, actor: ActorContext) -> ModelVersion:
    """Record a change of a version in the audit log, and schedule its mirroring to MLflow."""
    touch_version(row, actor)
    changed = to_version(row)
    audit.append(session, Kind.VERSION, row.model, _without_logits(changed), actor, row.version)
    return changed


def _without_logits(version: ModelVersion) -> ModelVersion:
    """Leave out the logits of the trials, which no change alters and the record of the registration has."""
    backtest = version.overfitting.backtest if version.overfitting else None
    if version.overfitting is None or backtest is None or backtest.selection is None:
        return version
    short = replace(backtest, selection=replace(backtest.selection, logits={}))
    return replace(version, overfitting=replace(version.overfitting, backtest=short))


def touch_version(row: VersionRow, actor: ActorContext) -> None:
    """Increment the revision of a changed version, and schedule its mirroring to MLflow."""
    row.revision += 1
    row.mirror_wanted += 1
    row.updated_at = actor.at
