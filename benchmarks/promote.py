"""What a promotion costs by how many versions the model has: MLflow's alias and ours, in one run.

    python benchmarks/promote.py [--times 200] [--database-url postgresql+psycopg://…]

Ours: `modelward serve` on SQLite, or on an empty PostgreSQL database, over gRPC; each promotion archives the version
before, with its audit records, and is on disk when it is answered. The mirror to MLflow works meanwhile, as in use.
Peer: `MlflowClient.set_registered_model_alias` in this process, on a SQLite store, which only moves a name.
"""

import argparse
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from filled import Store, Took, fill_ledger, fill_mlflow, served, time_in_turn
from rich.console import Console
from rich.table import Table

from modelward import Client

SIZES = (10, 100, 1_000, 10_000, 100_000)
PEER_SIZES = (10, 100, 1_000, 5_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=200, help="how many promotions of each model are timed")
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database for our ledger")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="how many versions the models have")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours = _measure(Path(folder, "modelward"), given.database_url, given.sizes, given.times)
        mlflow = _measure_mlflow(Path(folder), [size for size in PEER_SIZES if size <= max(given.sizes)])
    Console().print(_table("ours, a promotion", ours), _table("MLflow, an alias", mlflow))


def _measure(folder: Path, database_url: str, sizes: list[int], times: int) -> dict[int, Took]:
    """Time promotions of models of each size, all in one ledger."""
    folder.mkdir()
    for size in sizes:
        fill_ledger(database_url or f"sqlite:///{folder}/ledger.db", Store(1, size, f"with-{size}"))
    with served(folder, database_url) as target, Client(target, timeout=60) as client:
        promoters = {size: _Promoter(client, Store(1, size, f"with-{size}").model(0)) for size in sizes}
        return time_in_turn(promoters, times)


class _Promoter:
    """Promotes two versions of a model in turn."""

    def __init__(self, client: Client, model: str) -> None:
        self._client, self._model, self._numbers = client, model, count()

    def prepare(self) -> None:
        """Bring the one that is not in production to staging."""
        self._version = f"{self._model}/{1 + next(self._numbers) % 2}"
        self._client.promote(self._version, to="staging")

    def call(self) -> None:
        self._client.promote(self._version, to="production", reason="it passed its tests")


def _measure_mlflow(folder: Path, sizes: list[int]) -> dict[int, Took]:
    """Time aliases of models of each size, each in a store of its own."""
    setters = {size: _AliasSetter(fill_mlflow(folder / f"mlflow-{size}.db", Store(1, size)), size) for size in sizes}
    return time_in_turn(setters, 30)


class _AliasSetter:
    """Points the alias to two versions in turn."""

    def __init__(self, client: Any, size: int) -> None:
        self._client, self._model, self._numbers = client, Store(1, size).model(0), count()

    def prepare(self) -> None:
        self._version = str(1 + next(self._numbers) % 2)

    def call(self) -> None:
        self._client.set_registered_model_alias(self._model, "production", self._version)


def _table(title: str, measured: dict[int, Took]) -> Table:
    table = Table("versions", "p50 ms", "p99 ms", "p50 / smallest", title=title)
    smallest = next(iter(measured.values()))
    for size, took in measured.items():
        table.add_row(f"{size:,}", f"{took.p50:.1f}", f"{took.p99:.1f}", f"{took.p50 / smallest.p50:.2f}")
    return table


if __name__ == "__main__":
    main()
