"""Trials of versions: whether a model loads and predicts is found out once, after it was registered.

A trial is no change of the version by anybody: it leaves the etag alone, and the audit log has its result as evidence
of the gate `usable` of each promotion.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from modelward.drift import DEFAULT_REFERENCE
from modelward.formats import Format, formats
from modelward.lifecycle import ModelVersion, Trial, TrialResult, VersionRef
from modelward.shared.json_values import to_json
from modelward.signature import Signature
from modelward_server.lifecycle.repository import signature_of, to_version, version_row
from modelward_server.storage.drift_tables import ReferenceRow
from modelward_server.storage.tables import VersionRow

UNKNOWN = "no format of its files is known here, so nobody can say whether it loads"


@dataclass(frozen=True)
class ClaimedTrial:
    """A version to be tried, and the rows of its reference with which it is tried."""

    version: ModelVersion
    names: Sequence[str]
    """The features of its default reference; empty if it has none."""
    example: bytes
    """Rows of its default reference as an Arrow stream; empty if there are none."""
    until: datetime
    """When the claim ends."""


def trial_of_new(format_: str, allow_pickle: bool) -> Trial:
    """Return the trial of a version before it was tried: pending, or the reason why it cannot be tried here.

    Args:
        format_: the version's format.
        allow_pickle: whether formats that run their author's code may be tried.
    """
    known = formats().get(format_)
    reason = UNKNOWN if known is None else why_not_tried(known, allow_pickle)
    return Trial(TrialResult.NOT_TRIED, reason) if reason else Trial(TrialResult.PENDING)


def why_not_tried(known: Format, allow_pickle: bool) -> str:
    """Return the setting or the extra without which models of a format cannot be tried; empty if they can."""
    if known.runs_code and not allow_pickle:
        return f"{known.name} runs its author's code, which the operator may allow with MODELWARD_ALLOW_PICKLE"
    missing = [module for module in known.modules if find_spec(module.partition(".")[0]) is None]
    if not missing:
        return ""
    extra = f"the extra: pip install 'modelward[{known.extra}]'" if known.extra else f"the package {missing[0]}"
    return f"the server lacks {extra}"


def request_trial(session: Session, ref: VersionRef, allow_pickle: bool) -> Trial:
    """Return a version's trial; one that was not tried, or not with what is there now, becomes pending.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
    """
    row = version_row(session, ref, lock=True)
    if not row.trial_result or (row.trial_result == TrialResult.NOT_TRIED and row.tried_at is None):
        _put(row, trial_of_new(row.format, allow_pickle))  # What was missing then may be there now.
    return to_version(row).trial or Trial(TrialResult.NOT_TRIED)


def get_trial(session: Session, ref: VersionRef) -> Trial:
    """Return a version's trial.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
    """
    return to_version(version_row(session, ref)).trial or Trial(TrialResult.NOT_TRIED)


def any_to_claim(session: Session, now: datetime) -> bool:
    """Return whether a pending version is not claimed."""
    return session.scalar(select(VersionRow.version).where(_to_claim(now)).limit(1)) is not None


def _to_claim(now: datetime) -> ColumnElement[bool]:
    free = or_(VersionRow.trial_claimed_until.is_(None), VersionRow.trial_claimed_until < now)
    return and_(VersionRow.trial_result == TrialResult.PENDING, free)


def claim(session: Session, now: datetime, duration: timedelta) -> ClaimedTrial | None:
    """Claim the pending version that was registered first; None if there is none.

    Args:
        session: the transaction.
        now: the time.
        duration: after it another server may claim the version: this one has then died.
    """
    first = select(VersionRow).where(_to_claim(now)).order_by(VersionRow.created_at, VersionRow.version).limit(1)
    row = session.scalar(first.with_for_update(skip_locked=True))
    if row is None:
        return None
    row.trial_claimed_until = now + duration
    reference = _default_reference(session, row)
    names = [str(feature["name"]) for feature in reference.features] if reference else []
    example = (reference.example if reference else None) or b""
    return ClaimedTrial(to_version(row), names, example, row.trial_claimed_until)


def conclude(session: Session, claimed: ClaimedTrial, trial: Trial, found: Signature | None) -> None:
    """Record the result of a trial, and complete the version's signature with what it found, also in MLflow.

    Nothing is recorded if the version has a new reference meanwhile, or is claimed by another server: it is tried anew.
    """
    row = version_row(session, claimed.version.ref, lock=True)
    if row.trial_result != TrialResult.PENDING or row.trial_claimed_until != claimed.until:
        return
    _put(row, trial)
    if found is not None:
        known = signature_of(row)
        same = known is not None and known.inputs == found.inputs
        row.signature = ((row.signature or {}) if same else {}) | to_json(found)
        if known != found:
            row.mirror_wanted += 1


def release(session: Session, claimed: ClaimedTrial, until: datetime | None = None) -> None:
    """Give a claim back, so that another server can take it.

    Args:
        session: the transaction.
        claimed: the claim.
        until: when the version may be tried again; None for at once.
    """
    row = version_row(session, claimed.version.ref, lock=True)
    if row.trial_claimed_until == claimed.until:
        row.trial_claimed_until = until


def _put(row: VersionRow, trial: Trial) -> None:
    row.trial_result, row.trial_reason = trial.result, trial.reason
    row.tried_with, row.tried_at, row.trial_claimed_until = trial.tried_with, trial.tried_at, None


def _default_reference(session: Session, row: VersionRow) -> ReferenceRow | None:
    return session.get(ReferenceRow, (row.model, row.version, DEFAULT_REFERENCE))
