"""How long does a page take? 10,000 models of 10 versions each, in Modelward and in MLflow, in one run.

    python benchmarks/listing.py [--models 10000] [--database-url postgresql+psycopg://...]

Peer: `MlflowClient.search_model_versions` and `search_registered_models` on SQLite, in this process. Ours: the server's
calls over gRPC, on SQLite or on an empty database of the given URL. Both stores are filled by writing their tables.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from mlflow import MlflowClient
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlModelVersionTag, SqlRegisteredModel
from resolve import _free_port, _running, _wait_for
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, create_engine, insert

from modelward import Client
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import STAGE_PRODUCTION
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.store.ledger import Ledger
from modelward_server.store.search import label
from modelward_server.store.tables import ModelRow, VersionMetricRow, VersionRow, VersionTagRow

VERSIONS = 10
REPEATS = 40
START = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = 50
BATCH = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--database-url", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        peer = _measure_mlflow(Path(folder, "mlflow.db"), arguments.models)
        ours = _measure_modelward(Path(folder), arguments.models, arguments.database_url)
    table = Table("a page of 50", "MLflow p50 ms", "ours p50 ms", "ours p99 ms", "ratio")
    for name, times in ours.items():
        p50, p99 = np.percentile(times, [50, 99]) * 1e3
        theirs = float(np.percentile(peer[name], 50)) * 1e3 if name in peer else float("nan")
        table.add_row(name, f"{theirs:,.1f}", f"{p50:,.1f}", f"{p99:,.1f}", f"{theirs / p50:,.1f}")
    Console().print(f"{arguments.models:,} models of {VERSIONS} versions", table)


def _versions(models: int) -> Iterator[tuple[str, int, int]]:
    """Give each version's model, number, and place among all."""
    yield from ((f"m{i:05}", 1 + k, i * VERSIONS + k) for i in range(models) for k in range(VERSIONS))


def _tags(place: int) -> dict[str, str]:
    return {"desk": f"desk-{place % 3}", "run": f"run-{place}"}


def _write(engine: Engine, table: Any, rows: Iterator[dict[str, Any]]) -> None:
    with engine.begin() as connection:
        while batch := list(islice(rows, BATCH)):
            connection.execute(insert(table), batch)


def _timed(calls: dict[str, Callable[[], Any]]) -> dict[str, Sequence[float]]:
    return {name: [_seconds(call) for _ in range(REPEATS)] for name, call in calls.items()}


def _seconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _measure_modelward(folder: Path, models: int, url: str) -> dict[str, Sequence[float]]:
    url = url or f"sqlite:///{folder}/ledger.db"
    Ledger(url).migrate()
    _fill_modelward(create_engine(url), models)
    port = _free_port()
    flags = ["--port", str(port), "--data-dir", str(folder / "data"), "--database-url", url]
    with _running(["modelward", "serve", *flags]), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        _wait_for(lambda: Client(f"127.0.0.1:{port}").verify_audit_log().intact)
        return _timed(_our_calls(LifecycleServiceStub(channel), models))


def _our_calls(stub: Any, models: int) -> dict[str, Callable[[], Any]]:
    def versions(**asked: Any) -> Callable[[], Any]:
        return lambda: stub.ListModelVersions(pb.ListModelVersionsRequest(page_size=PAGE, **asked), timeout=60)

    def named(**asked: Any) -> Callable[[], Any]:
        return lambda: stub.ListModels(pb.ListModelsRequest(page_size=PAGE, **asked), timeout=60)

    deep = stub.ListModelVersions(
        pb.ListModelVersionsRequest(page_size=PAGE, name_prefix=f"m{models - 20:05}"[:4]), timeout=60
    )
    late, few = START + timedelta(seconds=models * VERSIONS - 10), models * VERSIONS - 10.0
    return {
        "models": lambda: stub.ListModels(pb.ListModelsRequest(page_size=PAGE), timeout=60),
        "models by prefix": lambda: stub.ListModels(
            pb.ListModelsRequest(page_size=PAGE, name_prefix="m09"), timeout=60
        ),
        "models in production": lambda: stub.ListModels(
            pb.ListModelsRequest(page_size=PAGE, stages=[STAGE_PRODUCTION]), timeout=60
        ),
        "versions": versions(),
        "versions, far down": versions(name_prefix=f"m{models - 20:05}"[:4], page_token=deep.next_page_token),
        "versions of a model": versions(model="m00077"),
        "in production": versions(stages=[STAGE_PRODUCTION]),
        "in production, by prefix": versions(stages=[STAGE_PRODUCTION], name_prefix="m09"),
        "a tag of a third": versions(tags={"desk": "desk-1"}),
        "a tag of one": versions(tags={"run": f"run-{models * VERSIONS - 7}"}),
        "two tags": versions(tags={"desk": "desk-1", "run": f"run-{models * VERSIONS - 9}"}),
        "a metric of half": versions(metrics=[pb.MetricRange(key="place", at_least=models * VERSIONS / 2)]),
        "a metric of ten": versions(metrics=[pb.MetricRange(key="place", at_least=few)]),
        "the last ten seconds": versions(created_after=late),
    }


def _fill_modelward(engine: Engine, models: int) -> None:
    named = (_our_model(f"m{i:05}") for i in range(models))
    _write(engine, ModelRow.__table__, named)
    _write(engine, VersionRow.__table__, (_our_version(*version) for version in _versions(models)))
    tagged = (
        {"label": label(*tag), "model": model, "version": number}
        for model, number, place in _versions(models)
        for tag in _tags(place).items()
    )
    _write(engine, VersionTagRow.__table__, tagged)
    measured = (
        {"model": model, "version": number, "key": "place", "value": _metric(place, models)}
        for model, number, place in _versions(models)
    )
    _write(engine, VersionMetricRow.__table__, measured)
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")


def _metric(place: int, models: int) -> float:
    """Spread the values over all models, as metrics are."""
    return float(place * 7919 % (models * VERSIONS))


def _our_model(name: str) -> dict[str, Any]:
    facts = {"description": "", "tags": {}, "created_at": START, "updated_at": START, "latest_version": VERSIONS}
    return {"name": name, **facts, "halted_by": "", "halt_reason": "", "revision": 1}


def _our_version(model: str, number: int, place: int) -> dict[str, Any]:
    at = START + timedelta(seconds=place)
    texts = {"description": "", "framework": "", "created_by": "quant", "digest": "0" * 64, "format": "other"}
    facts = {"tags": _tags(place), "params": {}, "metrics": {}, "files": [], "reference_names": []}
    times = {"created_at": at, "updated_at": at, "stage_since": at}
    mlflow = {"run_id": "", "mlflow_version": "", "mirror_wanted": 1, "mirror_done": 1}
    stage = "production" if number == VERSIONS else "archived"
    return {"model": model, "version": number, "stage": stage, "revision": 1, **texts, **facts, **times, **mlflow}


def _measure_mlflow(path: Path, models: int) -> dict[str, Sequence[float]]:
    client = MlflowClient(registry_uri=f"sqlite:///{path}", tracking_uri=f"sqlite:///{path}")
    client.search_registered_models(max_results=1)  # Makes the schema.
    _fill_mlflow(create_engine(f"sqlite:///{path}"), models)

    def versions(condition: str) -> Callable[[], Any]:
        return lambda: client.search_model_versions(condition, max_results=PAGE)

    return _timed(
        {
            "models": lambda: client.search_registered_models(max_results=PAGE),
            "models by prefix": lambda: client.search_registered_models("name LIKE 'm09%'", max_results=PAGE),
            "versions": versions(""),
            "versions of a model": versions("name = 'm00077'"),
            "a tag of a third": versions("tags.desk = 'desk-1'"),
            "a tag of one": versions(f"tags.run = 'run-{models * VERSIONS - 7}'"),
        }
    )


def _fill_mlflow(engine: Engine, models: int) -> None:
    now = int(START.timestamp() * 1000)
    times = {"creation_time": now, "last_updated_time": now}
    _write(engine, SqlRegisteredModel.__table__, ({"name": f"m{i:05}", **times} for i in range(models)))
    written = (
        {
            "name": model,
            "version": number,
            "current_stage": "None",
            "source": "s3://models/x",
            "status": "READY",
            **times,
        }
        for model, number, _ in _versions(models)
    )
    _write(engine, SqlModelVersion.__table__, written)
    tagged = (
        {"name": model, "version": number, "key": key, "value": value}
        for model, number, place in _versions(models)
        for key, value in _tags(place).items()
    )
    _write(engine, SqlModelVersionTag.__table__, tagged)


if __name__ == "__main__":
    main()
