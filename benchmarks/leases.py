"""How many jobs a second go from the queue to a worker and end: procrastinate and we, on one PostgreSQL, in one run.

    pip install procrastinate
    python benchmarks/leases.py --database-url postgresql://… [--jobs 1000] [--workers 8]

Ours: `modelward serve` over gRPC; each worker of one asynchronous client leases a job and gives it up, which are two
transactions with an audit record each. Peer: procrastinate's worker in this process, with as many tasks at once, on
empty tasks: it fetches a job and writes down how it ended, without a server, a fence, reasons or an audit log.
The databases must be empty ones of their own.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from filled import served
from rich.console import Console
from rich.table import Table

from modelward import AsyncClient
from modelward.errors import NotDue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1000, help="how many jobs wait")
    parser.add_argument("--workers", type=int, default=8, help="how many are at work at once")
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database; empty: ours on SQLite alone")
    given = parser.parse_args()
    ours = asyncio.run(_measure(given.database_url, given.jobs, given.workers))
    table = Table("", "jobs a second", "ours / peer", title=f"{given.jobs:,} jobs, {given.workers} workers")
    table.add_row("ours", f"{ours:,.0f}")
    if given.database_url:
        peer = asyncio.run(_measure_peer(given.database_url, given.jobs, given.workers))
        table.add_row("procrastinate", f"{peer:,.0f}", f"{ours / peer:.2f}")
    Console().print(table)


async def _measure(database_url: str, jobs: int, workers: int) -> float:
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), url) as target:
        async with AsyncClient(target, timeout=60) as client:
            for number in range(jobs):
                await client.create_model(f"model-{number}")
                await client.request_retraining(f"model-{number}")
            begin = time.perf_counter()
            done = sum(await asyncio.gather(*(_work(client, f"worker-{number}") for number in range(workers))))
            assert done == jobs, done
            return jobs / (time.perf_counter() - begin)


async def _work(client: AsyncClient, holder: str) -> int:
    """Take jobs until there is none."""
    done = 0
    while True:
        try:
            job = await client.lease_job(holder=holder)
        except NotDue:
            return done
        await client.fail_job(job, "measured", give_up=True)
        done += 1


async def _measure_peer(database_url: str, jobs: int, workers: int) -> float:
    import procrastinate

    connector: Any = procrastinate.PsycopgConnector(conninfo=database_url, min_size=workers, max_size=workers + 2)
    app: Any = procrastinate.App(connector=connector)
    done = 0

    @app.task(name="retrain")
    async def retrain(model: str) -> None:
        nonlocal done
        done += 1

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for number in range(jobs):
            await retrain.defer_async(model=f"model-{number}")
        begin = time.perf_counter()
        await app.run_worker_async(concurrency=workers, wait=False, listen_notify=False)
        assert done == jobs, done
        return jobs / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
