"""The life of a job: pending, leased, and succeeded or failed. Pure functions of a job and of an explicit now.

A lease that runs out ends its attempt at that very instant, whenever somebody looks next: `settled` says how a job
stands, so every replica and every reader agrees without anybody's clock having to tick.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from modelward.errors import JobAlreadyLeased, JobNotHeld, NotDue
from modelward.retraining import Job, JobFailure, JobState

MAX_ATTEMPTS = 3
"""How often a job is tried: once, and twice more for what passes by itself, as a lost machine."""
FIRST_WAIT = timedelta(minutes=1)
"""How long a job waits after its first failure; the wait doubles with each further one."""
DEFAULT_LEASE = timedelta(minutes=10)


def settled(job: Job, now: datetime) -> Job:
    """Return how a job stands at `now`: one whose lease has run out is no longer held."""
    expiry = job.lease_expires_at
    if job.state is not JobState.LEASED or expiry is None or now < expiry:
        return job
    return _attempt_failed(job, "the lease ran out without a heartbeat", expiry, available_at=expiry, give_up=False)


def is_open(job: Job) -> bool:
    return job.state in {JobState.PENDING, JobState.LEASED}


def lease(job: Job, holder: str, span: timedelta, now: datetime) -> Job:
    """Give a pending job to a holder.

    Raises:
        JobAlreadyLeased: somebody holds it.
        NotDue: it waits after a failure.
        JobNotHeld: it has ended.
    """
    job = settled(job, now)
    if job.state is JobState.LEASED:
        raise JobAlreadyLeased(
            f"{job.holder} has the job until {job.lease_expires_at:%Y-%m-%d %H:%M:%S} UTC",
            model=job.model,
            job_id=job.job_id,
            holder=job.holder,
        )
    if not is_open(job):
        raise _not_held(job, f"has {job.state}")
    if now < job.available_at:
        waits = f"after a failure its job waits until {job.available_at:%Y-%m-%d %H:%M:%S} UTC"
        raise NotDue(f"{job.model} is due, but {waits}", model=job.model)
    return replace(
        job,
        state=JobState.LEASED,
        holder=holder,
        lease_expires_at=now + span,
        attempt=job.attempt + 1,
        updated_at=now,
    )


def heartbeat(job: Job, holder: str, attempt: int, span: timedelta, now: datetime) -> Job:
    """Let a lease hold for `span` from now on, never for less than it does already.

    Raises:
        JobNotHeld: this holder does not have it, or not in this attempt.
    """
    job = held(job, holder, attempt, now)
    assert job.lease_expires_at is not None
    return replace(job, lease_expires_at=max(job.lease_expires_at, now + span), updated_at=now)


def complete(job: Job, holder: str, attempt: int, successor: int, now: datetime) -> Job:
    """End a job with the version that came of it.

    Raises:
        JobNotHeld: this holder does not have it, or not in this attempt.
    """
    job = held(job, holder, attempt, now)
    return replace(
        job, state=JobState.SUCCEEDED, successor=successor, lease_expires_at=None, updated_at=now, ended_at=now
    )


def fail(job: Job, holder: str, attempt: int, reason: str, give_up: bool, now: datetime) -> Job:
    """End an attempt: the job waits for the next one, or has failed for good.

    Raises:
        JobNotHeld: this holder does not have it, or not in this attempt.
    """
    job = held(job, holder, attempt, now)
    wait = FIRST_WAIT * 2 ** (job.attempt - 1)
    return _attempt_failed(job, reason, now, available_at=now + wait, give_up=give_up)


def held(job: Job, holder: str, attempt: int, now: datetime) -> Job:
    """Return the job as it stands, if this holder has it in this attempt; 0 means whichever attempt.

    Raises:
        JobNotHeld: it has ended, its lease ran out, or another has it.
    """
    job = settled(job, now)
    if job.state is not JobState.LEASED:
        raise _not_held(job, f"is {job.state}; the lease of attempt {job.attempt} has ended")
    if job.holder != holder:
        raise _not_held(job, f"is held by {job.holder}, not by {holder}")
    if attempt not in {0, job.attempt}:
        raise _not_held(job, f"is held for attempt {job.attempt}, not {attempt}")
    return job


def _attempt_failed(job: Job, reason: str, at: datetime, *, available_at: datetime, give_up: bool) -> Job:
    final = give_up or job.attempt >= job.max_attempts
    return replace(
        job,
        state=JobState.FAILED if final else JobState.PENDING,
        failures=(*job.failures, JobFailure(job.attempt, job.holder, reason, at)),
        lease_expires_at=None,
        available_at=available_at,
        updated_at=at,
        ended_at=at if final else None,
    )


def _not_held(job: Job, why: str) -> JobNotHeld:
    return JobNotHeld(f"the job {job.job_id} {why}", job_id=job.job_id, state=job.state)
