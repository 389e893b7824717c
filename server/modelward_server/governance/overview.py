"""The overview: what needs attention, counts over all models, and the models in production.

It gives what the calls about one model give, by a fixed number of queries.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelward.lifecycle import DriftAlarm, RolloutState, VersionRef
from modelward.overview import EngineCounts, ModelOverview, Overview, OverviewTotals, Severity
from modelward.retraining import JobState
from modelward_server.drift.all_alarms import active_drift_alarms, latest_reports, performance_alarms, recent_scores
from modelward_server.drift.reports import ReportSummary
from modelward_server.governance.attention import RegistryState, find_attention, urgency, worst_by_model
from modelward_server.lifecycle.states import (
    Engines,
    count_models,
    engine_states,
    engine_totals,
    halts,
    load_failures,
    productions,
    unusable,
    versions_in_production,
)
from modelward_server.retraining.all_due import Monitoring, all_due, newest_jobs
from modelward_server.storage.paging import is_listed, slice_page
from modelward_server.storage.tables import VersionRow

MAX_ATTENTION = 50
MAX_REPORTS = 20


def get_overview(session: Session, prefix: str, page_size: int, page_token: str, now: datetime) -> Overview:
    """Return the overview of the models that the client may see and whose names have a prefix.

    Raises:
        InvalidField: the token does not belong to this list.
    """
    state = _read_state(session, prefix, now)
    attention = find_attention(state, now)
    worst = worst_by_model(attention)

    def key(model: str) -> list[object]:
        return [-urgency(worst.get(model, Severity.OK)), model]

    # Of nearly all models nothing is wrong: sorting their names alone takes a fraction of the time.
    models = [*sorted(worst.keys() & state.in_production, key=key), *sorted(state.in_production.keys() - worst)]
    page = slice_page(session, models, key, page_size, page_token, ("overview", prefix))
    listed = attention[:MAX_ATTENTION]
    described = _describe(session, state, page.items, worst)
    return Overview(tuple(listed), len(attention), _totals(state), described, page.next_page_token)


def _read_state(session: Session, prefix: str, now: datetime) -> RegistryState:
    observed, reports = active_drift_alarms(session, prefix), latest_reports(session, prefix)
    declined, engines = performance_alarms(session, prefix), engine_states(session, prefix, now)
    jobs, stuck = newest_jobs(session, prefix, now)
    in_production = versions_in_production(session, prefix)
    behind, behind_since = _behind(session, prefix)
    return RegistryState(
        registered=count_models(session, prefix),
        halts=halts(session, prefix),
        in_production=in_production,
        unusable=unusable(session, prefix),
        engines=engines,
        failures=_failures(session, engines, now),
        drift_alarms=_with_reports(in_production, reports) | observed,
        performance_alarms=declined,
        jobs=jobs,
        stuck=stuck,
        due=all_due(session, prefix, Monitoring(observed, reports, declined), now),
        behind=behind,
        behind_since=behind_since,
    )


def _with_reports(
    in_production: dict[str, int], reports: dict[str, ReportSummary]
) -> dict[str, tuple[DriftAlarm, datetime]]:
    """Return the alarms of versions whose newest report detected drift, as the gate of promotions counts them."""
    return {
        name: (DriftAlarm(VersionRef(name, in_production[name]), report.report_id, report.score), report.created_at)
        for name, report in reports.items()
        if report.drift_detected
    }


def _failures(session: Session, engines: dict[str, Engines], now: datetime) -> dict[tuple[str, str], str]:
    """Return why engines could not load the expected version, of the models that are listed."""
    failed = sorted(model for model, groups in engines.items() if RolloutState.FAILED in groups)
    return load_failures(session, failed[:MAX_ATTENTION], now) if failed else {}


def _behind(session: Session, prefix: str) -> tuple[int, datetime | None]:
    """Return how many versions MLflow does not show as they are, and when the first of them changed."""
    pending = select(func.count(), func.min(VersionRow.updated_at)).where(
        VersionRow.mirror_done != VersionRow.mirror_wanted, is_listed(VersionRow.model, prefix)
    )
    number, since = session.execute(pending).one()
    return number, since


def _totals(state: RegistryState) -> OverviewTotals:
    states = [job.state for job in state.jobs]
    return OverviewTotals(
        registered=state.registered,
        in_production=len(state.in_production),
        halted=len(state.halts),
        drift_alarms=len(state.drift_alarms),
        performance_alarms=len(state.performance_alarms),
        engines_not_converged=sum(group.number for groups in state.engines.values() for group in groups.values()),
        due=sum(bool(due.reasons) for due in state.due.values()),
        jobs_pending=states.count(JobState.PENDING),
        jobs_leased=states.count(JobState.LEASED),
        jobs_dead=states.count(JobState.FAILED),
    )


def _describe(
    session: Session, state: RegistryState, page: Sequence[str], worst: dict[str, Severity]
) -> tuple[ModelOverview, ...]:
    scores, engines = recent_scores(session, page, MAX_REPORTS), engine_totals(session, page)
    return tuple(
        ModelOverview(
            model=model,
            version=production.ref.version,
            since=production.since,
            promoted_by=production.promoted_by,
            halt=state.halts.get(model),
            trial=production.trial,
            drift=scores.get(model, ()),
            drift_alarm=state.drift_alarms.get(model, (None, None))[0],
            performance_alarm=state.performance_alarms.get(model, (None, None))[0],
            engines=_count(engines.get(model, 0), state.engines.get(model, {})),
            due_reasons=_reasons(state, model),
            severity=worst.get(model, Severity.OK),
        )
        for model, production in zip(page, productions(session, page), strict=True)
    )


def _count(total: int, engines: Engines) -> EngineCounts:
    others = {name.value: group.number for name, group in engines.items()}
    return EngineCounts(total, converged=total - sum(others.values()), **others)


def _reasons(state: RegistryState, model: str) -> tuple[str, ...]:
    due = state.due.get(model)
    return tuple(dict.fromkeys(reason.rule or reason.summary for reason in due.reasons)) if due else ()
