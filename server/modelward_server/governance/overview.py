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
    ModelState,
    Production,
    engine_states,
    load_failures,
    model_states,
    promoters,
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
    in_production = [model for model in state.models.values() if model.production]

    def key(model: ModelState) -> list[object]:
        return [-urgency(worst.get(model.name, Severity.OK)), model.name]

    page = slice_page(session, sorted(in_production, key=key), key, page_size, page_token, ("overview", prefix))
    listed = attention[:MAX_ATTENTION]
    models = _describe(session, state, [model.production for model in page.items if model.production], worst)
    return Overview(tuple(listed), len(attention), _totals(state), models, page.next_page_token)


def _read_state(session: Session, prefix: str, now: datetime) -> RegistryState:
    observed, reports = active_drift_alarms(session, prefix), latest_reports(session, prefix)
    declined, engines = performance_alarms(session, prefix), engine_states(session, prefix, now)
    jobs, stuck = newest_jobs(session, prefix, now)
    models = {model.name: model for model in model_states(session, prefix)}
    behind, behind_since = _behind(session, prefix)
    return RegistryState(
        models=models,
        engines=engines,
        failures=_failures(session, engines, now),
        drift_alarms=_with_reports(models, reports) | observed,
        performance_alarms=declined,
        jobs=jobs,
        stuck=stuck,
        due=all_due(session, prefix, Monitoring(observed, reports, declined), now),
        behind=behind,
        behind_since=behind_since,
    )


def _with_reports(
    models: dict[str, ModelState], reports: dict[str, ReportSummary]
) -> dict[str, tuple[DriftAlarm, datetime]]:
    """Return the alarms of versions whose newest report detected drift, as the gate of promotions counts them."""
    return {
        name: (DriftAlarm(production.ref, report.report_id, report.score), report.created_at)
        for name, report in reports.items()
        if report.drift_detected and (production := models[name].production)
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
    models, states = state.models.values(), [job.state for job in state.jobs]
    return OverviewTotals(
        registered=len(models),
        in_production=sum(model.production is not None for model in models),
        halted=sum(model.halt is not None for model in models),
        drift_alarms=len(state.drift_alarms),
        performance_alarms=len(state.performance_alarms),
        engines_not_converged=sum(
            group.number
            for groups in state.engines.values()
            for of_state, group in groups.items()
            if of_state is not RolloutState.CONVERGED
        ),
        due=sum(bool(due.reasons) for due in state.due.values()),
        jobs_pending=states.count(JobState.PENDING),
        jobs_leased=states.count(JobState.LEASED),
        jobs_dead=states.count(JobState.FAILED),
    )


def _describe(
    session: Session, state: RegistryState, page: Sequence[Production], worst: dict[str, Severity]
) -> tuple[ModelOverview, ...]:
    refs = [production.ref for production in page]
    scores, by_whom = recent_scores(session, [ref.model for ref in refs], MAX_REPORTS), promoters(session, refs)
    return tuple(
        ModelOverview(
            model=ref.model,
            version=ref.version,
            since=production.since,
            promoted_by=by_whom.get(ref.model, ""),
            halt=state.models[ref.model].halt,
            trial=production.trial,
            drift=scores.get(ref.model, ()),
            drift_alarm=state.drift_alarms.get(ref.model, (None, None))[0],
            performance_alarm=state.performance_alarms.get(ref.model, (None, None))[0],
            engines=_count(state.engines.get(ref.model, {})),
            due_reasons=_reasons(state, ref),
            severity=worst.get(ref.model, Severity.OK),
        )
        for ref, production in zip(refs, page, strict=True)
    )


def _count(groups: Engines) -> EngineCounts:
    numbers = {state.value: group.number for state, group in groups.items()}
    return EngineCounts(total=sum(numbers.values()), **numbers)


def _reasons(state: RegistryState, ref: VersionRef) -> tuple[str, ...]:
    due = state.due.get(ref.model)
    return tuple(dict.fromkeys(reason.rule or reason.summary for reason in due.reasons)) if due else ()
