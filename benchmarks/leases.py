"""How many jobs a second are leased, and how many go to a worker and end: procrastinate and we, on one PostgreSQL.

    pip install procrastinate
    python benchmarks/leases.py --database-url postgresql://… [--jobs 1000] [--workers 8]

Ours: `modelward serve` over gRPC, every lease with a fence and a record in the audit log. First LeaseJobs takes all
jobs, a hundred at a time, and all are given back; then each worker of one asynchronous client leases a job and gives it
up, one after the other, which are two transactions. Peer: procrastinate's own query that fetches a job, by as many
workers at once; then its worker in this process on empty tasks: it fetches a job and writes down how it ended, without
a server, a fence, reasons or an audit log. The databases must be empty ones of their own.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from filled import served
from rich.console import Console
from rich.table import Table

from modelward import AsyncClient
from modelward.errors import NotDue
from modelward.retraining import Job

AT_ONCE = 100
"""How many jobs one call of LeaseJobs asks for."""


@dataclass(frozen=True)
class Rates:
    """Jobs a second."""

    leased: float
    done: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1000, help="how many jobs wait")
    parser.add_argument("--workers", type=int, default=8, help="how many are at work at once")
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database; empty: ours on SQLite alone")
    given = parser.parse_args()
    ours = asyncio.run(_measure(given.database_url, given.jobs, given.workers))
    table = Table("", "leased a second", "done a second", title=f"{given.jobs:,} jobs, {given.workers} workers")
    table.add_row("ours", f"{ours.leased:,.0f}", f"{ours.done:,.0f}")
    if given.database_url:
        peer = asyncio.run(_measure_peer(given.database_url, given.jobs, given.workers))
        table.add_row("procrastinate", f"{peer.leased:,.0f}", f"{peer.done:,.0f}")
        table.add_row("ours / peer", f"{ours.leased / peer.leased:.2f}", f"{ours.done / peer.done:.2f}")
    Console().print(table)


async def _measure(database_url: str, jobs: int, workers: int) -> Rates:
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), url) as target:
        async with AsyncClient(target, timeout=60) as client:
            for number in range(jobs):
                await client.create_model(f"model-{number}")
                await client.request_retraining(f"model-{number}")
            leased = await _rate(jobs, [_lease_all(client)])
            return Rates(leased, await _rate(jobs, [_work(client, f"worker-{n}") for n in range(workers)]))


async def _rate(jobs: int, workers: Sequence[Awaitable[list[float]]]) -> float:
    """Let workers work; each gives the moments at which it had a job done."""
    begin = time.perf_counter()
    ends = list(chain.from_iterable(await asyncio.gather(*workers)))
    assert len(ends) == jobs, len(ends)
    return jobs / (max(ends) - begin)


async def _lease_all(client: AsyncClient) -> list[float]:
    """Lease all jobs, note when, and give them back."""
    taken: list[Job] = []
    ends: list[float] = []
    with suppress(NotDue):
        while True:
            taken += await client.lease_jobs(holder="dispatcher", max_jobs=AT_ONCE)
            ends += [time.perf_counter()] * (len(taken) - len(ends))
    for job in taken:
        await client.fail_job(job, "measured", release=True)
    return ends


async def _work(client: AsyncClient, holder: str) -> list[float]:
    """Take jobs one by one until there is none."""
    ends: list[float] = []
    while True:
        try:
            job = await client.lease_job(holder=holder)
        except NotDue:
            return ends
        await client.fail_job(job, "measured", give_up=True)
        ends.append(time.perf_counter())


async def _measure_peer(database_url: str, jobs: int, workers: int) -> Rates:
    import procrastinate

    connector: Any = procrastinate.PsycopgConnector(conninfo=database_url, min_size=workers, max_size=workers + 2)
    app: Any = procrastinate.App(connector=connector)
    ends: list[float] = []

    @app.task(name="retrain")
    async def retrain(model: str) -> None:
        ends.append(time.perf_counter())

    async def defer() -> None:
        for number in range(jobs):
            await retrain.defer_async(model=f"model-{number}")

    async def fetch(worker: int) -> list[float]:
        taken: list[float] = []
        while await app.job_manager.fetch_job(queues=None, worker_id=worker):
            taken.append(time.perf_counter())
        return taken

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await defer()
        worker = await app.job_manager.register_worker()
        leased = await _rate(jobs, [fetch(worker) for _ in range(workers)])
        await defer()
        begin = time.perf_counter()
        await app.run_worker_async(concurrency=workers, wait=False, listen_notify=False)
        assert len(ends) == jobs, len(ends)
        return Rates(leased, jobs / (max(ends) - begin))


if __name__ == "__main__":
    main()
