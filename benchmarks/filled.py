"""Stores full of models and versions, for the measurements: ours and MLflow's, filled by bulk inserts."""

import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from itertools import islice, product
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import create_engine, insert, text

from modelward.drift import DriftReport, FeatureDrift, FeatureKind, Histogram
from modelward.lifecycle import VersionRef
from modelward_server.mlflow.client import connect
from modelward_server.storage.drift_tables import DriftReportRow
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.search_tables import ModelTagRow, VersionMetricRow, VersionTagRow, value_digest
from modelward_server.storage.tables import EngineRow, ModelRow, TransitionRow, VersionRow

Key = TypeVar("Key")
WARM_UP = 3
"""Calls that do not count."""
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 5000
"""Rows of one insert."""
REPORTS, ENGINES = 20, 3
"""Of each model that is in production."""


@dataclass(frozen=True)
class Store:
    """What a store is filled with: models in 20 desks, a version each minute, the newest in production."""

    models: int
    versions: int
    name: str = "model"

    def model(self, number: int) -> str:
        return f"{self.name}-{number % 20:02d}-{number:05d}"

    def stage(self, version: int) -> str:
        return {self.versions: "production", self.versions - 1: "staging"}.get(version, "archived")

    def created_at(self, model: int, version: int) -> datetime:
        return BEGUN + timedelta(minutes=self._place(model, version))

    def tags(self, model: int, version: int) -> dict[str, str]:
        run = self._place(model, version)
        return {"desk": f"desk-{model % 20:02d}", "half": f"{run % 2}", "run": f"run-{run}"}

    def accuracy(self, model: int, version: int) -> float:
        """Return a figure in [0, 1), each once."""
        return self._shuffled[self._place(model, version)] / (self.models * self.versions)

    def _place(self, model: int, version: int) -> int:
        return model * self.versions + version - 1

    @cached_property
    def _shuffled(self) -> list[int]:
        places = self.models * self.versions
        return random.Random(7).sample(range(places), places)  # noqa: S311 - a figure for each version, no secret


def fill_ledger(url: str, store: Store) -> None:
    """Make a ledger at the URL and fill it; MLflow counts as having seen it all."""
    ledger = Ledger(url)
    ledger.migrate()
    numbers = range(store.models)
    with ledger.writing() as session:
        session.execute(insert(ModelRow), [_model(store, number) for number in numbers])
        session.execute(insert(ModelTagRow), [_model_tag(store, number) for number in numbers])
    each = product(numbers, range(1, store.versions + 1))
    while batch := list(islice(each, BATCH)):
        with ledger.writing() as session:
            session.execute(insert(VersionRow), [_version(store, *one) for one in batch])
            session.execute(insert(VersionTagRow), [tag for one in batch for tag in _version_tags(store, *one)])
            session.execute(insert(VersionMetricRow), [_metric(store, *one) for one in batch])
    ledger.close()
    if url.startswith("postgresql"):
        with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))  # As PostgreSQL does by itself within a minute or two.


def _model(store: Store, number: int) -> dict[str, Any]:
    tags = {"desk": f"desk-{number % 20:02d}"}
    name, latest = store.model(number), store.versions
    times = {"created_at": BEGUN, "updated_at": BEGUN}
    return {"name": name, "description": "Direction of a price", "tags": tags, "latest_version": latest, **times}


def _model_tag(store: Store, number: int) -> dict[str, Any]:
    return {"model": store.model(number), "key": "desk", "digest": value_digest(f"desk-{number % 20:02d}")}


def _version(store: Store, model: int, version: int) -> dict[str, Any]:
    at = store.created_at(model, version)
    return {
        "model": store.model(model),
        "version": version,
        "stage": store.stage(version),
        "description": "trained nightly",
        "tags": store.tags(model, version),
        "params": {"depth": "4", "learning_rate": "0.05"},
        "metrics": {"accuracy": store.accuracy(model, version)},
        "files": [{"path": "model.skops", "size_bytes": 9, "sha256": "0" * 64}],
        "references": [],
        "format": "skops",
        "framework": "scikit-learn 1.7.2",
        "digest": "0" * 64,
        "created_by": "nightly",
        "created_at": at,
        "updated_at": at,
        "stage_since": at,
        "trial_result": "usable",  # Else a promotion waits for a trial, of files that are not there.
        "tried_at": at,
        "mirror_wanted": 1,
        "mirror_done": 1,
    }


def _version_tags(store: Store, model: int, version: int) -> Iterator[dict[str, Any]]:
    name = {"model": store.model(model), "version": version}
    for key, value in store.tags(model, version).items():
        yield {**name, "key": key, "digest": value_digest(value)}


def _metric(store: Store, model: int, version: int) -> dict[str, Any]:
    return {
        "model": store.model(model),
        "version": version,
        "key": "accuracy",
        "value": store.accuracy(model, version),
    }


def fill_state(url: str, store: Store, reports: int = REPORTS) -> None:
    """Add the promotions, drift reports and engines of the models; of each so many reports."""
    ledger, numbers = Ledger(url), range(store.models)
    _insert(ledger, TransitionRow, (_transition(store, number) for number in numbers))
    _insert(ledger, DriftReportRow, (_report(store, *one) for one in product(numbers, range(reports))))
    _insert(ledger, EngineRow, (_engine(store, *one) for one in product(numbers, range(ENGINES))))
    ledger.close()


def _insert(ledger: Ledger, table: Any, rows: Iterator[dict[str, Any]]) -> None:
    while batch := list(islice(rows, BATCH)):
        with ledger.writing() as session:
            session.execute(insert(table), batch)


def _transition(store: Store, model: int) -> dict[str, Any]:
    moved = {"from_stage": "staging", "to_stage": "production", "actor": "nightly", "reason": "better"}
    ref = {"model": store.model(model), "version": store.versions}
    return {"sequence": model + 1, **ref, **moved, "moved_at": datetime.now(UTC)}


def _report(store: Store, model: int, number: int) -> dict[str, Any]:
    score, at = (model * 7 + number * 13) % 100 / 100, datetime.now(UTC) - timedelta(hours=REPORTS - number)
    row = {
        "report_id": f"report-{model}-{number}",
        "created_at": at,
        "drift_detected": score > 0.95,
        "score": score,
    }
    ref = {"model": store.model(model), "version": store.versions}
    shown = {**row, "version": ref, "created_at": at.isoformat()}
    return {**row, **ref, "observed": number % 2 == 0, "report": _report_of_ten_features() | shown}


@cache
def _report_of_ten_features() -> dict[str, Any]:
    """Return what is the same in all reports; with its features it is about as large as usual, 8,000 bytes."""
    bins = (0.1,) * 10
    feature = FeatureDrift(
        name="",
        kind=FeatureKind.NUMBER,
        drifted=False,
        score=0.3,
        ks=0.1,
        ks_threshold=0.2,
        ks_p_value=0.4,
        ks_method="exact",
        kl=0.1,
        kl_threshold=0.2,
        kl_reverse=0.1,
        js=0.1,
        psi=0.2,
        wasserstein=0.1,
        p_value=0.4,
        adjusted_p_value=0.8,
        effective_rows=40.0,
        missing_share=0.0,
        reference_missing_share=0.0,
        out_of_range_share=0.0,
        missing_threshold=0.1,
        histogram=Histogram(tuple(map(float, range(11))), (), bins, bins),
    )
    report = DriftReport(
        report_id="",
        version=VersionRef("m", 1),
        reference="default",
        label="Monday",
        created_at=BEGUN,
        created_by="monitor",
        rows=500,
        reference_rows=5000,
        drift_detected=False,
        score=0.3,
        confidence=0.9,
        drivers=(),
        summary="No drift in 10 features.",
        features=tuple(replace(feature, name=f"feature_{number}") for number in range(10)),
        caveats=(),
    )
    kept: dict[str, Any] = TypeAdapter(DriftReport).dump_python(report, mode="json")
    return kept


def _engine(store: Store, model: int, number: int) -> dict[str, Any]:
    now, lags = datetime.now(UTC), (model * ENGINES + number) % 50 == 0
    times = {"reported_at": now, "gone_at": now + timedelta(days=1)}
    version = store.versions - lags
    return {"model": store.model(model), "engine": f"engine-{number}", "version": version, **times}


def fill_mlflow(file: Path, store: Store) -> Any:
    """Make MLflow's store on SQLite, fill it, and return a client of it."""
    from mlflow.store.model_registry.dbmodels import models as mlflow

    client = connect(f"sqlite:///{file}")
    client.search_registered_models(max_results=1)  # This makes the schema.
    with create_engine(f"sqlite:///{file}").begin() as connection:
        for model in range(store.models):
            name = {"workspace": "default", "name": store.model(model)}
            versions = range(1, store.versions + 1)
            connection.execute(insert(mlflow.SqlRegisteredModel), {**name, "creation_time": 0, "last_updated_time": 0})
            tag = {**name, "key": "desk", "value": f"desk-{model % 20:02d}"}
            connection.execute(insert(mlflow.SqlRegisteredModelTag), tag)
            rows = [name | _mlflow_version(store, model, version) for version in versions]
            connection.execute(insert(mlflow.SqlModelVersion), rows)
            tags = [
                {**name, "version": version, "key": key, "value": value}
                for version in versions
                for key, value in (store.tags(model, version) | {"stage": store.stage(version)}).items()
            ]
            connection.execute(insert(mlflow.SqlModelVersionTag), tags)
        connection.execute(text("ANALYZE"))
    return client


def _mlflow_version(store: Store, model: int, version: int) -> dict[str, Any]:
    at = int(store.created_at(model, version).timestamp() * 1000)
    facts = {"version": version, "creation_time": at, "last_updated_time": at, "current_stage": "None"}
    return {**facts, "description": "trained nightly", "source": "models:/m-0", "status": "READY"}


@contextmanager
def served(folder: Path, database_url: str = "", *flags: str) -> Iterator[str]:
    """Run `modelward serve` in a process of its own and give its address."""
    command = [sys.executable, "-m", "modelward", "serve", "--port", "0", "--data-dir", str(folder), *flags]
    environment = {**os.environ, "MODELWARD_DATABASE_URL": database_url}
    log = folder / "log"
    with log.open("wb") as sink, subprocess.Popen(command, env=environment, stdout=sink, stderr=sink) as process:
        try:
            yield f"127.0.0.1:{_port(log)}"
        finally:
            process.terminate()


def _port(log: Path) -> str:
    for _ in range(300):
        if found := re.search(r"listens on 127\.0\.0\.1:(\d+)", log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise TimeoutError(f"the server printed no port:\n{log.read_text()}")


@dataclass(frozen=True)
class Took:
    """How long a call takes, in milliseconds."""

    p50: float
    p99: float
    p95: float


class Timed(Protocol):
    """What is timed."""

    def prepare(self) -> None:
        """Do what comes before a call and is not timed."""

    def call(self) -> object: ...


def time_in_turn(timed: Mapping[Key, Timed], times: int) -> dict[Key, Took]:
    """Call each so often, one after the other, so that all meet the same moods of the machine."""
    took: dict[Key, list[float]] = {key: [] for key in timed}
    for _ in range(times + WARM_UP):
        for key, one in timed.items():
            one.prepare()
            begun = time.perf_counter()
            one.call()
            took[key].append((time.perf_counter() - begun) * 1000)
    cuts = {key: statistics.quantiles(figures[WARM_UP:], n=100) for key, figures in took.items()}
    return {key: Took(cut[49], cut[98], cut[94]) for key, cut in cuts.items()}
