"""Versions compared by a dask cluster of two workers: the verdict is that of one machine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster
from sklearn.linear_model import LogisticRegression

from modelward import Client, TimeWindow, errors
from modelward.comparison import ModelKind
from modelward_server.comparison.cluster import _joined
from modelward_server.sandbox.sandbox import Run
from tests.support.comparison_models import SKOPS, crashing
from tests.support.forked_server import ForkedServer
from tests.support.waiting import PATIENCE_SECONDS

RANDOM = np.random.default_rng(3)
FEATURES = RANDOM.normal(size=(2000, 2))
TRUTH = (FEATURES[:, 0] + RANDOM.normal(size=2000) > 0).astype(int)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test set in two files."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "test").mkdir()
    day = np.random.default_rng(4).permutation(2000)  # Rows are not in the order of time.
    table = pa.table({"x0": FEATURES[:, 0], "x1": FEATURES[:, 1], "up": TRUTH, "row": np.arange(2000), "day": day})
    pq.write_table(table[:1100], folder / "test" / "a.parquet")
    pq.write_table(table[1100:], folder / "test" / "b.parquet")
    return folder


@pytest.fixture(scope="module")
def clients(folder: Path) -> Iterator[tuple[Client, Client]]:
    """Clients of a server that has a cluster, and of one that has none."""
    start: Any = LocalCluster
    env = {"MODELWARD_ALLOWED_SOURCES": folder.as_uri()}
    with start(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        scheduler = {"MODELWARD_DASK_SCHEDULER": cluster.scheduler_address}
        clustered = ForkedServer(folder / "clustered", folder / "clustered.log", env=env | scheduler)
        alone = ForkedServer(folder / "alone", folder / "alone.log", env=env)
        with (
            Client(clustered.target, timeout=PATIENCE_SECONDS) as one,
            Client(alone.target, timeout=PATIENCE_SECONDS) as other,
        ):
            for client in (one, other):
                client.register("spx", LogisticRegression().fit(FEATURES, TRUTH))
                client.register("spx", LogisticRegression().fit(FEATURES[:, ::-1] * 0.1, TRUTH))
                client.register("spx", crashing())
            yield one, other
        clustered.stop()
        alone.stop()


@pytest.mark.system
@pytest.mark.weekly
def test_a_cluster_finds_what_one_machine_finds(clients: tuple[Client, Client], folder: Path) -> None:
    uri = (folder / "test").as_uri()
    versions = ["spx/1", "spx/2", "spx/3"]  # The third crashes its process.
    ours, theirs = (client.compare(versions, uri, "up", ids="row", time="day", seed=1) for client in clients)
    assert ours.rows == theirs.rows == 2000
    assert ours.window == theirs.window == TimeWindow("day", "", "0", "1999", times=2000)
    assert ours.conclusion == theirs.conclusion
    assert "SIGSEGV" in ours.result("spx/3").failure
    for one, other in zip(ours.results, theirs.results, strict=True):
        assert (one.metrics, one.differences) == (other.metrics, other.differences)


@pytest.mark.system
def test_columns_of_a_uri_are_named(clients: tuple[Client, Client], folder: Path) -> None:
    with pytest.raises(errors.InvalidField, match="must be the name of a column"):
        clients[0].compare(["spx/1", "spx/2"], (folder / "test").as_uri(), TRUTH)
    with pytest.raises(errors.InvalidField, match="has no column 'down'; it has x0"):
        clients[0].compare(["spx/1", "spx/2"], (folder / "test").as_uri(), "down")


def test_parts_that_do_not_fit_together_are_the_models_failure() -> None:
    predicted, probabilities = np.array([0]), np.array([[1.0, 0.0]])
    whole = Run(ModelKind.CLASSIFICATION, (0, 1), predicted, probabilities, None)
    for other in (replace(whole, probabilities=None), replace(whole, classes=(0, 2))):
        with pytest.raises(errors.ModelFailed, match="part of the data"):
            _joined([whole, other], SKOPS)
