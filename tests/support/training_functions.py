"""What the workers of the tests do for a job."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from modelward import Client, Job


def train(job: Job, client: Client) -> None:
    """Register what the job's parameters say, and print that."""
    client.heartbeat_job(job, progress=0.5, message="halfway")
    print(f"trained {job.model} with {job.parameters}")
    with TemporaryDirectory() as folder:
        file = Path(folder, "model.bin")
        file.write_text(str(sorted(job.parameters.items())))
        client.register(job.model, file, params=job.parameters, job=job)


def train_slowly(job: Job, client: Client) -> None:
    """Take longer than any test waits, unless it is a later attempt."""
    if job.attempt == 1:
        client.heartbeat_job(job, progress=0.1, message="begun")
        time.sleep(600)
    train(job, client)


def break_down(job: Job, client: Client) -> None:
    """Fail with an error that nobody handles."""
    print("reading data")
    sys.exit("the vendor sent no data")


def miss(job: Job, client: Client) -> None:
    """Fail as a function does."""
    raise ValueError("the vendor sent no data")
