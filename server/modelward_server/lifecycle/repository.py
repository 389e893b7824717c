"""Read models and versions from the ledger, and convert its rows to the public dataclasses."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import Select, bindparam, literal_column, select
from sqlalchemy.orm import Session

from modelward.backtest import Overfitting
from modelward.errors import EtagMismatch, FieldViolation, InvalidField, ModelNotFound, VersionNotFound
from modelward.lifecycle import (
    ArtifactDeletion,
    ArtifactFile,
    GateResult,
    Halt,
    Model,
    ModelFormat,
    ModelVersion,
    Stage,
    Transition,
    Trial,
    TrialResult,
    VersionRef,
)
from modelward.shared.suggestions import nearest
from modelward.signature import Signature
from modelward_server.lifecycle.inventory import inventory_of
from modelward_server.lifecycle.lineage import lineage_of
from modelward_server.storage.documents import BACKTEST, FOLD, MODEL_SIGNATURE, ORIGIN, TRAINING_WINDOW
from modelward_server.storage.paging import is_visible
from modelward_server.storage.tables import MirrorRequestRow, ModelRow, TransitionRow, VersionRow

Row = TypeVar("Row")

IN_PRODUCTION = VersionRow.stage == literal_column(f"'{Stage.PRODUCTION.value}'")
"""The condition that a version is in production, as a literal: with a parameter SQLite cannot use a partial index."""
LOCK_MODEL = select(ModelRow.latest_version).where(ModelRow.name == bindparam("of")).with_for_update()
FIND_VERSION = select(VersionRow.version).where(
    VersionRow.model == bindparam("of"), VersionRow.version == bindparam("number")
)
MAX_NEIGHBOURS = 50
"""Number of names before and after a name that does not exist, among which the nearest is suggested."""


def row_of(session: Session, rows: Select[Row], *, lock: bool = False) -> Row | None:
    """Fetch the only row of a query, or None; with `lock`, block other writers of it until this transaction ends."""
    return session.scalar(rows.with_for_update() if lock else rows, execution_options={"populate_existing": lock})


def model_row(session: Session, name: str, *, lock: bool = False) -> ModelRow:
    """Fetch a model; with `lock`, block other writers of it until this transaction ends.

    Raises:
        ModelNotFound: no model has that name.
    """
    row = session.get(ModelRow, name, with_for_update=lock, populate_existing=lock)
    if row is None:
        suggestion = nearest(name, _neighbours(session, name))
        raise ModelNotFound(f"there is no model {name!r}{suggestion}; list the models to see their names", model=name)
    return row


def _neighbours(session: Session, name: str) -> list[str]:
    """Return the names of visible models that are next to a name in alphabetical order."""
    own = select(ModelRow.name).where(is_visible(ModelRow.name)).limit(MAX_NEIGHBOURS)
    before = own.where(ModelRow.name < name).order_by(ModelRow.name.desc())
    after = own.where(ModelRow.name > name).order_by(ModelRow.name)
    return [*session.scalars(before), *session.scalars(after)]


def version_row(session: Session, ref: VersionRef, *, lock: bool = False) -> VersionRow:
    """Fetch a version; with `lock`, block other writers of its model until this transaction ends.

    Raises:
        ModelNotFound: the model does not exist.
        VersionNotFound: the model has no version of that number.
    """
    if lock:
        _lock_model(session, ref.model)
    row = session.get(VersionRow, (ref.model, ref.version), populate_existing=lock)
    if row is None:
        raise _no_version(session, ref)
    return row


def check_exists(session: Session, ref: VersionRef) -> None:
    """Check that a model exists, if one is named, and its version, unless its number is 0.

    Raises:
        ModelNotFound, VersionNotFound: it does not.
    """
    if ref.model and ref.version:
        version_row(session, ref)
    elif ref.model:
        model_row(session, ref.model)


def check_version(session: Session, ref: VersionRef, *, lock: bool = False) -> None:
    """Check that a version exists; with `lock`, block other writers of its model until this transaction ends.

    Raises:
        ModelNotFound: the model does not exist.
        VersionNotFound: the model has no version of that number.
    """
    if lock:
        _lock_model(session, ref.model)
    if session.connection().scalar(FIND_VERSION, {"of": ref.model, "number": ref.version}) is None:
        raise _no_version(session, ref)


def _lock_model(session: Session, model: str) -> None:
    """Block other writers of a model until this transaction ends; an SQLite file has one writer at a time anyway."""
    connection = session.connection()
    if connection.dialect.name != "sqlite":
        connection.execute(LOCK_MODEL, {"of": model})


def _no_version(session: Session, ref: VersionRef) -> VersionNotFound:
    """Return the error for a version that does not exist.

    Raises:
        ModelNotFound: nor does its model.
    """
    latest = model_row(session, ref.model).latest_version
    known = f"its versions go up to {latest}" if latest else "it has no version yet"
    return VersionNotFound(f"there is no {ref}; {known}", model=ref.model, version=ref.version)


def request_mirroring(session: Session, versions: Iterable[VersionRef]) -> None:
    """Schedule that versions are shown in MLflow again, for a fact that is stored beside them."""
    session.add_all(MirrorRequestRow(model=ref.model, version=ref.version) for ref in versions)


def check_etag(given: str, current: str) -> None:
    """Check that a change is based on the current state; an empty etag accepts any.

    Raises:
        EtagMismatch: it is not; the metadata contain the current etag.
    """
    if given and given != current:
        raise EtagMismatch(
            "it was changed since its etag was read; read it again and repeat the change", current_etag=current
        )


def check_mask(paths: Iterable[str], *names: str) -> None:
    """Check that an update names a field to change.

    Raises:
        InvalidField: the mask is empty.
    """
    if not list(paths):
        raise InvalidField(FieldViolation("update_mask", f"is empty; name one of {', '.join(names)}"))


def production_version(session: Session, model: str) -> int:
    """Return the number of the version in production, or 0."""
    query = select(VersionRow.version).where(VersionRow.model == model, VersionRow.stage == Stage.PRODUCTION)
    return session.scalar(query) or 0


def to_model(row: ModelRow, production: int) -> Model:
    return Model(
        name=row.name,
        description=row.description,
        tags=row.tags,
        created_at=row.created_at,
        updated_at=row.updated_at,
        latest_version=row.latest_version,
        production_version=production,
        halt=halt_of(row),
        etag=etag(row),
        inventory=inventory_of(row),
    )


def halt_of(row: Any) -> Halt | None:
    """Return the halt of a model, of whose row these columns at least were read."""
    return Halt(row.halted_by, row.halt_reason, row.halted_at) if row.halted_at else None


def to_version(row: VersionRow) -> ModelVersion:
    return ModelVersion(
        model=row.model,
        version=row.version,
        stage=Stage(row.stage),
        description=row.description,
        tags=row.tags,
        params=row.params,
        metrics=row.metrics,
        files=tuple(ArtifactFile(**file) for file in row.files),
        format=ModelFormat.named(row.format),
        framework=row.framework,
        digest=row.digest,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        stage_since=row.stage_since,
        run_id=row.run_id,
        mlflow_version=row.mlflow_version,
        references=tuple(row.references),
        etag=etag(row),
        artifact_deletion=_deletion(row),
        model_file=row.model_file,
        signature=signature_of(row),
        trial=trial_of(row),
        overfitting=_overfitting(row),
        folds=FOLD.load_all(row.folds or ()),
        training_window=TRAINING_WINDOW.load(row.training_window) if row.training_window else None,
        lineage=lineage_of(row),
        job_id=row.job_id,
        model_signature=MODEL_SIGNATURE.load(row.model_signature) if row.model_signature else None,
        origin=ORIGIN.load(row.origin) if row.origin else None,
    )


def _overfitting(row: VersionRow) -> Overfitting | None:
    backtest = BACKTEST.load(row.backtest) if row.backtest else None
    return Overfitting(row.tried_configurations, backtest) if row.tried_configurations else None


def signature_of(row: VersionRow) -> Signature | None:
    """Return the signature of a version."""
    return None if row.signature is None else Signature.from_dict(row.signature)


def trial_of(row: Any) -> Trial | None:
    """Return the trial of a version, of whose row these columns at least were read."""
    if not row.trial_result:
        return None
    return Trial(TrialResult(row.trial_result), row.trial_reason, row.tried_with, row.tried_at)


def _deletion(row: VersionRow) -> ArtifactDeletion | None:
    if row.artifact_deleted_at is None:
        return None
    return ArtifactDeletion(row.artifact_deleted_by, row.artifact_deletion_reason, row.artifact_deleted_at)


def to_transition(row: TransitionRow) -> Transition:
    return Transition(
        sequence=row.sequence,
        version=VersionRef(row.model, row.version),
        from_stage=Stage(row.from_stage) if row.from_stage else None,
        to_stage=Stage(row.to_stage),
        actor=row.actor,
        reason=row.reason,
        moved_at=row.moved_at,
        displaced_by=row.displaced_by,
        gates=tuple(GateResult(**gate) for gate in row.gates),
    )


def from_transition(transition: Transition) -> TransitionRow:
    return TransitionRow(
        sequence=transition.sequence,
        model=transition.version.model,
        version=transition.version.version,
        from_stage=transition.from_stage or "",
        to_stage=transition.to_stage,
        actor=transition.actor,
        reason=transition.reason,
        moved_at=transition.moved_at,
        displaced_by=transition.displaced_by,
        gates=[asdict(gate) for gate in transition.gates],
    )


def etag(row: ModelRow | VersionRow) -> str:
    return f"r{row.revision}"
