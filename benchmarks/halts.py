"""What halting many models costs: one call of `HaltModels` beside a call of `HaltModel` for each, in one run.

    python benchmarks/halts.py [--models 60] [--times 20] [--database-url postgresql+psycopg://…]

`modelward serve` on SQLite, or on an empty PostgreSQL database, over gRPC; each answered halt is on disk, with its
audit record. Both ways are timed in turn, and all models are resumed before each.
"""

import argparse
import os
import tempfile
from pathlib import Path

from filled import Store, Took, fill_ledger, served, time_in_turn
from rich.console import Console
from rich.table import Table

from modelward import Client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, nargs="+", default=[60], help="how many models are halted")
    parser.add_argument("--times", type=int, default=20, help="how many halts of all of them are timed, in each way")
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database")
    given = parser.parse_args()
    table = Table("models", "one call, p50 ms", "p99 ms", "a call for each, p50 ms", "p99 ms")
    load = os.getloadavg()[0]
    for number, took in _measure(given.models, given.times, given.database_url).items():
        table.add_row(f"{number:,}", *(f"{figure:.1f}" for one in took for figure in (one.p50, one.p99)))
    Console().print(table, f"load before {load:.1f}, after {os.getloadavg()[0]:.1f}")


def _measure(sizes: list[int], times: int, database_url: str) -> dict[int, list[Took]]:
    with tempfile.TemporaryDirectory() as folder:
        stores = {size: Store(size, 2, f"of-{size}") for size in sizes}
        for store in stores.values():
            fill_ledger(database_url or f"sqlite:///{folder}/ledger.db", store)
        with served(Path(folder), database_url) as target, Client(target, timeout=120) as client:
            ways = {
                size: {kind: kind(client, store) for kind in (_AtOnce, _OneByOne)} for size, store in stores.items()
            }
            return {size: list(time_in_turn(way, times).values()) for size, way in ways.items()}


class _AtOnce:
    """Halts all models of a store in one call."""

    def __init__(self, client: Client, store: Store) -> None:
        self._client = client
        self._prefix = f"{store.name}-"
        self._models = [store.model(number) for number in range(store.models)]

    def prepare(self) -> None:
        for model in self._models:
            self._client.resume(model)

    def call(self) -> None:
        halted = self._client.halt_many(prefix=self._prefix, reason="exchange outage").halted
        assert len(halted) == len(self._models)


class _OneByOne(_AtOnce):
    """Halts each in a call of its own."""

    def call(self) -> None:
        for model in self._models:
            self._client.halt(model, reason="exchange outage")


if __name__ == "__main__":
    main()
