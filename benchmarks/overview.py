"""The overview of many models, beside an empty call and MLflow's search of as many registered models, in one run.

    python benchmarks/overview.py [--models 1000] [--database-url postgresql+psycopg://…]

Each model has a version in production, 20 drift reports and 3 engines. Ours are asked over gRPC, the server in a
process of its own. The empty call is a health check. The peer is `MlflowClient` in this process, on a SQLite store:
names, tags and latest versions, without drift, engines and counts. Both stores are filled by bulk inserts. The load of
the machine is printed before and after.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from filled import Store, Took, fill_ledger, fill_mlflow, fill_state, served, time_in_turn
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console
from rich.table import Table

from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub

VERSIONS = 2


@dataclass(frozen=True)
class _Timed:
    """A call that is timed."""

    call: Callable[[], object]

    def prepare(self) -> None:
        """Do nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database to use instead of SQLite")
    parser.add_argument("--times", type=int, default=30)
    given = parser.parse_args()
    store = Store(given.models, VERSIONS)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        client = fill_mlflow(Path(folder, "mlflow.db"), store)
        url = given.database_url or f"sqlite:///{folder}/ledger.db"
        fill_ledger(url, store)
        fill_state(url, store)
        with served(Path(folder), given.database_url) as target, grpc.insecure_channel(target) as channel:
            took = time_in_turn(dict(_calls(channel, client, given.models)), given.times)
    Console(width=120).print(_table(took))
    print(f"{store}, {os.cpu_count()} cores, load {before:.1f} before and {os.getloadavg()[0]:.1f} after; milliseconds")


def _calls(channel: grpc.Channel, client: Any, models: int) -> Iterator[tuple[str, _Timed]]:
    lifecycle: Any = LifecycleServiceStub(channel)
    health: Any = health_pb2_grpc.HealthStub(channel)
    second = lifecycle.GetOverview(pb.GetOverviewRequest()).next_page_token
    yield "empty call", _Timed(lambda: health.Check(health_pb2.HealthCheckRequest()))
    yield "overview", _Timed(lambda: lifecycle.GetOverview(pb.GetOverviewRequest()))
    yield "overview, second page", _Timed(lambda: lifecycle.GetOverview(pb.GetOverviewRequest(page_token=second)))
    yield "overview of 1 in 20", _Timed(lambda: lifecycle.GetOverview(pb.GetOverviewRequest(name_prefix="model-07")))
    yield "MLflow, 50 models", _Timed(lambda: client.search_registered_models(max_results=50))
    yield "MLflow, all models", _Timed(lambda: client.search_registered_models(max_results=models))


def _table(took: dict[str, Took]) -> Table:
    table = Table("call")
    for heading in ("p50", "p99"):
        table.add_column(heading, justify="right")
    for name, one in took.items():
        table.add_row(name, f"{one.p50:.1f}", f"{one.p99:.1f}")
    return table


if __name__ == "__main__":
    main()
