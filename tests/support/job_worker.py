"""A worker of the race: it takes jobs, dawdles, registers and completes, until it is killed."""

import random
import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import cycle
from pathlib import Path

from modelward import Client, Job
from modelward.errors import Aborted, DeadlineExceeded, FailedPrecondition, NotDue, Unavailable

HOLDER = "worker"
"""The name of all workers: only the fence tells their leases apart."""
LEASE = timedelta(seconds=2)


def work_until_killed(targets: Sequence[str], queue: str, folder: Path, seed: int) -> None:
    """Work for one server after the other; go on to the next when one is away."""
    choice = random.Random(seed)
    for target in cycle(choice.sample(targets, len(targets))):
        with Client(target, actor=HOLDER, timeout=3.0) as client:
            try:
                while True:
                    _work(client, queue, folder, choice)
            except (Unavailable, DeadlineExceeded):
                continue


def _work(client: Client, queue: str, folder: Path, choice: random.Random) -> None:
    try:
        job = client.lease_job(holder=HOLDER, queue=queue, lease=LEASE, wait=timedelta(seconds=2))
    except (NotDue, Aborted):
        return
    try:
        _train(client, job, folder, choice)
    except FailedPrecondition as refused:  # The lease has run out: another has the job.
        with (folder / "refused.txt").open("a") as told:
            told.write(f"{refused.reason}\n")


def _train(client: Client, job: Job, folder: Path, choice: random.Random) -> None:
    time.sleep(choice.choice([0.0, 0.05, 0.2]))
    if choice.random() < 0.15:
        time.sleep(LEASE.total_seconds() + 0.5)  # As a machine that hangs.
    successor = job.successor
    if not successor:
        file = folder / f"{job.job_id}-{job.fence}.bin"
        file.write_text(job.job_id)
        tags = {"job": job.job_id, "fence": str(job.fence)}
        successor = client.register(job.model, file, tags=tags, job=job).version
    time.sleep(choice.choice([0.0, 0.1]))
    client.complete_job(job, successor)
