"""The life of a job, as a state machine against a simple model of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelward.errors import JobAlreadyLeased, JobNotHeld, ModelwardError, NotDue
from modelward.retraining import Job, JobState
from modelward_server.retraining import job_states as life
from modelward_server.retraining.job_states import LeaseClaim

T0 = datetime(2024, 1, 1, tzinfo=UTC)
HOLDERS = st.sampled_from(["ada", "bob"])
SPANS = st.timedeltas(timedelta(seconds=1), timedelta(hours=1))


def new_job() -> Job:
    return Job("job-1", "spx", 3, JobState.PENDING, (), "", None, 0, life.MAX_ATTEMPTS, T0, (), 0, "ada", T0, T0, None)


class JobLife(RuleBasedStateMachine):
    """Anybody may try anything at any time; what is granted must fit a model of three facts."""

    def __init__(self) -> None:
        super().__init__()
        self.job, self.now = new_job(), T0
        self.holder, self.until, self.leases, self.done = "", T0, 0, False

    @rule(seconds=st.integers(0, 5000))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(holder=HOLDERS, span=SPANS)
    def somebody_leases(self, holder: str, span: timedelta) -> None:
        before = life.job_at(self.job, self.now)
        free = before.state is JobState.PENDING and self.now >= before.available_at
        try:
            self.job = life.lease(self.job, holder, span, 1, self.now)
        except (JobAlreadyLeased, JobNotHeld, NotDue):
            assert not free
        else:
            assert free
            assert self.now >= self.until or not self.holder
            self.holder, self.until, self.leases = holder, self.now + span, self.leases + 1
            assert self.job.attempt == self.leases

    @rule(holder=HOLDERS, stale=st.integers(0, 2), span=SPANS)
    def somebody_beats(self, holder: str, stale: int, span: timedelta) -> None:
        attempt = max(self.leases - stale, 0)
        if self._tried(holder, attempt, lambda: life.heartbeat(self.job, LeaseClaim(holder, attempt), span, self.now)):
            assert self.job.lease_expires_at is not None
            assert self.job.lease_expires_at >= self.until
            self.until = self.job.lease_expires_at

    @rule(holder=HOLDERS, stale=st.integers(0, 2))
    def somebody_completes(self, holder: str, stale: int) -> None:
        attempt = max(self.leases - stale, 0)
        if self._tried(holder, attempt, lambda: life.complete(self.job, LeaseClaim(holder, attempt), 4, self.now)):
            assert self.job.state is JobState.SUCCEEDED
            self.holder, self.done = "", True

    @rule(holder=HOLDERS, stale=st.integers(0, 2), give_up=st.booleans())
    def somebody_fails(self, holder: str, stale: int, give_up: bool) -> None:
        attempt = max(self.leases - stale, 0)
        if self._tried(
            holder, attempt, lambda: life.fail(self.job, LeaseClaim(holder, attempt), "no data", give_up, self.now)
        ):
            assert (self.job.state is JobState.FAILED) == (give_up or self.leases == life.MAX_ATTEMPTS)
            assert self.job.failures[-1].reason == "no data"
            self.holder = ""

    def _tried(self, holder: str, attempt: int, change: Callable[[], Job]) -> bool:
        holds = self.holder == holder and self.now < self.until and attempt in {0, self.leases}
        try:
            self.job = change()
        except JobNotHeld:
            assert not holds
            return False
        assert holds
        return True

    @invariant()
    def what_has_ended_stays_as_it_was(self) -> None:
        seen = life.job_at(self.job, self.now)
        assert life.job_at(seen, self.now + timedelta(days=9999)) == seen or life.is_open(seen)
        assert (seen.ended_at is None) == life.is_open(seen)

    @invariant()
    def looking_early_or_late_shows_the_same(self) -> None:
        assert life.job_at(life.job_at(self.job, self.now), self.now) == life.job_at(self.job, self.now)

    @invariant()
    def attempts_are_bounded(self) -> None:
        assert self.job.attempt <= life.MAX_ATTEMPTS
        assert len(self.job.failures) <= self.job.attempt

    @precondition(lambda self: self.done)
    @rule(holder=HOLDERS)
    def nobody_takes_what_is_done(self, holder: str) -> None:
        with pytest.raises(ModelwardError):
            life.lease(self.job, holder, timedelta(hours=1), 1, self.now)


TestJobLife = JobLife.TestCase


def test_a_holder_that_beats_keeps_the_job_past_its_first_lease() -> None:
    job = life.lease(new_job(), "ada", timedelta(minutes=10), 1, T0)
    job = life.heartbeat(job, LeaseClaim("ada", 1), timedelta(minutes=10), T0 + timedelta(minutes=9))
    assert life.complete(job, LeaseClaim("ada", 1), 4, T0 + timedelta(minutes=18)).successor == 4


def test_a_worker_that_lost_its_lease_cannot_complete_in_its_successors_place() -> None:
    job = life.lease(new_job(), "ada", timedelta(minutes=1), 1, T0)
    job = life.lease(job, "ada", timedelta(minutes=10), 1, T0 + timedelta(minutes=2))
    with pytest.raises(JobNotHeld, match="attempt 2, not 1"):
        life.complete(job, LeaseClaim("ada", 1), 4, T0 + timedelta(minutes=3))


def test_waits_double_with_each_failure_and_the_third_is_final() -> None:
    job, now, waits = new_job(), T0, []
    while life.is_open(job):
        job = life.lease(job, "ada", timedelta(minutes=10), 1, now)
        job = life.fail(job, LeaseClaim("ada", 0), "no data", False, now)
        waits.append(job.available_at - now)
        now = job.available_at
    assert waits == [timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)]
    assert job.state is JobState.FAILED


def test_a_lease_that_runs_out_ends_its_attempt_at_that_instant_whoever_looks_when() -> None:
    job = life.lease(new_job(), "ada", timedelta(minutes=1), 1, T0)
    assert life.job_at(job, T0 + timedelta(seconds=59)) == job
    seen = life.job_at(job, T0 + timedelta(minutes=1))
    assert seen == life.job_at(job, T0 + timedelta(days=365))
    assert seen.state is JobState.PENDING
    assert seen.failures[0].failed_at == T0 + timedelta(minutes=1)
