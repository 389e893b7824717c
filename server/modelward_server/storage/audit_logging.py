"""Log lines for alarms and job states, written once their audit records are committed."""

import logging

from sqlalchemy.orm import Session

from modelward.lifecycle import DriftAlarm, PerformanceAlarm
from modelward.retraining import Job
from modelward.shared.figures import beside, metric, score
from modelward_server.runtime.best_effort import best_effort

log = logging.getLogger(__name__)

LINES = "lines_after_commit"
"""Key under which a session keeps the lines to log."""


@best_effort
def log_after_commit(session: Session, payload: object) -> None:
    """Log the payload of an audit record once its transaction is committed, if its type is one that is logged."""
    line = _line(payload)
    if line:
        level = logging.INFO if isinstance(payload, Job) else logging.WARNING
        session.info.setdefault(LINES, []).append((level, line))


def log_committed(session: Session) -> None:
    """Log the lines of a transaction that is committed."""
    for level, line in session.info.pop(LINES, ()):
        _log(level, line)


def number_of_lines(session: Session) -> int:
    """Return how many lines a transaction will log."""
    return len(session.info.get(LINES, ()))


def drop_lines(session: Session, number: int) -> None:
    """Drop the lines after the first `number`: their changes were rolled back."""
    del session.info.setdefault(LINES, [])[number:]


@best_effort
def _log(level: int, line: str) -> None:
    log.log(level, line)


def _line(payload: object) -> str:
    if isinstance(payload, DriftAlarm):
        return f"drift alarm: {payload.version} has a score of {score(payload.score)} (report {payload.report_id})"
    if isinstance(payload, PerformanceAlarm):
        value, before = beside(payload.value, payload.baseline, metric)
        return f"performance alarm: {payload.version}: {payload.metric} is {value} after {before}"
    return _job_line(payload) if isinstance(payload, Job) else ""


def _job_line(job: Job) -> str:
    line = f"{job.job_id} of {job.model} is {job.state}"
    if job.follow_up is not None:
        return f"{line}, then {job.follow_up.state}: {job.follow_up.reason}"
    if job.failures and job.failures[-1].attempt == job.attempt and not job.lease_expires_at:
        return f"{line} after attempt {job.attempt}: {job.failures[-1].reason}"
    return f"{line} by {job.holder}, attempt {job.attempt}" if job.lease_expires_at else line
