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
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import grpc
from filled import Store, Took, fill_ledger, fill_mlflow, served, time_in_turn
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert

from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.storage.drift_tables import DriftReportRow
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.tables import EngineRow, TransitionRow

VERSIONS = 2
REPORTS, ENGINES = 20, 3
REPORT_BYTES = 4000
"""About the size of a report of ten features."""


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
        _add_state(url, store)
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


def _add_state(url: str, store: Store) -> None:
    """Add the promotions, drift reports and engines of the models."""
    ledger, numbers = Ledger(url), range(store.models)
    _insert(ledger, TransitionRow, (_transition(store, number) for number in numbers))
    _insert(ledger, DriftReportRow, (_report(store, *one) for one in product(numbers, range(REPORTS))))
    _insert(ledger, EngineRow, (_engine(store, *one) for one in product(numbers, range(ENGINES))))
    ledger.close()


def _insert(ledger: Ledger, table: Any, rows: Iterator[dict[str, Any]]) -> None:
    with ledger.writing() as session:
        session.execute(insert(table), list(rows))


def _transition(store: Store, model: int) -> dict[str, Any]:
    moved = {"from_stage": "staging", "to_stage": "production", "actor": "nightly", "reason": "better"}
    ref = {"model": store.model(model), "version": store.versions}
    return {"sequence": model + 1, **ref, **moved, "moved_at": datetime.now(UTC)}


def _report(store: Store, model: int, number: int) -> dict[str, Any]:
    score = (model * 7 + number * 13) % 100 / 100
    return {
        "report_id": f"report-{model}-{number}",
        "model": store.model(model),
        "version": store.versions,
        "created_at": datetime.now(UTC) - timedelta(hours=REPORTS - number),
        "drift_detected": score > 0.95,
        "score": score,
        "observed": number % 2 == 0,
        "report": {"summary": "x" * REPORT_BYTES},
    }


def _engine(store: Store, model: int, number: int) -> dict[str, Any]:
    now, lags = datetime.now(UTC), (model * ENGINES + number) % 50 == 0
    times = {"reported_at": now, "gone_at": now + timedelta(days=1)}
    version = store.versions - lags
    return {"model": store.model(model), "engine": f"engine-{number}", "version": version, **times}


def _table(took: dict[str, Took]) -> Table:
    table = Table("call")
    for heading in ("p50", "p99"):
        table.add_column(heading, justify="right")
    for name, one in took.items():
        table.add_row(name, f"{one.p50:.1f}", f"{one.p99:.1f}")
    return table


if __name__ == "__main__":
    main()
