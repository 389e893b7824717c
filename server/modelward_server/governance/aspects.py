"""The fields of tables that the audit log records, and how to read them from rows and from records.

Fields that no record covers are not listed here; docs/security.md lists them.
"""

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from sqlalchemy.orm import Session

from modelward.inventory import Inventory
from modelward.retraining import JobState
from modelward_server.abtest.repository import get_ab_test
from modelward_server.drift.policies import get_drift_policy
from modelward_server.lifecycle.approvals import to_approval
from modelward_server.lifecycle.drills import to_drills
from modelward_server.lifecycle.findings import to_finding
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.repository import to_model, to_version
from modelward_server.lifecycle.reviews import to_review
from modelward_server.retraining.policies import get_retraining_policy
from modelward_server.retraining.repository import to_job, to_schedule
from modelward_server.security.grants import to_record
from modelward_server.storage.ab_tables import AbTestRow
from modelward_server.storage.approval_tables import ApprovalRow
from modelward_server.storage.audit import Kind, to_json
from modelward_server.storage.drift_tables import DriftPolicyRow
from modelward_server.storage.drill_tables import DrillRow
from modelward_server.storage.finding_tables import FindingRow
from modelward_server.storage.retraining_tables import JobRow, RetrainingPolicyRow, ScheduleRow
from modelward_server.storage.review_tables import ReviewRow
from modelward_server.storage.security_tables import GrantRow
from modelward_server.storage.tables import AuditRow, ModelRow, PolicyRow, VersionRow

Fields: TypeAlias = dict[str, Any]
"""Fields in the JSON form of audit records."""
VERSION_FIELDS = (
    "description",
    "tags",
    "params",
    "metrics",
    "files",
    "format",
    "model_file",
    "framework",
    "digest",
    "created_by",
    "created_at",
    "references",
    "folds",
    "artifact_deletion",
    "lineage",
    "job_id",
)
JOB_FIELDS = (
    "model",
    "version",
    "created_by",
    "created_at",
    "queue",
    "labels",
    "parameters",
    "data_from",
    "data_until",
    "fence",
    "follow_up",
)
"""The fields that are not changed by heartbeats and expired leases, which are not recorded."""
APPROVAL_FIELDS = (
    "version",
    "digest",
    "to",
    "reason",
    "functions",
    "requested_by",
    "requested_at",
    "conditions",
    "evidence",
    "expires_at",
    "decisions",
    "withdrawn_by",
    "transition",
)
"""The fields that do not follow from these and the time."""
NOT_HALTED: Fields = {"halt": None}
UNDESCRIBED: Fields = {"description": "", "tags": {}, "inventory": to_json(Inventory())}
"""The fields of a model that was created by the registration of a version."""


@dataclass(frozen=True)
class Aspect:
    """A group of fields of a table, and the kinds of records of which the last one about a row determines them.

    Attributes:
        table: the table.
        kinds: reads the fields from a record of each kind; None if the row was deleted.
        key: returns the key of the row to which a record refers.
        row_key: returns the key of a row.
        row_fields: reads the fields from a row.
        weak: kinds that count only if no record came before.
        default: the fields of a row without a record; None if each row must have a record.
    """

    table: type[Any]
    kinds: Mapping[Kind, Callable[[Fields], Fields | None]]
    key: Callable[[AuditRow], Hashable]
    row_key: Callable[[Any], Hashable]
    row_fields: Callable[[Session, Any], Fields]
    weak: frozenset[Kind] = frozenset()
    default: Fields | None = None


def fields_of(*names: str) -> Callable[[Fields], Fields]:
    """Return a function that selects fields of a payload; those that an older server did not record are left out."""
    return lambda payload: {name: payload[name] for name in names if name in payload}


def _all_fields(payload: Fields) -> Fields:
    return payload


def _deleted(_said: Fields) -> None:
    return None


def _of_model(record: AuditRow) -> Hashable:
    return record.model


def _of_version(record: AuditRow) -> Hashable:
    return record.model, record.version


def _named(field: str) -> Callable[[AuditRow], Hashable]:
    """Return a function that reads the key of a row from a record's payload."""
    return lambda record: str(json.loads(record.payload)[field])


def _model_fields(_session: Session, row: ModelRow) -> Fields:
    return to_json(to_model(row, 0))


def _version_fields(_session: Session, row: VersionRow) -> Fields:
    return to_json(to_version(row))


def _job(payload: Fields) -> Fields:
    succeeded = payload["state"] == JobState.SUCCEEDED
    return fields_of(*JOB_FIELDS, *(["successor"] if succeeded else []))(payload)


def _drill(payload: Fields) -> Fields:
    """Return the fields of a drill; the answers to one that runs are not recorded before it ends."""
    return {name: value for name, value in payload.items() if payload["ended_at"] or name != "engines"}


def _ab_test(session: Session, row: AbTestRow) -> Fields:
    conclusion = get_ab_test(session, row.test).conclusion
    if conclusion is None:
        return {"concluded": False}
    return {"concluded": True, "winner": conclusion.winner, "action": conclusion.action}


ASPECTS = (
    Aspect(
        ModelRow,
        {
            Kind.MODEL: fields_of("description", "tags", "created_at", "inventory"),
            Kind.REGISTERED: lambda payload: UNDESCRIBED | {"created_at": payload["created_at"]},
        },
        _of_model,
        lambda row: row.name,
        _model_fields,
        weak=frozenset({Kind.REGISTERED}),
    ),
    Aspect(
        ModelRow,
        {Kind.HALTED: lambda payload: {"halt": payload}, Kind.RESUMED: lambda _: NOT_HALTED},
        _of_model,
        lambda row: row.name,
        _model_fields,
        default=NOT_HALTED,
    ),
    Aspect(
        ModelRow,
        {Kind.REGISTERED: lambda payload: {"latest_version": payload["version"]}},
        _of_model,
        lambda row: row.name,
        _model_fields,
        default={"latest_version": 0},
    ),
    Aspect(
        VersionRow,
        {Kind.REGISTERED: fields_of(*VERSION_FIELDS), Kind.VERSION: fields_of(*VERSION_FIELDS)},
        _of_version,
        lambda row: (row.model, row.version),
        _version_fields,
    ),
    Aspect(  # No change of a version alters what its trials say, so only its registration records all of it.
        VersionRow,
        {Kind.REGISTERED: fields_of("overfitting")},
        _of_version,
        lambda row: (row.model, row.version),
        _version_fields,
    ),
    Aspect(
        VersionRow,
        {
            Kind.REGISTERED: fields_of("stage", "stage_since"),
            Kind.TRANSITION: lambda payload: {"stage": payload["to_stage"], "stage_since": payload["moved_at"]},
        },
        _of_version,
        lambda row: (row.model, row.version),
        _version_fields,
    ),
    Aspect(
        PolicyRow,
        {Kind.POLICY: _all_fields},
        _of_model,
        lambda row: row.model,
        lambda session, row: to_json(get_policy(session, row.model)),
    ),
    Aspect(
        DriftPolicyRow,
        {Kind.DRIFT_POLICY: _all_fields},
        _of_model,
        lambda row: row.model,
        lambda session, row: to_json(get_drift_policy(session, row.model)),
    ),
    Aspect(
        RetrainingPolicyRow,
        {Kind.RETRAINING_POLICY: _all_fields},
        _of_model,
        lambda row: row.model,
        lambda session, row: to_json(get_retraining_policy(session, row.model)),
    ),
    Aspect(
        ScheduleRow,
        {Kind.SCHEDULE: _all_fields, Kind.SCHEDULE_DELETED: _deleted},
        _named("schedule_id"),
        lambda row: row.schedule_id,
        lambda _, row: to_json(to_schedule(row)),
    ),
    Aspect(
        JobRow,
        {Kind.JOB: _job},
        _named("job_id"),
        lambda row: row.job_id,
        lambda _, row: to_json(to_job(row, datetime.min.replace(tzinfo=UTC))),
    ),
    Aspect(
        AbTestRow,
        {
            Kind.AB_TEST: lambda _: {"concluded": False},
            Kind.AB_TEST_CONCLUDED: lambda payload: {"concluded": True, **fields_of("winner", "action")(payload)},
        },
        _named("test"),
        lambda row: row.test,
        _ab_test,
    ),
    Aspect(
        ApprovalRow,
        {Kind.APPROVAL: fields_of(*APPROVAL_FIELDS)},
        _named("approval_id"),
        lambda row: row.approval_id,
        lambda _, row: to_json(to_approval(row)),
    ),
    Aspect(
        FindingRow,
        {Kind.FINDING: _all_fields},
        _named("finding_id"),
        lambda row: row.finding_id,
        lambda _, row: to_json(to_finding(row)),
    ),
    Aspect(
        ReviewRow,
        {Kind.REVIEW: _all_fields},
        _named("review_id"),
        lambda row: row.review_id,
        lambda _, row: to_json(to_review(row)),
    ),
    Aspect(
        DrillRow,
        {Kind.DRILL: _drill},
        _named("drill_id"),
        lambda row: row.drill_id,
        lambda session, row: to_json(to_drills(session, [row])[0]),
    ),
    Aspect(
        GrantRow,
        {Kind.GRANT: _all_fields},
        _named("id"),
        lambda row: row.grant_id,
        lambda _, row: to_json(to_record(row)),
    ),
)
