"""The overview says of all models what the calls about one model say, and what is worst comes first."""

import random
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from modelward import (
    AsyncClient,
    AttentionKind,
    Client,
    LoadFailure,
    ModelOverview,
    OnPerformance,
    Overview,
    Role,
    RolloutState,
    SchedulePolicy,
    Severity,
    errors,
)
from modelward.drift import DriftReport
from modelward.lifecycle import Stage, VersionRef
from modelward.overview import DriftPoint, EngineCounts, OverviewTotals
from modelward.retraining import JobState
from modelward_server import identity
from modelward_server.actor_context import ActorContext
from modelward_server.drift.all_alarms import active_drift_alarms, latest_reports, performance_alarms
from modelward_server.drift.performance_alarms import active_performance_alarm
from modelward_server.drift.reports import ReportFilter, keep_report, list_reports
from modelward_server.governance.overview import MAX_REPORTS, get_overview
from modelward_server.governance.promotion_evidence import drift_alarm
from modelward_server.identity import Identity
from modelward_server.lifecycle.models import get_model
from modelward_server.lifecycle.queries import ModelFilter, list_models
from modelward_server.lifecycle.rollout import get_rollout
from modelward_server.lifecycle.transition_queries import list_transitions
from modelward_server.lifecycle.versions import get_version
from modelward_server.retraining.all_due import Due, Monitoring, all_due
from modelward_server.retraining.repository import latest_job, to_job
from modelward_server.retraining.schedule_inputs import due_model
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.monitoring_tables import ObserverRow
from modelward_server.storage.outcome_tables import JudgedPeriodRow
from modelward_server.storage.tables import VersionRow
from tests.support.running_server import RunningServer
from tests.support.scale import FULL

MODELS = 8
SEEDS = range(30 if FULL else 2)
LATER = [timedelta(0), timedelta(seconds=90), timedelta(hours=3), timedelta(days=40)]
"""How much later the ledger is read: leases run out, engines fall silent, and schedules become due."""
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Filler:
    """Fills a ledger at random, by the calls where they are fast, and by rows where something has to be measured."""

    def __init__(self, server: RunningServer, client: Client, file: Path, seed: int, prefix: str) -> None:
        self.ledger, self.client, self.file = server.app.ledger, client, file
        self.random, self.prefix = random.Random(seed), prefix

    def fill(self) -> None:
        for number in range(MODELS):
            self.model(f"{self.prefix}{number:02d}")

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def model(self, name: str) -> None:
        self.client.create_model(name)
        versions = self.random.choice([0, 1, 1, 2, 3])
        for version in range(1, versions + 1):
            self.client.register(name, self.file, metrics={"ic": 0.5})
            self.monitoring(VersionRef(name, version))
        for version in self.random.sample(range(1, versions + 1), self.random.randint(0, versions)):
            self._promote(f"{name}/{version}")
        if versions:
            self.engines(name, versions)
        self.retraining(name, versions)
        if self.chance(0.2):
            self.client.halt(name, reason="no data")

    def _promote(self, version: str) -> None:
        self.client.promote(version, to="staging")
        with suppress(errors.GatesFailed):  # A trial has found that it is unusable.
            self.client.promote(version, to="production", reason="best")

    def engines(self, name: str, versions: int) -> None:
        for number in range(self.random.randint(0, 4)):
            failure = LoadFailure(self.random.randint(1, versions), "no library") if self.chance(0.3) else None
            silence = timedelta(seconds=self.random.choice([1, 60, 7200, 2 * 10**6]))
            version = VersionRef(name, self.random.randint(1, versions))
            self.client.report_active(version, engine=f"engine-{number}", silent_after=silence, failure=failure)

    def monitoring(self, ref: VersionRef) -> None:
        now = datetime.now(UTC)
        if self.chance(0.3):
            self.client.log_metrics(ref, {"ic": self.random.choice([0.2, 0.6])})
        with self.ledger.writing() as session:
            for number in range(self.random.choice([0, 1, 3, 25])):
                at = now + timedelta(seconds=self.random.choice([number, 9]))
                report = _report(ref, self.random.random(), detected=self.chance(0.3))
                keep_report(session, report, ActorContext("monitor", at), observed=self.chance(0.4))
            for number in range(self.random.choice([0, 0, 1, 3])):
                session.add(_period(ref, number, now + timedelta(seconds=number // 2), declined=self.chance(0.5)))
            for number in range(self.random.choice([0, 0, 0, 1, 2])):
                session.add(_observer(ref, number, now + timedelta(seconds=1 + number)))
            if self.chance(0.2):
                trial = {"trial_result": "unusable", "trial_reason": "it is no model", "tried_at": now}
                own = (VersionRow.model == ref.model, VersionRow.version == ref.version)
                session.execute(update(VersionRow).where(*own).values(**trial))

    def retraining(self, name: str, versions: int) -> None:
        if self.chance(0.6):
            self.schedule(name)
        for _ in range(self.random.choice([0, 0, 1, 2])):
            self.job(name, versions)

    def schedule(self, name: str) -> None:
        policy = SchedulePolicy(
            jobs_per_day=self.random.choice([0, 1]), cool_down=timedelta(hours=self.random.choice([0, 2]))
        )
        bound: dict[str, float] = self.random.choice([{"below": 0.4}, {"fallen_by": 0.1}, {"above": 0.55}])
        performance = [OnPerformance("ic", **bound), OnPerformance("accuracy", below=0.0)]
        schedule = self.client.create_schedule(
            name,
            every=self.random.choice([None, timedelta(minutes=1), timedelta(days=30)]),
            cron=self.random.choice([None, "0 12 * * *"]),
            drift=self.random.choice([True, 0.5]),
            performance=performance[: self.random.randint(0, 2)],
            policy=policy,
        )
        if self.chance(0.2):
            self.client.pause_schedule(schedule.schedule_id)

    def job(self, name: str, versions: int) -> None:
        self.client.request_retraining(name, reason="new vendor")
        if self.chance(0.3):
            return
        try:
            job = self.client.lease_job(name, holder="worker", lease=timedelta(seconds=self.random.choice([60, 7200])))
        except (errors.NotDue, errors.JobAlreadyLeased):
            return
        if versions and self.chance(0.4):
            self.client.complete_job(job, self.client.register(name, self.file, job=job))
        elif self.chance(0.6):
            self.client.fail_job(job, "no memory", give_up=self.chance(0.5))


def _report(ref: VersionRef, score: float, *, detected: bool) -> DriftReport:
    now = datetime.now(UTC)
    return DriftReport(
        report_id=uuid4().hex,
        version=ref,
        reference="training",
        label="",
        created_at=now,
        created_by="",
        rows=9,
        reference_rows=9,
        drift_detected=detected,
        score=score,
        confidence=0.9,
        drivers=(),
        summary="",
        features=(),
        caveats=(),
    )


def _period(ref: VersionRef, number: int, judged_at: datetime, *, declined: bool) -> JudgedPeriodRow:
    start = BEGINNING + timedelta(days=number)
    times = {"starts_at": start, "ends_at": start + timedelta(days=1), "judged_at": judged_at}
    values = {"metric": "accuracy", "value": 0.4, "baseline": 0.6, "p_value": 0.001, "declined": declined}
    return JudgedPeriodRow(model=ref.model, version=ref.version, **times, **values)


def _observer(ref: VersionRef, number: int, since: datetime) -> ObserverRow:
    key = {"model": ref.model, "version": ref.version, "reference": "training", "sender": f"s{number}"}
    return ObserverRow(**key, alarm_report=uuid4().hex, alarm_score=0.9, alarm_since=since)


@dataclass(frozen=True)
class Filled:
    """A ledger that was filled, up to a time."""

    ledger: Ledger
    at: datetime
    prefixes: tuple[str, ...]
    """Of the names of each random registry's models."""


@pytest.fixture(scope="module")
def filled(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    file = tmp_path_factory.mktemp("overview") / "model.bin"
    file.write_bytes(b"weights")
    prefixes = tuple(f"{uuid4().hex[:8]}-{seed}-" for seed in SEEDS)
    with Client(server.target, actor="ada") as client:
        for seed, prefix in zip(SEEDS, prefixes, strict=True):
            Filler(server, client, file, seed, prefix).fill()
    return Filled(server.app.ledger, datetime.now(UTC), prefixes)


def one_by_one(session: Session, name: str, now: datetime) -> ModelOverview:
    """Return what the calls about one model say of its version in production."""
    model = get_model(session, name)
    ref = VersionRef(name, model.production_version)
    version, due = get_version(session, ref), due_model(session, name, now)
    reports = list_reports(session, ReportFilter(name, ref.version), MAX_REPORTS, "").items
    declined = active_performance_alarm(session, ref, BEGINNING)
    moves = list_transitions(session, ref, None, None, 99, "").items
    states = [engine.state for engine in get_rollout(session, name, now).engines]
    return ModelOverview(
        model=name,
        version=ref.version,
        since=version.stage_since,
        promoted_by=next(move.actor for move in moves if move.to_stage is Stage.PRODUCTION),
        halt=model.halt,
        trial=version.trial,
        drift=tuple(DriftPoint(one.report_id, one.score, one.drift_detected, one.created_at) for one in reports[::-1]),
        drift_alarm=drift_alarm(session, ref),
        performance_alarm=declined[0] if declined else None,
        engines=_count(states),
        due_reasons=tuple(dict.fromkeys(one.rule or one.summary for one in due.reasons)) if due else (),
        severity=Severity.OK,
    )


def _count(states: list[RolloutState]) -> EngineCounts:
    return EngineCounts(len(states), **{state.value: states.count(state) for state in RolloutState})


def all_pages(session: Session, prefix: str, size: int, now: datetime) -> list[Overview]:
    pages = [get_overview(session, prefix, size, "", now)]
    while token := pages[-1].next_page_token:
        pages.append(get_overview(session, prefix, size, token, now))
    return pages


def names_of(session: Session, prefix: str, stages: tuple[Stage, ...] = ()) -> list[str]:
    return [model.name for model in list_models(session, ModelFilter(prefix, stages), 1000, "").items]


@pytest.mark.system  # It fills a registry of many models.
@pytest.mark.parametrize("later", LATER, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.weekly("postgresql")
def test_overview_equals_the_calls_about_one_model(filled: Filled, seed: int, later: timedelta) -> None:
    prefix, now = filled.prefixes[seed], filled.at + later
    with filled.ledger.reading() as session:
        pages = all_pages(session, prefix, 5, now)
        found = {model.model: replace(model, severity=Severity.OK) for page in pages for model in page.models}
        expected = {name: one_by_one(session, name, now) for name in names_of(session, prefix, (Stage.PRODUCTION,))}
        assert found == expected
        assert {page.totals for page in pages} == {_totals(session, prefix, now, expected)}


def _totals(session: Session, prefix: str, now: datetime, models: dict[str, ModelOverview]) -> OverviewTotals:
    names = names_of(session, prefix)
    states = [engine.state for name in names for engine in get_rollout(session, name, now).engines]
    jobs = [to_job(row, now).state for name in names if (row := latest_job(session, name))]
    due = [found for name in names if (found := due_model(session, name, now)) and found.reasons]
    return OverviewTotals(
        registered=len(names),
        in_production=len(models),
        halted=sum(get_model(session, name).halt is not None for name in names),
        drift_alarms=sum(model.drift_alarm is not None for model in models.values()),
        performance_alarms=sum(model.performance_alarm is not None for model in models.values()),
        engines_not_converged=len(states) - states.count(RolloutState.CONVERGED),
        due=len(due),
        jobs_pending=jobs.count(JobState.PENDING),
        jobs_leased=jobs.count(JobState.LEASED),
        jobs_dead=jobs.count(JobState.FAILED),
    )


@pytest.mark.system  # It fills a registry of many models.
@pytest.mark.parametrize("later", LATER, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.weekly("postgresql")
def test_reasons_of_all_due_models_are_those_of_each(filled: Filled, seed: int, later: timedelta) -> None:
    prefix, now = filled.prefixes[seed], filled.at + later
    with filled.ledger.reading() as session:
        known = Monitoring(
            active_drift_alarms(session, prefix), latest_reports(session, prefix), performance_alarms(session, prefix)
        )
        each = {name: due_model(session, name, now) for name in names_of(session, prefix)}
        expected = {name: Due(due.reasons, due.problems) for name, due in each.items() if due}
        assert all_due(session, prefix, known, now) == expected
        assert expected


@pytest.mark.system
def test_worst_is_first_on_all_pages_and_in_the_list_of_attention(filled: Filled) -> None:
    now = filled.at + timedelta(hours=3)
    with filled.ledger.reading() as session:
        pages = all_pages(session, filled.prefixes[0], 3, now)
    models = [model for page in pages for model in page.models]
    order = list(Severity)
    assert [(-order.index(one.severity), one.model) for one in models] == sorted(
        (-order.index(one.severity), one.model) for one in models
    )
    attention = pages[0].attention
    assert pages[0].attention_total >= len(attention) > 0
    assert [order.index(one.severity) for one in attention] == sorted(
        (order.index(one.severity) for one in attention), reverse=True
    )
    assert all(one.text and one.next_step for one in attention)


@pytest.mark.system
def test_client_of_some_models_sees_only_those(filled: Filled) -> None:
    client = Identity("ann", Role.VIEWER, (filled.prefixes[0],))
    with filled.ledger.reading() as session:
        whole = get_overview(session, filled.prefixes[0], 0, "", filled.at)
        token = identity.current.set(client)
        try:
            own = get_overview(session, "", 0, "", filled.at)
            assert names_of(session, "") == names_of(session, filled.prefixes[0])
        finally:
            identity.current.reset(token)
    unrelated = [one for one in own.attention if one.model]
    assert (own.totals, own.models) == (whole.totals, whole.models)
    assert unrelated == [one for one in whole.attention if one.model]
    assert all(one.model.startswith(filled.prefixes[0]) for one in unrelated)


@pytest.mark.system
async def test_what_needs_attention_says_what_to_do(
    server: RunningServer, client: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    for number in (1, 2):
        await client.register(name, tmp_path / "model.bin")
        await client.promote(f"{name}/{number}", to="staging")
        await client.promote(f"{name}/{number}", to="production", reason="it passed its tests")
    await client.report_active(f"{name}/1", engine="ny4-01", failure=LoadFailure(2, "no library"))
    await client.request_retraining(name)
    job = await client.lease_job(name, holder="worker")
    await client.fail_job(job, "no memory", give_up=True)
    overview = await client.get_overview(name_prefix=name)
    kinds = [(one.kind, one.severity, one.subject) for one in overview.attention]
    assert kinds == [
        (AttentionKind.ENGINES_FAILED, Severity.CRITICAL, "ny4-01"),
        (AttentionKind.JOB_DEAD, Severity.WARNING, job.job_id),
    ]
    assert overview.attention[0].text == f"1 of 1 engines could not load {name}/2, such as ny4-01: no library"
    [model] = overview.models
    assert (model.promoted_by, model.severity) == ("tester", Severity.CRITICAL)
    await client.halt(name, reason="no data")
    halted = await client.get_overview(name_prefix=name)
    assert [one.kind for one in halted.attention] == [AttentionKind.HALTED, AttentionKind.JOB_DEAD]
    assert (halted.totals.halted, halted.totals.engines_not_converged) == (1, 1)


async def test_page_of_more_than_50_models_is_refused(client: AsyncClient) -> None:
    with pytest.raises(errors.InvalidField) as refused:
        await client.get_overview(page_size=51)
    assert refused.value.violations[0].field == "page_size"
