"""The worker's loop: lease, start, keep the lease while the work runs, and say how it ended."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from modelward import Client
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

IDLE_WAIT = timedelta(seconds=5)
"""How long one call waits for a job; a worker that is told to stop has none in between."""
LOOK_SECONDS = 0.2
"""How often the worker looks whether the work has ended or it is told to stop."""
PAUSE_SECONDS = 1.0
"""How long the worker waits before it asks again a server that does not answer."""
AWAY = (Unavailable, DeadlineExceeded)


@dataclass(frozen=True)
class Plan:
    """Which jobs a worker takes, and how long it lets them run."""

    holder: str
    queue: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    lease: timedelta = timedelta(minutes=1)
    """How long a job is held without a heartbeat; one is sent after each third of it."""
    time_limit: timedelta | None = None
    """How long a job may run; None: as long as it takes."""
    grace: timedelta = timedelta(seconds=30)
    """How long a job may go on when the worker is told to stop; then it is given back."""


@dataclass(frozen=True)
class Interrupted:
    """Why the worker ended work that had not ended by itself."""

    reason: str
    release: bool = False
    """Whether another worker may take the job at once."""
    lost: bool = False
    """Whether the job is no longer held, so that there is nothing more to say."""


class Worker:
    """Does one job after the other.

    Args:
        client: its timeout should be shorter than a third of the lease.
        start: begins the work on a job.
        say: is told in a line what happens.
    """

    def __init__(self, client: Client, start: Callable[[Job], Run], plan: Plan, say: Callable[[str], None]) -> None:
        self._client = client
        self._start = start
        self._plan = plan
        self._say = say
        self._stopping = threading.Event()
        self._stop_at = float("inf")

    def stop(self) -> None:
        """Let `run` return: at once without a job, and with one when it has ended or the grace is over."""
        self._stop_at = time.monotonic() + self._plan.grace.total_seconds()
        self._stopping.set()

    def run(self) -> None:
        """Work until told to stop."""
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
            self._say(f"{job.job_id}: {self._done(job)}")
        except JobNotHeld as error:
            self._say(f"{job.job_id}: lost, {error}")
        except ModelwardError as error:
            self._say(f"{job.job_id}: {error}")

    def _done(self, job: Job) -> str:
        """Do a job and return what came of it."""
        if job.successor:  # An earlier attempt died after it had registered: there is nothing left to train.
            return self._complete(job, job.successor, "")
        try:
            run = self._start(job)
        except OSError as error:
            return self._fail(job, f"the work could not be started: {error}")
        try:
            return self._told(job, run, self._attend(job, run))
        finally:
            run.stop()

    def _attend(self, job: Job, run: Run) -> Interrupted | None:
        """Keep the lease until the work has ended; say why when it was ended before."""
        beat = self._plan.lease.total_seconds() / 3
        limit = self._plan.time_limit
        end, next_beat = time.monotonic() + (limit.total_seconds() if limit else float("inf")), time.monotonic() + beat
        while not run.finished(LOOK_SECONDS):
            now = time.monotonic()
            if now >= self._stop_at:
                return Interrupted("the worker was told to stop", release=True)
            if now >= end:
                return Interrupted(f"it took longer than {limit}")
            if now >= next_beat:
                self._beat(job)
                next_beat = now + beat
            if time.monotonic() >= self._held_until:
                return Interrupted("the server did not answer for as long as the lease held", lost=True)
        return None

    def _beat(self, job: Job) -> None:
        """Extend the lease; a server that is away for less than the lease does no harm."""
        sent = time.monotonic()
        try:
            self._client.heartbeat_job(job)
        except AWAY as error:
            self._say(f"{job.job_id}: no heartbeat: {error}")
        else:
            self._held_until = sent + self._plan.lease.total_seconds()

    def _told(self, job: Job, run: Run, interrupted: Interrupted | None) -> str:
        """Tell the server how the work ended."""
        if interrupted and interrupted.lost:
            return interrupted.reason
        if interrupted:
            run.stop()
            return self._fail(job, interrupted.reason, release=interrupted.release)
        if failure := run.failure():
            return self._fail(job, failure)
        seen: Job = self._sure(lambda: self._client.get_job(job.job_id))
        if seen.state is JobState.SUCCEEDED:
            return f"succeeded with {seen.model}/{seen.successor}"  # The work has told the server by itself.
        if not seen.successor:
            return self._fail(job, "it ended without registering a version with the job's id and fence")
        return self._complete(job, seen.successor, run.log())

    def _complete(self, job: Job, successor: int, log: str) -> str:
        self._sure(lambda: self._client.complete_job(job, successor, log=log))
        return f"succeeded with {job.model}/{successor}"

    def _fail(self, job: Job, reason: str, release: bool = False) -> str:
        self._sure(lambda: self._client.fail_job(job, reason, release=release))
        return f"{'given back' if release else 'failed'}: {reason}"

    def _sure(self, call: Callable[[], Job]) -> Job:
        """Call until the server answers, as long as the lease holds."""
        while True:
            try:
                return call()
            except AWAY:
                if time.monotonic() >= self._held_until:
                    raise
                time.sleep(LOOK_SECONDS)


def _why(job: Job) -> str:
    return "; ".join(reason.summary for reason in job.reasons)
