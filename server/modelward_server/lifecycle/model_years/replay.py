"""The state of a model at the end of a period, and its events, from the records of the audit log."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter

from modelward.drills import Drill
from modelward.findings import Finding, FindingState
from modelward.governance import Approval, ApprovalState
from modelward.inventory import Inventory
from modelward.lifecycle import PromotionPolicy
from modelward.reviews import Review
from modelward_server.lifecycle.approvals import at_time
from modelward_server.lifecycle.inventory import InventoryChange
from modelward_server.lifecycle.model_years.model_year import EventKind, HaltSpan, YearEvent
from modelward_server.lifecycle.model_years.report_period import ReportPeriod
from modelward_server.storage.audit import Kind, payload_of
from modelward_server.storage.tables import AuditRow

HALTED = "halt, which needs no approval beforehand"
POLICIES = {
    Kind.POLICY: EventKind.PROMOTION_POLICY,
    Kind.DRIFT_POLICY: EventKind.DRIFT_POLICY,
    Kind.RETRAINING_POLICY: EventKind.RETRAINING_POLICY,
}
_inventory = TypeAdapter(Inventory)


class Replay:
    """Follows the records of one model, in their order, up to the end of a period.

    Args:
        model: the model's name.
        period: the period; events are collected in it, states from the beginning.
    """

    def __init__(self, model: str, period: ReportPeriod) -> None:
        self._period = period
        self.inventory, self.inventory_recorded = Inventory(), True
        self.policy = PromotionPolicy(model)
        self.events: list[YearEvent] = []
        self._halts: list[HaltSpan] = []
        self._findings: dict[str, Finding] = {}
        self._approvals: dict[str, Approval] = {}
        self._drills: dict[str, Drill] = {}
        self.approved: dict[int, str] = {}
        """The approval that each transition has used."""
        self.reviews: list[Review] = []
        self._policies: dict[str, Mapping[str, Any]] = {}

    def add(self, row: AuditRow) -> None:
        """Add the next record, of one of the kinds in `KINDS`."""
        event = STEPS[Kind(row.kind)](self, row)
        if event is not None and self._period.holds(row.sequence):
            self.events.append(event)

    @property
    def halts(self) -> list[HaltSpan]:
        """The halts that overlap the period."""
        return [one for one in self._halts if one.until is None or one.until >= self._period.start]

    @property
    def findings(self) -> list[Finding]:
        """The findings that were open at some time of the period, in the order of their opening."""
        start = self._period.start
        return [one for one in self._findings.values() if one.closed_at is None or one.closed_at >= start]

    @property
    def approvals(self) -> list[Approval]:
        """The requests that were changed in the period, as they stood at its end."""
        return [at_time(one, self._period.at) for one in self._approvals.values()]

    @property
    def drills(self) -> list[Drill]:
        """The drills that started in the period, as they stood at its end."""
        return [one for one in self._drills.values() if one.started_at >= self._period.start]

    def _model(self, row: AuditRow) -> None:
        stated = json.loads(row.payload).get("inventory")
        self.inventory_recorded = stated is not None
        self.inventory = _inventory.validate_python(stated) if stated is not None else Inventory()

    def _inventory(self, row: AuditRow) -> YearEvent:
        change = payload_of(row, InventoryChange)
        fields = _changed(vars(change.before), vars(change.after))
        return _event(row, EventKind.INVENTORY, f"the inventory was changed: {fields}")

    def _policy(self, row: AuditRow) -> YearEvent:
        kind, payload = POLICIES[Kind(row.kind)], json.loads(row.payload)
        if row.kind == Kind.POLICY:
            self.policy = payload_of(row, PromotionPolicy)
        before, self._policies[row.kind] = self._policies.get(row.kind), payload
        how = _how_changed(before, payload) if before else "set for the first time"
        return _event(row, kind, f"the {kind.replace('_', ' ')} was {how}")

    def _halt(self, row: AuditRow) -> YearEvent:
        reason = str(json.loads(row.payload)["reason"])
        if self._halts and self._halts[-1].until is None:
            self._halts[-1] = self._halts[-1].again(reason)
        else:
            self._halts.append(HaltSpan(row.happened_at, row.actor, (reason,)))
        return _event(row, EventKind.HALT, "the model was halted", reason, HALTED)

    def _resume(self, row: AuditRow) -> YearEvent:
        reason = str(json.loads(row.payload)["reason"])
        if self._halts:
            self._halts[-1] = self._halts[-1].ended(row.happened_at, row.actor, reason)
        return _event(row, EventKind.RESUME, "the model was resumed", reason)

    def _approval(self, row: AuditRow) -> YearEvent:
        approval = payload_of(row, Approval)
        if self._period.holds(row.sequence):
            self._approvals[approval.approval_id] = approval
        if approval.transition:
            self.approved[approval.transition] = approval.approval_id
        what = f"{approval.approval_id} for version {row.version} to {approval.to}: {_step(approval)}"
        return _event(row, EventKind.APPROVAL, what, _why(approval))

    def _finding(self, row: AuditRow) -> YearEvent:
        finding = payload_of(row, Finding)
        is_new = finding.finding_id not in self._findings
        self._findings[finding.finding_id] = finding
        closed = finding.state is FindingState.CLOSED
        step = "closed" if closed else "opened" if is_new else "changed"
        what = f"{finding.finding_id}, {finding.severity}, was {step}: {finding.title}"
        return _event(row, EventKind.FINDING, what, finding.closing_comment or finding.remedy)

    def _drill(self, row: AuditRow) -> YearEvent:
        drill = payload_of(row, Drill)
        self._drills[drill.drill_id] = drill
        how = f"{drill.proven} proven, {drill.not_proven} not proven" if drill.ended_at else "started"
        return _event(row, EventKind.DRILL, f"{drill.drill_id} of {len(drill.engines)} engines: {how}", drill.reason)

    def _review(self, row: AuditRow) -> YearEvent:
        review = payload_of(row, Review)
        if self._period.holds(row.sequence):
            self.reviews.append(review)
        return _event(row, EventKind.REVIEW, f"{review.review_id}: {review.outcome}", review.comment)


STEPS: Mapping[Kind, Callable[[Replay, AuditRow], YearEvent | None]] = {
    Kind.MODEL: Replay._model,
    Kind.INVENTORY: Replay._inventory,
    Kind.POLICY: Replay._policy,
    Kind.DRIFT_POLICY: Replay._policy,
    Kind.RETRAINING_POLICY: Replay._policy,
    Kind.HALTED: Replay._halt,
    Kind.RESUMED: Replay._resume,
    Kind.APPROVAL: Replay._approval,
    Kind.FINDING: Replay._finding,
    Kind.REVIEW: Replay._review,
    Kind.DRILL: Replay._drill,
}
"""What each kind of record does to the state."""
KINDS = tuple(STEPS)


def _event(row: AuditRow, kind: EventKind, what: str, reason: str = "", exception: str = "") -> YearEvent:
    return YearEvent(row.sequence, row.happened_at, kind, row.version, row.actor, what, reason, exception)


def _how_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return f"changed: {fields}" if (fields := _changed(before, after)) else "set again as it was"


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the names of the fields that differ."""
    names = (name for name in after if name != "etag" and before.get(name) != after[name])
    return ", ".join(name.replace("_", " ") for name in names)


def _step(approval: Approval) -> str:
    """Return what the last change of a request was."""
    if approval.state in {ApprovalState.USED, ApprovalState.WITHDRAWN}:
        return approval.state
    if not approval.decisions:
        return f"requested of {', '.join(approval.functions)}"
    last = approval.decisions[-1]
    return f"{last.function} {'approved' if last.approved else 'refused'}"


def _why(approval: Approval) -> str:
    return approval.decisions[-1].comment if approval.decisions else approval.reason
