"""Lists with conditions over 10,000 models of 10 versions: `MlflowClient`'s searches and ours, in one run.

    python benchmarks/listing.py [--models 10000] [--peer-models 10000] [--database-url postgresql+psycopg://…]

Ours are asked over gRPC in pages of 50, the server in a process of its own, on SQLite and on an empty PostgreSQL
database when one is named. The peer is `MlflowClient` in this process, on a SQLite store, with the search that comes
nearest; it knows no metrics of versions. Both stores are filled by bulk inserts.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from filled import BEGUN, Store, Took, fill_ledger, fill_mlflow, served, time_in_turn
from rich.console import Console
from rich.table import Table

from modelward.v1 import common_pb2 as common
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub

PAGE = 50
VERSIONS = 10
ARCHIVED, PRODUCTION = common.STAGE_ARCHIVED, common.STAGE_PRODUCTION


@dataclass(frozen=True)
class Query:
    """A list, as it is asked of us and of MLflow."""

    name: str
    ours: pb.ListModelVersionsRequest | pb.ListModelsRequest
    peer: str | None = None
    """MLflow's filter; None when it has none."""
    pages_before: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=10_000, help="models in our ledger")
    parser.add_argument("--peer-models", type=int, default=10_000, help="models in MLflow's store")
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database to measure too")
    parser.add_argument("--times", type=int, default=100, help="how often each of our lists is asked for")
    given = parser.parse_args()
    ours, peers = Store(given.models, VERSIONS), Store(given.peer_models, VERSIONS)
    with tempfile.TemporaryDirectory() as folder:
        columns = {"SQLite": _measure(Path(folder, "sqlite"), "", ours, given.times)}
        if given.database_url:
            columns["PostgreSQL"] = _measure(Path(folder, "postgresql"), given.database_url, ours, given.times)
        mlflow = _measure_mlflow(Path(folder, "mlflow.db"), peers)
    Console(width=160).print(_table(columns, mlflow), f"ours: {ours}, MLflow: {peers}; milliseconds, pages of {PAGE}")


def _queries(store: Store) -> Iterator[Query]:
    def versions(name: str, peer: str | None = None, pages_before: int = 0, **conditions: Any) -> Query:
        request = pb.ListModelVersionsRequest(page_size=PAGE, **conditions)
        return Query(name, request, peer, pages_before)

    last = store.models - 1
    middle = store.model(store.models // 2)
    ten = 1 - 10 / (store.models * store.versions)
    yield versions("all versions", "")
    yield versions("all versions, page 200", None, 200)
    yield versions("one model's", f"name = '{middle}'", model=middle)
    yield versions("production", "tags.stage = 'production'", stages=[PRODUCTION])
    yield versions(
        "production, by prefix",
        "name LIKE 'model-07%' AND tags.stage = 'production'",
        stages=[PRODUCTION],
        name_prefix="model-07",
    )
    yield versions("two stages", None, stages=[ARCHIVED, PRODUCTION])
    yield versions("a tag of one", "tags.run = 'run-4711'", tags={"run": "run-4711"})
    yield versions("a tag of 1 in 20", "tags.desk = 'desk-19'", tags={"desk": "desk-19"})
    yield versions("a tag of 1 in 2", "tags.half = '1'", tags={"half": "1"})
    yield versions("two tags", "tags.desk = 'desk-19' AND tags.half = '1'", tags={"desk": "desk-19", "half": "1"})
    yield versions("metric range of 10", metrics=[pb.MetricRange(key="accuracy", at_least=ten)])
    yield versions("metric range of half", metrics=[pb.MetricRange(key="accuracy", at_most=0.5)])
    yield versions(
        "metric, tag and stage",
        metrics=[pb.MetricRange(key="accuracy", at_least=0.99)],
        tags={"half": "0"},
        stages=[ARCHIVED],
    )
    yield versions("the last 10 made", created_after=store.created_at(last, 1))
    yield versions("the later half", created_after=BEGUN + timedelta(minutes=store.models * store.versions // 2))
    # The tenth version is always of the other half: many meet each condition, none meets all, and no page gets full.
    yield versions("nothing, of two that many meet", tags={"desk": "desk-19", "half": "0"}, stages=[PRODUCTION])
    yield Query("models", pb.ListModelsRequest(page_size=PAGE), "")
    prefix = pb.ListModelsRequest(page_size=PAGE, name_prefix="model-07")
    yield Query("models by prefix", prefix, "name LIKE 'model-07%'")
    desk = pb.ListModelsRequest(page_size=PAGE, tags={"desk": "desk-19"})
    yield Query("models by tag", desk, "tags.desk = 'desk-19'")
    yield Query("models by stage", pb.ListModelsRequest(page_size=PAGE, stages=[PRODUCTION]))
    yield Query("models by stage of none", pb.ListModelsRequest(page_size=PAGE, stages=[common.STAGE_TRAINING]))


@dataclass(frozen=True)
class _Asked:
    """A list that is asked for again and again."""

    call: Callable[[], object]

    def prepare(self) -> None:
        """Do nothing."""


def _measure(folder: Path, database_url: str, store: Store, times: int) -> dict[str, Took]:
    folder.mkdir()
    fill_ledger(database_url or f"sqlite:///{folder}/ledger.db", store)
    with served(folder, database_url) as target, grpc.insecure_channel(target) as channel:
        stub: Any = LifecycleServiceStub(channel)
        return time_in_turn({query.name: _Asked(_ours(stub, query)) for query in _queries(store)}, times)


def _ours(stub: Any, query: Query) -> Callable[[], object]:
    models = isinstance(query.ours, pb.ListModelsRequest)
    ask = stub.ListModels if models else stub.ListModelVersions
    for _ in range(query.pages_before):
        query.ours.page_token = ask(query.ours).next_page_token
    return lambda: ask(query.ours)


def _measure_mlflow(file: Path, store: Store) -> dict[str, Took]:
    client = fill_mlflow(file, store)
    asked = [query for query in _queries(store) if query.peer is not None]
    return time_in_turn({query.name: _Asked(_peer(client, query)) for query in asked}, 5)


def _peer(client: Any, query: Query) -> Callable[[], object]:
    models = isinstance(query.ours, pb.ListModelsRequest)
    search = client.search_registered_models if models else client.search_model_versions
    return lambda: search(query.peer, max_results=PAGE)


def _table(ours: dict[str, dict[str, Took]], mlflow: dict[str, Took]) -> Table:
    table = Table("list")
    for database in ours:
        table.add_column(f"ours, {database} p50", justify="right")
        table.add_column("p99", justify="right")
    table.add_column("MLflow, SQLite p50", justify="right")
    table.add_column("MLflow / ours", justify="right")
    for name, peer in ((name, mlflow.get(name)) for name in ours["SQLite"]):
        figures = [f"{figure:.1f}" for took in ours.values() for figure in (took[name].p50, took[name].p99)]
        against = [f"{peer.p50:.1f}", f"{peer.p50 / ours['SQLite'][name].p50:.1f}"] if peer else ["-", "-"]
        table.add_row(name, *figures, *against)
    return table


if __name__ == "__main__":
    main()
