"""Which fields of which tables the audit log records, and how a row shows them in the words of its records.

What no record tells of is not here: docs/security.md lists it.
"""

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from sqlalchemy.orm import Session

from modelward.retraining import JobState
from modelward_server.abtest.repository import get_ab_test
from modelward_server.drift.policies import get_drift_policy
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.repository import to_model, to_version
from modelward_server.retraining.policies import get_retraining_policy
from modelward_server.retraining.repository import to_job, to_schedule
from modelward_server.security.grants import to_record
from modelward_server.storage.ab_tables import AbTestRow
from modelward_server.storage.audit import Kind, to_json
from modelward_server.storage.drift_tables import DriftPolicyRow
from modelward_server.storage.retraining_tables import JobRow, RetrainingPolicyRow, ScheduleRow
from modelward_server.storage.security_tables import GrantRow
from modelward_server.storage.tables import AuditRow, ModelRow, PolicyRow, VersionRow

Fields: TypeAlias = dict[str, Any]
"""Fields as the JSON of records has them."""
VERSION_FACTS = (
    "description",
    "tags",
    "params",
    "metrics",
    "files",
    "format",
    "framework",
    "digest",
    "created_by",
    "created_at",
    "references",
    "artifact_deletion",
)
JOB_FACTS = (
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
"""What heartbeats and leases that run out, which are not on record, leave alone."""
NOT_HALTED: Fields = {"halt": None}


@dataclass(frozen=True)
class Aspect:
    """Some fields of a table's rows, and the records of which the last one about a row says what they are.

    Attributes:
        kinds: what a record of each kind says of the fields; None when the row is gone.
        key: of the row that a record is about.
        found: what a row shows of them.
        weak: kinds that count only where no record came before.
        without: what they are where there is no record; None where each row must have one.
    """

    table: type[Any]
    kinds: Mapping[Kind, Callable[[Fields], Fields | None]]
    key: Callable[[AuditRow], Hashable]
    row_key: Callable[[Any], Hashable]
    found: Callable[[Session, Any], Fields]
    weak: frozenset[Kind] = frozenset()
    without: Fields | None = None


def picked(*names: str) -> Callable[[Fields], Fields]:
    """Return what takes these fields of a payload; one that an older server did not record is left out."""
    return lambda said: {name: said[name] for name in names if name in said}


def _whole(said: Fields) -> Fields:
    return said


def _gone(_said: Fields) -> None:
    return None


def _of_model(record: AuditRow) -> Hashable:
    return record.model


def _of_version(record: AuditRow) -> Hashable:
    return record.model, record.version


def _named(field: str) -> Callable[[AuditRow], Hashable]:
    """Return what reads the key of a row from its records."""
    return lambda record: str(json.loads(record.payload)[field])


def _model_fields(_session: Session, row: ModelRow) -> Fields:
    return to_json(to_model(row, 0))


def _version_fields(_session: Session, row: VersionRow) -> Fields:
    return to_json(to_version(row))


def _job(said: Fields) -> Fields:
    succeeded = said["state"] == JobState.SUCCEEDED
    return picked(*JOB_FACTS, *(["successor"] if succeeded else []))(said)


def _ab_test(session: Session, row: AbTestRow) -> Fields:
    found = get_ab_test(session, row.test).conclusion
    return {"concluded": True, "winner": found.winner, "action": found.action} if found else {"concluded": False}


ASPECTS = (
    Aspect(
        ModelRow,
        {
            Kind.MODEL: picked("description", "tags", "created_at"),
            Kind.REGISTERED: lambda said: {"description": "", "tags": {}, "created_at": said["created_at"]},
        },
        _of_model,
        lambda row: row.name,
        _model_fields,
        weak=frozenset({Kind.REGISTERED}),
    ),
    Aspect(
        ModelRow,
        {Kind.HALTED: lambda said: {"halt": said}, Kind.RESUMED: lambda _: NOT_HALTED},
        _of_model,
        lambda row: row.name,
        _model_fields,
        without=NOT_HALTED,
    ),
    Aspect(
        ModelRow,
        {Kind.REGISTERED: lambda said: {"latest_version": said["version"]}},
        _of_model,
        lambda row: row.name,
        _model_fields,
        without={"latest_version": 0},
    ),
    Aspect(
        VersionRow,
        {Kind.REGISTERED: picked(*VERSION_FACTS), Kind.VERSION: picked(*VERSION_FACTS)},
        _of_version,
        lambda row: (row.model, row.version),
        _version_fields,
    ),
    Aspect(
        VersionRow,
        {
            Kind.REGISTERED: picked("stage", "stage_since"),
            Kind.TRANSITION: lambda said: {"stage": said["to_stage"], "stage_since": said["moved_at"]},
        },
        _of_version,
        lambda row: (row.model, row.version),
        _version_fields,
    ),
    Aspect(
        PolicyRow,
        {Kind.POLICY: _whole},
        _of_model,
        lambda row: row.model,
        lambda session, row: to_json(get_policy(session, row.model)),
    ),
    Aspect(
        DriftPolicyRow,
        {Kind.DRIFT_POLICY: _whole},
        _of_model,
        lambda row: row.model,
        lambda session, row: to_json(get_drift_policy(session, row.model)),
    ),
    Aspect(
        RetrainingPolicyRow,
        {Kind.RETRAINING_POLICY: _whole},
        _of_model,
        lambda row: row.model,
        lambda session, row: to_json(get_retraining_policy(session, row.model)),
    ),
    Aspect(
        ScheduleRow,
        {Kind.SCHEDULE: _whole, Kind.SCHEDULE_DELETED: _gone},
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
            Kind.AB_TEST_CONCLUDED: lambda said: {"concluded": True, **picked("winner", "action")(said)},
        },
        _named("test"),
        lambda row: row.test,
        _ab_test,
    ),
    Aspect(
        GrantRow,
        {Kind.GRANT: _whole},
        _named("id"),
        lambda row: row.grant_id,
        lambda _, row: to_json(to_record(row)),
    ),
)
