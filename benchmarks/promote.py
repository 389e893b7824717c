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

from filled import Store, Took, fill_ledger, fill_mlflow, served, time_calls
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
        return {size: _time_promotions(client, Store(1, size, f"with-{size}"), times) for size in sizes}


def _time_promotions(client: Client, store: Store, times: int) -> Took:
    """Promote two versions in turn; what brings the other back to staging is not timed."""
    model = store.model(0)
    numbers = count()

    def prepare() -> str:
        version = f"{model}/{1 + next(numbers) % 2}"
        client.promote(version, to="staging")
        return version

    return time_calls(lambda version: client.promote(version, to="production"), times, prepare)


def _measure_mlflow(folder: Path, sizes: list[int]) -> dict[int, Took]:
    return {size: _time_aliases(fill_mlflow(folder / f"mlflow-{size}.db", Store(1, size)), size) for size in sizes}


def _time_aliases(client: Any, size: int) -> Took:
    versions = count()
    model = Store(1, size).model(0)
    return time_calls(
        lambda version: client.set_registered_model_alias(model, "production", version),
        20,
        lambda: str(1 + next(versions) % 2),
    )


def _table(title: str, measured: dict[int, Took]) -> Table:
    table = Table("versions", "p50 ms", "p99 ms", "p50 / smallest", title=title)
    smallest = next(iter(measured.values()))
    for size, took in measured.items():
        table.add_row(f"{size:,}", f"{took.p50:.1f}", f"{took.p99:.1f}", f"{took.p50 / smallest.p50:.2f}")
    return table


if __name__ == "__main__":
    main()
