"""How the cost of each call grows with what is stored, from 100 versions to a million.

    python benchmarks/scale.py [--versions 100 10000] [--audit-records 10000000] [--postgres] [--times 30] [--no-peer]

For each number of versions a ledger is filled by bulk inserts: half of the versions are one model's, the others are of
models of ten. Each version has metrics, tags, transitions, and audit records in a valid chain; the largest ledger has
as many audit records as named. Then `modelward serve` answers over gRPC, on SQLite, and with --postgres also on a
PostgreSQL server of the benchmark's own. The growth is the exponent of the power of the number of versions that a time
follows: 0 is flat, 1 linear. Each read follows a change, so that none is answered from memory. Peer: `MlflowClient` in
this process, on a SQLite store of the large model. It looks at the free disk first, works in temporary folders and
deletes them.
"""

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import grpc
from filled import Store, Timed, fill_ledger, fill_mlflow, time_in_turn
from filled_history import fill_audit_log, fill_history
from promote import _AliasSetter, _Promoter
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, text
from start import _free_port, _is_serving, _processor_seconds, _running, _wait_for, _wait_until_idle

from modelward import Client
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1 import retraining_pb2
from modelward.v1.common_pb2 import ModelVersionRef
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward.v1.retraining_pb2_grpc import RetrainingServiceStub

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.postgres import new_database, programs, running_postgres

PAGE = 10
OTHERS = 10
"""Versions of each model but the large one."""
STARTS = 3
FLAT = 0.1
"""The largest exponent that counts as flat: a quarter more for ten times more versions, by which runs differ too."""
LINEAR = ("VerifyAuditLog, s", "disk, MB")
"""What grows with what is stored by its nature: all records, and all bytes."""
BYTES_A_VERSION, BYTES_A_RECORD = 9_000, 2_500
"""Disk that the filling takes at most, with indexes and the write-ahead log, on either database."""
RESERVE = 2 * 1024**3
MAX_SECONDS = 600.0
"""Maximum time of a call."""
Figures = dict[str, float]


@dataclass(frozen=True)
class Call:
    """A call that is timed, and what comes before it and is not."""

    call: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--versions", type=int, nargs="+", default=(100, 10_000), help="versions of each ledger")
    parser.add_argument("--audit-records", type=int, default=0, help="audit records of the largest ledger, at least")
    parser.add_argument("--postgres", action="store_true", help="measure a PostgreSQL server too")
    parser.add_argument("--times", type=int, default=30, help="how often each call is timed")
    parser.add_argument("--peer-versions", type=int, default=5_000, help="versions of MLflow's largest store")
    parser.add_argument("--no-peer", action="store_true", help="measure no MLflow")
    given = parser.parse_args()
    _require_disk(given.versions, given.audit_records)
    for name, folders in {"SQLite": _files, **({"PostgreSQL": _databases} if given.postgres else {})}.items():
        columns = {n: _measure(folders, n, _records(given, n), given.times) for n in given.versions}
        Console(width=160).print(_table(f"{name}; p50 in ms where no unit is named", columns))
    if not given.no_peer:
        sizes = [n for n in given.versions if n <= given.peer_versions]
        Console(width=160).print(
            _table("MLflow, SQLite; p50 in ms, promote is its alias", {n: _measure_mlflow(n) for n in sizes})
        )


def _require_disk(versions: list[int], records: int) -> None:
    needed = max(versions) * BYTES_A_VERSION + records * BYTES_A_RECORD + RESERVE
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < needed:
        place = tempfile.gettempdir()
        sys.exit(f"{place} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed; set TMPDIR to another")


def _records(given: argparse.Namespace, versions: int) -> int:
    return int(given.audit_records) if versions == max(given.versions) else 0


def stores(versions: int) -> tuple[Store, Store]:
    """Return the large model and the many small ones, which have so many versions together."""
    return Store(1, versions // 2, "large"), Store(versions // 2 // OTHERS, OTHERS, "small")


@contextmanager
def _files() -> Iterator[tuple[Path, str]]:
    """Give a temporary folder, and no database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder), ""


@contextmanager
def _databases() -> Iterator[tuple[Path, str]]:
    """Give a temporary folder, and a PostgreSQL database, which waits for the disk as in use."""
    bin_dir = programs()
    if bin_dir is None:
        sys.exit("PostgreSQL's programs (initdb, postgres) are not installed")
    with tempfile.TemporaryDirectory() as folder, running_postgres(bin_dir, fsync=True) as url:
        yield Path(folder), new_database(url)


def _measure(place: Any, versions: int, records: int, times: int) -> Figures:
    with place() as (folder, database_url):
        _fill(database_url or f"sqlite:///{folder}/ledger.db", versions, records)
        figures = {"start until ready, s": _start_seconds(folder, database_url)}
        with _server(folder, database_url) as (target, process), Client(target, timeout=MAX_SECONDS) as client:
            _wait_until_idle(process)
            figures["start until idle, processor s"] = _processor_seconds(process)
            figures["disk, MB"] = _stored_bytes(folder, database_url) / 1e6
            took = time_in_turn(_calls(client, target, stores(versions)), times)
            verified = _seconds(client.verify_audit_log)
        return {name: one.p50 for name, one in took.items()} | {"VerifyAuditLog, s": verified} | figures


@contextmanager
def _server(folder: Path, database_url: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run `modelward serve`, and give its address and its process once it serves."""
    port = _free_port()
    command = [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", str(folder)]
    command += ["--call-seconds", str(MAX_SECONDS), *(["--database-url", database_url] if database_url else [])]
    with _running(command, folder) as process:
        _wait_for(lambda: _is_serving(port))
        yield f"127.0.0.1:{port}", process


def _start_seconds(folder: Path, database_url: str) -> float:
    """Return the time until the server serves, the least of some starts: other load only adds to it."""
    took = []
    for _ in range(STARTS):
        begun = time.perf_counter()
        with _server(folder, database_url):
            took.append(time.perf_counter() - begun)
    return min(took)


def _stored_bytes(folder: Path, database_url: str) -> int:
    """Return the size of the database, without what is written for later use."""
    if not database_url:
        return sum(file.stat().st_size for file in folder.glob("ledger.db*") if "reserve" not in file.name)
    with create_engine(database_url).connect() as connection:
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _fill(url: str, versions: int, records: int) -> None:
    begun = time.perf_counter()
    for store in stores(versions):
        fill_ledger(url, store)
        fill_history(url, store)
    fill_audit_log(url, stores(versions)[0], records)
    print(f"{versions:,} versions filled in {time.perf_counter() - begun:.0f} s, load {os.getloadavg()[0]:.1f}")


def _calls(client: Client, target: str, filled: tuple[Store, Store]) -> dict[str, Timed]:
    large, small = (store.model(0) for store in filled)
    last = f"{large}/{filled[0].versions - 1}"
    values, turns = count(), count()
    client.halt(small, reason="so that it can be resumed")
    client.create_schedule(large, every=timedelta(days=1), schedule_id="daily")

    def transition() -> object:
        return client.promote(last, to="training" if next(turns) % 2 == 0 else "staging", reason="it passed its tests")

    return {
        "LogMetrics": Call(lambda: client.log_metrics(last, {"accuracy": float(next(values))})),
        "transition": Call(transition),
        "halt": Call(lambda: client.halt(small, reason="x"), lambda: client.resume(small)),
        "promote, large model": _Promoter(client, large),
        "promote, small model": _Promoter(client, small),
        **_reads(target, large, filled[0].versions),
    }


def _reads(target: str, model: str, versions: int) -> dict[str, Timed]:
    channel = grpc.insecure_channel(target)
    lifecycle: Any = LifecycleServiceStub(channel)
    jobs: Any = RetrainingServiceStub(channel)
    ref = ModelVersionRef(model=model, version=versions // 2)
    return {
        "ListModels": Call(lambda: lifecycle.ListModels(pb.ListModelsRequest(page_size=PAGE))),
        "ListModelVersions": Call(lambda: lifecycle.ListModelVersions(pb.ListModelVersionsRequest(page_size=PAGE))),
        "ListTransitions": Call(lambda: lifecycle.ListTransitions(pb.ListTransitionsRequest(page_size=PAGE))),
        "GetModelVersion": Call(lambda: lifecycle.GetModelVersion(pb.GetModelVersionRequest(version=ref))),
        "ResolveModel": Call(lambda: lifecycle.ResolveModel(pb.ResolveModelRequest(model=model))),
        "overview": Call(lambda: lifecycle.GetOverview(pb.GetOverviewRequest(page_size=PAGE))),
        "ListDueModels": Call(lambda: jobs.ListDueModels(retraining_pb2.ListDueModelsRequest())),
    }


def _measure_mlflow(versions: int) -> Figures:
    """Time the calls of MLflow that come nearest."""
    store = stores(versions)[0]
    with tempfile.TemporaryDirectory() as folder:
        client = fill_mlflow(Path(folder, "mlflow.db"), store)
        model, middle = store.model(0), str(store.versions // 2)
        calls: dict[str, Timed] = {
            "promote, large model": _AliasSetter(client, store.versions),
            "GetModelVersion": Call(lambda: client.get_model_version(model, middle)),
            "ListModelVersions": Call(lambda: client.search_model_versions(f"name = '{model}'", max_results=PAGE)),
            "ListModels": Call(lambda: client.search_registered_models(max_results=PAGE)),
        }
        return {name: one.p50 for name, one in time_in_turn(calls, STARTS).items()}


def _table(title: str, columns: dict[int, Figures]) -> Table:
    table = Table("call", title=f"{title}, load {os.getloadavg()[0]:.1f}")
    for versions in columns:
        table.add_column(f"{versions:,}", justify="right")
    table.add_column("growth", justify="right")
    table.add_column("")
    for name in next(iter(columns.values()), {}):
        figures = {versions: column[name] for versions, column in columns.items()}
        slope = growth(figures)
        marked = "not flat" if name not in LINEAR and slope > FLAT else ""
        table.add_row(name, *(f"{figure:,.2f}" for figure in figures.values()), f"{slope:.2f}", marked)
    return table


def growth(figures: dict[int, float]) -> float:
    """Return the exponent of the power of the size that the figures follow best; 0 for one figure."""
    if len(figures) < 2:
        return 0.0
    return statistics.linear_regression(list(map(math.log, figures)), list(map(math.log, figures.values()))).slope


if __name__ == "__main__":
    main()
