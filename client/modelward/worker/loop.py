"""The worker's loop: lease a job, run it, send heartbeats while it runs, and report the result."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from modelward.errors import (
    DeadlineExceeded,
    JobAlreadyLeased,
    JobNotHeld,
    ModelwardError,
    NotDue,
    Unavailable,
)
from modelward.retraining import Job, JobState
from modelward.worker.running import Run

if TYPE_CHECKING:
    from modelward import Client

IDLE_WAIT = timedelta(seconds=5)
"""How long one call waits for a job; a stopped worker makes no further call."""
POLL_SECONDS = 0.2
"""Polling interval for the end of the work and for a stop request."""
PAUSE_SECONDS = 1.0
"""Delay before the next attempt when the server does not respond."""
AWAY = (Unavailable, DeadlineExceeded)


@dataclass(frozen=True)
class Plan:
    """Which jobs a worker takes, and how long it lets them run."""

    holder: str
    """The worker's name, such as `trainer-7`."""
    queue: str = ""
    """Only jobs of this queue; any when empty."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Only jobs with all of these labels."""
    lease: timedelta = timedelta(minutes=1)
    """Duration of a lease without a heartbeat; a heartbeat is sent after each third of it."""
    time_limit: timedelta | None = None
    """Maximum duration of a job; None means no limit."""
    grace: timedelta = timedelta(seconds=30)
    """How long a job may continue after the worker was stopped; then it is released."""


@dataclass(frozen=True)
class Interrupted:
    """Why the worker ended work before it finished."""

    reason: str
    release: bool = False
    """Whether another worker may take the job at once."""
    lost: bool = False
    """Whether the job is no longer held, so that nothing can be reported."""


class Worker:
    """Runs jobs one after the other.

    Args:
        client: its timeout should be shorter than a third of the lease.
        start: starts the work on a job.
        plan: which jobs it takes, and for how long.
        say: called with each progress line.
    """

    def __init__(self, client: "Client", start: Callable[[Job], Run], plan: Plan, say: Callable[[str], None]) -> None:
        self._client = client
        self._start = start
        self._plan = plan
        self._say = say
        self._stopping = threading.Event()
        self._stop_at = float("inf")

    def stop(self) -> None:
        """Make `run` return: at once without a job, otherwise when the job has ended or the grace period is over."""
        self._stop_at = time.monotonic() + self._plan.grace.total_seconds()
        self._stopping.set()

    def run(self) -> None:
        """Run jobs until stopped."""
        while not self._stopping.is_set():
            if job := self._lease():
                self._work(job)

    def _lease(self) -> Job | None:
        plan = self._plan
        try:
            return self._client.lease_job(
                holder=plan.holder, lease=plan.lease, queue=plan.queue, labels=plan.labels, wait=IDLE_WAIT
            )
        except (NotDue, JobAlreadyLeased):
            return None
        except AWAY as error:
            self._say(f"waiting for the server: {error}")
            self._stopping.wait(PAUSE_SECONDS)
            return None

    def _work(self, job: Job) -> None:
        self._held_until = time.monotonic() + self._plan.lease.total_seconds()
        self._say(f"{job.job_id}: attempt {job.attempt} for {job.model}, because {_why(job)}")
        try:
            self._say(f"{job.job_id}: {self._perform(job)}")
        except JobNotHeld as error:
            self._say(f"{job.job_id}: lost, {error}")
        except ModelwardError as error:
            self._say(f"{job.job_id}: {error}")

    def _perform(self, job: Job) -> str:
        """Run a job and return its result in words."""
        if job.successor:  # An earlier attempt died after registering its version: there is nothing left to train.
            return self._complete(job, job.successor, "")
        try:
            run = self._start(job)
        except OSError as error:
            return self._fail(job, f"the work could not be started: {error}")
        try:
            return self._report(job, run, self._wait_for(job, run))
        finally:
            run.stop()

    def _wait_for(self, job: Job, run: Run) -> Interrupted | None:
        """Send heartbeats until the work has ended; return the reason if it was interrupted."""
        beat = self._plan.lease.total_seconds() / 3
        limit = self._plan.time_limit
        end, next_beat = time.monotonic() + (limit.total_seconds() if limit else float("inf")), time.monotonic() + beat
        while not run.finished(POLL_SECONDS):
            now = time.monotonic()
            if now >= self._stop_at:
                return Interrupted("the worker was stopped", release=True)
            if now >= end:
                return Interrupted(f"it took longer than {limit}")
            if now >= next_beat:
                self._heartbeat(job)
                next_beat = now + beat
            if time.monotonic() >= self._held_until:
                return Interrupted("the server did not respond for the duration of the lease", lost=True)
        return None

    def _heartbeat(self, job: Job) -> None:
        """Extend the lease; an outage of the server shorter than the lease is harmless."""
        sent = time.monotonic()
        try:
            self._client.heartbeat_job(job)
        except AWAY as error:
            self._say(f"{job.job_id}: no heartbeat: {error}")
        else:
            self._held_until = sent + self._plan.lease.total_seconds()

    def _report(self, job: Job, run: Run, interrupted: Interrupted | None) -> str:
        """Report to the server how the work ended."""
        if interrupted and interrupted.lost:
            return interrupted.reason
        if interrupted:
            run.stop()
            return self._fail(job, interrupted.reason, release=interrupted.release)
        if failure := run.failure():
            return self._fail(job, failure)
        current: Job = self._retried(lambda: self._client.get_job(job.job_id))
        if current.state is JobState.SUCCEEDED:
            return f"succeeded with {current.model}/{current.successor}"  # The work itself has completed the job.
        if not current.successor:
            return self._fail(job, "it ended without registering a version with the job's id and fence")
        return self._complete(job, current.successor, run.log())

    def _complete(self, job: Job, successor: int, log: str) -> str:
        self._retried(lambda: self._client.complete_job(job, successor, log=log))
        return f"succeeded with {job.model}/{successor}"

    def _fail(self, job: Job, reason: str, release: bool = False) -> str:
        self._retried(lambda: self._client.fail_job(job, reason, release=release))
        return f"{'released' if release else 'failed'}: {reason}"

    def _retried(self, call: Callable[[], Job]) -> Job:
        """Repeat a call until the server responds, as long as the lease holds."""
        while True:
            try:
                return call()
            except AWAY:
                if time.monotonic() >= self._held_until:
                    raise
                time.sleep(POLL_SECONDS)


def _why(job: Job) -> str:
    return "; ".join(reason.summary for reason in job.reasons)
