"""What does it cost to show a version in MLflow? The mirror, and the bare calls of MLflow's client, in one run.

    python benchmarks/mirror.py [--versions 50] [--registered 300]

Each version has a file, three metrics, two params and two tags. First per version: the mirror, and beside it the calls
of `MlflowClient` that record the same facts without looking whether they are there; each in a process of its own, with
a fresh SQLite store, round by round in turn. Then `modelward serve`: versions are registered one after the other, and
timed until MLflow's own client finds the last of them.
"""

import argparse
import hashlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
from resolve import _free_port, _running
from rich.console import Console
from rich.table import Table

from modelward import ArtifactFile, Client, Model, ModelFormat, ModelVersion, Stage

NAME = "spx"
NOW = datetime.now(UTC)
CONTENT = b"model" * 1000
PARAMS = {"depth": "6", "trees": "300"}
METRICS = {"accuracy": 0.57, "auc": 0.61, "sharpe": 1.2}
TAGS = {"asset": "SPX", "desk": "index"}
MODEL = Model(NAME, "Direction of the S&P 500", {}, NOW, NOW, 1, 0, None, "r1")
WARM_UP = 3
START_SECONDS = 180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--versions", type=int, default=50, help="shown in turn by the mirror and the bare client")
    parser.add_argument("--registered", type=int, default=300, help="at a server; 0 for none")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = _compare(Path(folder), asked.versions)
    table = Table("per version", "median ms", "processor ms", title=f"{asked.versions} versions are shown in MLflow")
    for name, each in figures.items():
        table.add_row(name, *(f"{figure:,.1f}" for figure in each))
    own, bare = figures["mirror"], figures["bare MlflowClient"]
    table.add_row("ratio", *(f"{one / other:.2f}" for one, other in zip(own, bare, strict=True)))
    Console().print(table, f"load average {os.getloadavg()[0]:.1f}")
    if asked.registered:
        with tempfile.TemporaryDirectory() as folder:
            took, acknowledged = _register(Path(folder), asked.registered)
        alone = bare[0] * asked.registered / 1000
        print(
            f"{asked.registered} registrations: acknowledged in {acknowledged:.1f} s, shown in {took:.1f} s, "
            f"the bare calls alone {alone:.1f} s, load average {os.getloadavg()[0]:.1f}"
        )


def _compare(folder: Path, versions: int) -> dict[str, tuple[float, float]]:
    """Return the median milliseconds, and those of the processor, that each way takes for a version."""
    with _showing(_mirror, folder / "ours") as ours, _showing(_bare, folder / "bare") as bare:
        ways = {"mirror": ours, "bare MlflowClient": bare}
        took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number in range(versions + WARM_UP):
            for name, way in ways.items():
                way.send(number + 1)
                took[name].append(way.recv())
        return {name: _medians(each[WARM_UP:]) for name, each in took.items()}


def _medians(took: list[tuple[float, float]]) -> tuple[float, float]:
    wall, used = zip(*took, strict=True)
    return statistics.median(wall) * 1000, statistics.median(used) * 1000


@contextmanager
def _showing(way: Callable[[Path], Callable[[int], object]], folder: Path) -> Iterator[Connection]:
    """Run a way in a process, which takes a version's number and answers how long showing it took."""
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_show_all, args=(way, folder, theirs))
    process.start()
    theirs.close()  # Its end is noticed here.
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def _show_all(way: Callable[[Path], Callable[[int], object]], folder: Path, pipe: Connection) -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    show = way(folder)
    while True:
        number = pipe.recv()
        begun, used = time.perf_counter(), time.process_time()
        show(number)
        pipe.send((time.perf_counter() - begun, time.process_time() - used))


def _mirror(folder: Path) -> Callable[[int], object]:
    from modelward_server.mlflow.details import Details, MetricPoint
    from modelward_server.mlflow.mirror import MlflowMirror

    blob = folder / hashlib.sha256(CONTENT).hexdigest()
    blob.write_bytes(CONTENT)
    mirror = MlflowMirror(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
    points = [MetricPoint(i + 1, key, value, NOW, 0) for i, (key, value) in enumerate(METRICS.items())]
    details = Details(points_after=lambda shown: [point for point in points if point.id > shown])
    return lambda number: mirror.sync(_version(number), MODEL, {"model.bin": blob}, [], details=details)


def _version(number: int) -> ModelVersion:
    return ModelVersion(
        model=NAME,
        version=number,
        stage=Stage.TRAINING,
        description="a forest",
        tags=TAGS,
        params=PARAMS,
        metrics=METRICS,
        files=(ArtifactFile("model.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),),
        format=ModelFormat.OTHER,
        framework="",
        digest=f"digest-{number}",
        created_by="ann",
        created_at=NOW,
        updated_at=NOW,
        stage_since=NOW,
        run_id="",
        mlflow_version="",
        references=(),
        etag="r1",
    )


def _bare(folder: Path) -> Callable[[int], object]:
    import mlflow
    from mlflow.entities import LoggedModelOutput, Metric, Param, RunTag
    from mlflow.models import Model as Description

    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    client: Any = mlflow.MlflowClient(uri, registry_uri=uri)
    experiment = client.create_experiment(NAME, artifact_location=str(folder / "artifacts"))
    client.create_registered_model(NAME, {}, MODEL.description)
    at = int(NOW.timestamp() * 1000)

    def show(number: int) -> None:
        tags = {**TAGS, "version": str(number), "stage": "training", "created_by": "ann"}
        run = client.create_run(experiment, at, {"mlflow.user": "ann", "version": str(number)}, f"{NAME} v{number}")
        run_id = run.info.run_id
        logged = client.create_logged_model(experiment, f"{NAME}-v{number}", run_id, {"digest": "d"}, PARAMS)
        with tempfile.TemporaryDirectory() as files:
            Path(files, "model.bin").write_bytes(CONTENT)
            Description(run_id=run_id, model_id=logged.model_id).save(str(Path(files, "MLmodel")))
            client.log_model_artifacts(logged.model_id, files)
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        client.finalize_logged_model(logged.model_id, "READY")
        metrics = [Metric(key, value, at, 0, model_id=logged.model_id) for key, value in METRICS.items()]
        run_tags = [RunTag(*tag) for tag in {**tags, "mlflow.note.content": "a forest"}.items()]
        client.log_batch(run_id, metrics, [Param(*param) for param in PARAMS.items()], run_tags)
        client.set_terminated(run_id, "FINISHED", at)
        source = f"models:/{logged.model_id}"
        client.create_model_version(NAME, source, run_id, tags, description="a forest", model_id=logged.model_id)

    return show


def _register(folder: Path, versions: int) -> tuple[float, float]:
    """Return the seconds until MLflow shows all versions, and until all registrations were acknowledged."""
    port, file = _free_port(), folder / "model.bin"
    file.write_bytes(CONTENT)
    target, data = f"127.0.0.1:{port}", folder / "data"
    command = [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", str(data)]
    with _running(command), grpc.insecure_channel(target) as channel, Client(target, timeout=60) as client:
        grpc.channel_ready_future(channel).result(START_SECONDS)
        _shown(data, client.register(NAME, file))
        begun = time.perf_counter()
        for _ in range(versions):
            last = client.register(NAME, file, metrics=METRICS, params=PARAMS, tags=TAGS)
        acknowledged = time.perf_counter() - begun
        _shown(data, last)
        return time.perf_counter() - begun, acknowledged


def _shown(data: Path, version: ModelVersion) -> None:
    """Wait until MLflow's registry has a version."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{data.resolve()}/mlflow.db"
    while not Path(data, "mlflow.db").exists():
        time.sleep(0.2)
    registry: Any = MlflowClient(uri, registry_uri=uri)
    query = f"name='{NAME}' and tags.`modelward.version` = '{version.version}'"
    while not registry.search_model_versions(query):
        time.sleep(0.2)


if __name__ == "__main__":
    main()
