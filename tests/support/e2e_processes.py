"""The processes of the loop: what the worker does for a job, and an engine that follows the model."""

import sys
import time
from typing import Any

import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

from modelward import Client, Job


def train(job: Job, client: Client) -> None:
    """Fit a model to the data that the job's parameters name, and register it."""
    table: Any = pq.read_table(job.parameters["data"])
    data = table.to_pandas()
    features, label = data[["fast", "slow"]].to_numpy(), data["label"]
    client.heartbeat_job(job, progress=0.5, message=f"{len(data)} rows read")
    client.register(job.model, LogisticRegression().fit(features, label), reference=data[["fast", "slow"]], job=job)


def trade(server: str, model: str, folder: str) -> None:
    """Print the version that decides and its decision, whenever that is another version, until killed."""
    with Client(server, actor="engine") as client, client.follow(model, cache=folder, engine="engine-1") as live:
        before = 0
        while True:
            current = live.current
            if current.version.version != before:
                before = current.version.version
                print(before, current.model.predict([[2.0, 0.0]])[0], flush=True)
            time.sleep(0.02)


if __name__ == "__main__":
    trade(*sys.argv[1:])
