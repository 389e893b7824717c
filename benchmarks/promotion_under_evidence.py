"""Whether promotions of other models wait for one whose gate reads a hundred thousand outcomes.

    python benchmarks/promotion_under_evidence.py [--rounds 12] [--database-url postgresql+psycopg://…]

`modelward serve` on SQLite, or on an empty PostgreSQL database, over gRPC. In each round 32 models are promoted at
once, half of the rounds while another one is promoted whose policy asks for the verdict of its running A/B test, and
half of them without it, in turn. Printed are the latencies of the 32, and how long the other promotion takes.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from filled import served
from rich.console import Console
from rich.table import Table

from modelward import AbOutcome, AbTest, AsyncClient
from modelward.assignment import assign
from modelward.lifecycle import PromotionPolicy

OTHERS = 32
BATCH = 1000
TESTED = "tested"
WARM_UP = 2
"""Rounds that do not count."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="how many rounds with and without the other promotion")
    parser.add_argument("--outcomes", type=int, default=100_000, help="outcomes of the running test")
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database for the ledger")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), given.database_url) as target:
        asyncio.run(_measure(target, Path(folder), given.rounds, given.outcomes))


async def _measure(target: str, folder: Path, rounds: int, outcomes: int) -> None:
    async with AsyncClient(target, timeout=120) as client:
        await _fill(client, folder, outcomes)
        alone: list[float] = []
        beside: list[float] = []
        tested: list[float] = []
        for number in range(rounds + WARM_UP):
            for figures, with_it in ((alone, False), (beside, True)):
                took, other = await _round(client, with_it)
                if number >= WARM_UP:
                    figures.extend(took)
                    tested.extend(other)
    _print(alone, beside, tested)


async def _fill(client: AsyncClient, folder: Path, outcomes: int) -> None:
    """Register two versions of each model, and start the test with all of its outcomes."""
    (folder / "model.bin").write_bytes(b"model")
    for model in [TESTED, *_others()]:
        for _ in range(2):
            await client.register(model, folder / "model.bin")
        await client.promote(f"{model}/1", to="staging")
        await client.promote(f"{model}/1", to="production", reason="it passed its tests")
    versions = {"champion": f"{TESTED}/1", "challenger": f"{TESTED}/2"}
    test = await client.create_ab_test(TESTED, versions, primary_metric="pnl_bps")
    for batch in _outcomes(test, outcomes):
        await client.record_ab_outcomes(test, batch)
    await client.set_promotion_policy(PromotionPolicy(TESTED, require_comparison=True))


def _outcomes(test: AbTest, count: int) -> Iterator[list[AbOutcome]]:
    """Yield outcomes of a challenger that is better, in batches."""
    noise, begun = np.random.default_rng(7).normal(size=count), datetime(2026, 1, 1, tzinfo=UTC)
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        lifts = (0.5 * (assign(test, f"unit-{number}").variant != test.control) for number in numbers)
        yield [
            AbOutcome(f"id-{n}", f"unit-{n}", {"pnl_bps": float(noise[n] + lift)}, observed_at=begun + timedelta(0, n))
            for n, lift in zip(numbers, lifts, strict=True)
        ]


async def _round(client: AsyncClient, with_it: bool) -> tuple[list[float], list[float]]:
    """Promote the models at once, and put everything back where it was."""
    models = [*([TESTED] if with_it else []), *_others()]
    for model in models:
        await client.promote(f"{model}/2", to="staging")
    took = await asyncio.gather(*(_promote(client, model) for model in models))
    for model in models:
        await client.rollback(model, reason="it lost money")
    return took[-OTHERS:], took[:-OTHERS]


async def _promote(client: AsyncClient, model: str) -> float:
    begun = time.perf_counter()
    await client.promote(f"{model}/2", to="production", reason="it passed its tests")
    return (time.perf_counter() - begun) * 1000


def _others() -> list[str]:
    return [f"other-{number}" for number in range(OTHERS)]


def _print(alone: list[float], beside: list[float], tested: list[float]) -> None:
    table = Table("promotions", "p50 ms", "p99 ms", "of p99 alone")
    for name, figures in ((f"{OTHERS} at once", alone), ("beside the tested one", beside)):
        table.add_row(name, f"{_quantile(figures, 50):.0f}", f"{_quantile(figures, 99):.0f}", _share(figures, alone))
    table.add_row("the tested one", f"{_quantile(tested, 50):.0f}", f"{_quantile(tested, 99):.0f}", "")
    Console().print(table, f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _quantile(figures: list[float], percent: int) -> float:
    return statistics.quantiles(figures, n=100)[percent - 1]


def _share(figures: list[float], alone: list[float]) -> str:
    return f"{_quantile(figures, 99) / _quantile(alone, 99):.2f}"


if __name__ == "__main__":
    main()
