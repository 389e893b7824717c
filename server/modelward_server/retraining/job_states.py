"""The state machine of a job: pending, leased, and succeeded or failed. Pure functions of a job and of a given time.

A lease that expires ends its attempt at that instant, no matter when the job is read next: `job_at` computes the state
at a time, so every replica and every reader agrees without a background task.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelward.errors import JobAlreadyLeased, JobHasVersion, JobNotHeld, JobNotRetryable, NotDue
from modelward.retraining import Job, JobFailure, JobState

MAX_ATTEMPTS = 3
"""Maximum number of attempts: one, and two more for transient failures such as a lost machine."""
FIRST_WAIT = timedelta(minutes=1)
"""The delay after the first failure of a job; it doubles with each further one."""
MAX_WAIT = timedelta(hours=6)
DEFAULT_LEASE = timedelta(minutes=10)


@dataclass(frozen=True)
class LeaseClaim:
    """The claim of a worker to hold a job, by which lease."""

    holder: str
    attempt: int = 0
    """0: any attempt of the holder."""
    fence: int = 0
    """0: any fence of the holder."""


def job_at(job: Job, now: datetime) -> Job:
    """Return the state of a job at `now`: a job whose lease has expired is no longer held."""
    expiry = job.lease_expires_at
    if job.state is not JobState.LEASED or expiry is None or now < expiry:
        return job
    return _attempt_failed(job, "the lease ran out without a heartbeat", expiry, available_at=expiry, give_up=False)


def is_open(job: Job) -> bool:
    return job.state in {JobState.PENDING, JobState.LEASED}


def lease(job: Job, holder: str, duration: timedelta, fence: int, now: datetime) -> Job:
    """Lease a pending job to a holder.

    Args:
        job: the job.
        holder: the name of the worker.
        duration: the duration of the lease.
        fence: a number greater than that of every earlier lease.
        now: the time of the lease.

    Raises:
        JobAlreadyLeased: another worker holds it.
        NotDue: it waits after a failure.
        JobNotHeld: it has ended.
    """
    job = job_at(job, now)
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
        why = f"after a failure its job waits until {job.available_at:%Y-%m-%d %H:%M:%S} UTC"
        raise NotDue(f"{job.model} is due, but {why}", model=job.model)
    return replace(
        job,
        state=JobState.LEASED,
        holder=holder,
        lease_expires_at=now + duration,
        attempt=job.attempt + 1,
        fence=fence,
        progress=0.0,
        progress_message="",
        updated_at=now,
    )


def heartbeat(job: Job, by: LeaseClaim, duration: timedelta, now: datetime) -> Job:
    """Extend a lease to `duration` from now; it is never shortened.

    Raises:
        JobNotHeld: this holder does not have it, or not in this attempt.
    """
    job = held(job, by, now)
    assert job.lease_expires_at is not None
    return replace(job, lease_expires_at=max(job.lease_expires_at, now + duration), updated_at=now)


def registered(job: Job, fence: int, version: int, now: datetime) -> Job:
    """Record the version that is registered for a job; there is only one.

    Raises:
        JobNotHeld: the lease of that fence has ended.
        JobHasVersion: a version was registered before.
    """
    job = job_at(job, now)
    if job.state is not JobState.LEASED or job.fence != fence:
        raise _not_held(job, f"is {job.state} with the fence {job.fence}; the lease of the fence {fence} has ended")
    if job.successor:
        raise JobHasVersion(
            f"{job.model}/{job.successor} was registered for the job {job.job_id}; complete the job with it",
            job_id=job.job_id,
            model=job.model,
            version=job.successor,
        )
    return replace(job, successor=version, updated_at=now)


def complete(job: Job, by: LeaseClaim, successor: int, now: datetime) -> Job:
    """Complete a job with the version that it produced.

    Raises:
        JobNotHeld: this holder does not have it, or not in this attempt.
        JobHasVersion: another version was registered for it.
    """
    job = held(job, by, now)
    if job.successor not in {0, successor}:
        registered(job, job.fence, successor, now)
    return replace(
        job, state=JobState.SUCCEEDED, successor=successor, lease_expires_at=None, updated_at=now, ended_at=now
    )


def fail(job: Job, by: LeaseClaim, reason: str, give_up: bool, now: datetime) -> Job:
    """End an attempt: the job waits for the next one, or has failed permanently.

    A version that was registered for it is no longer its result.

    Raises:
        JobNotHeld: this holder does not have it, or not in this attempt.
    """
    job = replace(held(job, by, now), successor=0)
    wait = min(FIRST_WAIT * 2 ** (job.attempt - 1), MAX_WAIT)
    return _attempt_failed(job, reason, now, available_at=now + wait, give_up=give_up)


def release(job: Job, by: LeaseClaim, reason: str, now: datetime) -> Job:
    """Release a job: it may be leased immediately, and the attempt does not count.

    Raises:
        JobNotHeld: this holder does not have it, or not in this attempt.
    """
    job = held(job, by, now)
    uncounted = replace(job, max_attempts=job.max_attempts + 1)
    return _attempt_failed(uncounted, reason, now, available_at=now, give_up=False)


def retry(job: Job, now: datetime) -> Job:
    """Make a permanently failed job pending again, with the initial number of attempts.

    Raises:
        JobNotRetryable: it has not failed permanently.
    """
    job = job_at(job, now)
    if job.state is not JobState.FAILED:
        raise not_retryable(job, f"is {job.state}; only a permanently failed job can be retried")
    attempts = job.attempt + MAX_ATTEMPTS
    return replace(job, state=JobState.PENDING, max_attempts=attempts, available_at=now, updated_at=now, ended_at=None)


def held(job: Job, by: LeaseClaim, now: datetime) -> Job:
    """Return the state of a job, if this holder has it in this lease.

    Raises:
        JobNotHeld: it has ended, its lease has expired, or another worker holds it.
    """
    job = job_at(job, now)
    if job.state is not JobState.LEASED:
        raise _not_held(job, f"is {job.state}; the lease of attempt {job.attempt} has ended")
    if job.holder != by.holder:
        raise _not_held(job, f"is held by {job.holder}, not by {by.holder}")
    if by.attempt not in {0, job.attempt}:
        raise _not_held(job, f"is held for attempt {job.attempt}, not {by.attempt}")
    if by.fence not in {0, job.fence}:
        raise _not_held(job, f"is held with the fence {job.fence}, not {by.fence}")
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


def not_retryable(job: Job, why: str) -> JobNotRetryable:
    return JobNotRetryable(f"the job {job.job_id} {why}", job_id=job.job_id, state=job.state)


def _not_held(job: Job, why: str) -> JobNotHeld:
    return JobNotHeld(f"the job {job.job_id} {why}", job_id=job.job_id, state=job.state)
