"""What is on record about models: as it is now, or as it was after the first records of the audit log.

The audit log has the state after each change. What it does not have is told where it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeVar

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from modelward.errors import VersionNotFound
from modelward.findings import Finding
from modelward.governance import Approval
from modelward.inventory import Inventory
from modelward.lifecycle import Halt, Model, ModelFormat, ModelVersion, PromotionPolicy, Stage, VersionRef
from modelward_server.lifecycle.approvals import at_time, list_approvals
from modelward_server.lifecycle.findings import FindingFilter, list_findings
from modelward_server.lifecycle.models import get_model
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.versions import get_version
from modelward_server.storage.audit import Kind, payload_of
from modelward_server.storage.paging import all_items
from modelward_server.storage.tables import AuditRow, TransitionRow

Payload = TypeVar("Payload")

PAGE = 200
MODEL_KINDS = (Kind.MODEL, Kind.REGISTERED, Kind.TRANSITION, Kind.HALTED, Kind.RESUMED)
"""Changes that change a model."""


@dataclass(frozen=True)
class Extent:
    """The part of the record that a pack covers: its first records, and what was known at a time."""

    records: int
    at: datetime
    is_past: bool
    """Whether something may have changed since; otherwise it is now."""


class State(Protocol):
    """What is on record about a model."""

    def version(self, ref: VersionRef) -> ModelVersion:
        """Return a version.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist, or did not then.
        """

    def model(self, name: str) -> Model:
        """Return a model."""

    def policy(self, model: str) -> PromotionPolicy:
        """Return the promotion policy of a model; without conditions if none was set."""

    def approvals(self, ref: VersionRef) -> Sequence[Approval]:
        """Return the requests of approval of a version, the newest first."""

    def findings(self, model: str) -> Sequence[Finding]:
        """Return the findings about a model and its versions, the newest first."""


def extent_in(session: Session, model: str, extent: Extent) -> Extent:
    """Return the extent as a transaction sees it: it is past if the model was changed since, as in a long export."""
    later = select(AuditRow.sequence).where(AuditRow.model == model, AuditRow.sequence > extent.records).limit(1)
    return replace(extent, is_past=extent.is_past or session.scalar(later) is not None)


def state_of(session: Session, extent: Extent) -> State:
    """Return what is on record now, or what was at a past time."""
    return PastState(session, extent) if extent.is_past else PresentState(session, extent)


@dataclass(frozen=True)
class PresentState:
    """What is on record now."""

    session: Session
    extent: Extent

    def version(self, ref: VersionRef) -> ModelVersion:
        return get_version(self.session, ref)

    def model(self, name: str) -> Model:
        return get_model(self.session, name)

    def policy(self, model: str) -> PromotionPolicy:
        return get_policy(self.session, model)

    def approvals(self, ref: VersionRef) -> Sequence[Approval]:
        at = self.extent.at
        return list(all_items(lambda token: list_approvals(self.session, ref, None, "", PAGE, token, at)))

    def findings(self, model: str) -> Sequence[Finding]:
        wanted, at = FindingFilter(model=model), self.extent.at
        return list(all_items(lambda token: list_findings(self.session, wanted, PAGE, token, at)))


@dataclass(frozen=True)
class PastState:
    """What was on record after the first records of the audit log; nothing has an etag, as nothing can change it."""

    session: Session
    extent: Extent

    def version(self, ref: VersionRef) -> ModelVersion:
        now = get_version(self.session, ref)
        changed = self._last(ref.model, Kind.REGISTERED, Kind.VERSION, version=ref.version)
        if changed is None:
            what = f"{ref} did not exist at {self.extent.at.isoformat()}"
            raise VersionNotFound(what, model=ref.model, version=ref.version)
        return self._moved(self._with_trial(payload_of(changed, ModelVersion), now), ref)

    def _with_trial(self, then: ModelVersion, now: ModelVersion) -> ModelVersion:
        """Add what records of changes leave out: the trials of a backtest, the place in MLflow, and the trial.

        Only the last trial is kept: if it came later, the result is that of the last change before.
        """
        tried = now.trial is not None and now.trial.tried_at is not None and now.trial.tried_at <= self.extent.at
        seen = now if tried else then
        return replace(
            then,
            trial=seen.trial,
            signature=seen.signature,
            overfitting=now.overfitting,
            run_id=now.run_id,
            mlflow_version=now.mlflow_version,
            format=ModelFormat.named(str(then.format)),
            etag="",
        )

    def _moved(self, version: ModelVersion, ref: VersionRef) -> ModelVersion:
        moves = self._moves(ref.model).where(TransitionRow.version == ref.version)
        last = self.session.scalar(moves.limit(1))
        if last is None:
            return version
        updated_at = max(version.updated_at, last.moved_at)
        return replace(version, stage=Stage(last.to_stage), stage_since=last.moved_at, updated_at=updated_at)

    def model(self, name: str) -> Model:
        registered, halted = self._last(name, Kind.REGISTERED), self._last(name, Kind.HALTED, Kind.RESUMED)
        described, last = self._described(name), self._last(name, *MODEL_KINDS)
        return replace(
            described,
            latest_version=registered.version if registered else 0,
            production_version=self._production(name),
            halt=payload_of(halted, Halt) if halted and halted.kind == Kind.HALTED else None,
            updated_at=last.happened_at if last else described.created_at,
            etag="",
        )

    def _described(self, name: str) -> Model:
        """Return what somebody has said of a model; of one that was created by a registration, nothing at first."""
        described = self._last(name, Kind.MODEL)
        undescribed = replace(get_model(self.session, name), description="", tags={}, inventory=Inventory())
        return payload_of(described, Model) if described else undescribed

    def _production(self, model: str) -> int:
        production = Stage.PRODUCTION.value
        moves = self._moves(model).where(
            or_(TransitionRow.to_stage == production, TransitionRow.from_stage == production)
        )
        last = self.session.scalar(moves.limit(1))
        return last.version if last is not None and last.to_stage == production else 0

    def policy(self, model: str) -> PromotionPolicy:
        changed = self._last(model, Kind.POLICY)
        return replace(payload_of(changed, PromotionPolicy) if changed else PromotionPolicy(model), etag="")

    def approvals(self, ref: VersionRef) -> Sequence[Approval]:
        records = self._records(ref.model, Kind.APPROVAL).where(AuditRow.version == ref.version)
        found = self._newest(records, Approval, lambda approval: approval.approval_id)
        return [replace(at_time(approval, self.extent.at), etag="") for approval in found]

    def findings(self, model: str) -> Sequence[Finding]:
        found = self._newest(self._records(model, Kind.FINDING), Finding, lambda finding: finding.finding_id)
        return [replace(finding, etag="") for finding in found]

    def _newest(self, records: Select[AuditRow], kind: type[Payload], key: Callable[[Payload], str]) -> list[Payload]:
        """Return the last state of each, the one that was created last first."""
        states: dict[str, Payload] = {}
        for record in self.session.scalars(records.order_by(AuditRow.sequence)):
            state = payload_of(record, kind)
            states[key(state)] = state
        return list(states.values())[::-1]

    def _last(self, model: str, *kinds: Kind, version: int | None = None) -> AuditRow | None:
        records = self._records(model, *kinds)
        records = records if version is None else records.where(AuditRow.version == version)
        return self.session.scalar(records.order_by(AuditRow.sequence.desc()).limit(1))

    def _records(self, model: str, *kinds: Kind) -> Select[AuditRow]:
        within = AuditRow.sequence <= self.extent.records
        return select(AuditRow).where(AuditRow.model == model, AuditRow.kind.in_(kinds), within)

    def _moves(self, model: str) -> Select[TransitionRow]:
        within = TransitionRow.sequence <= self.extent.records
        newest_first = TransitionRow.sequence.desc()
        return select(TransitionRow).where(TransitionRow.model == model, within).order_by(newest_first)
