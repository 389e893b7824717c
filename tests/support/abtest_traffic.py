"""Versions and outcomes for the tests of A/B tests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from modelward import AbOutcome, AbTest, AsyncClient
from modelward.assignment import assign

START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


async def register_two(client: AsyncClient, name: str, folder: Path, *, staged: bool = False) -> dict[str, str]:
    """Register a champion, in production when `staged`, and a challenger, then in staging."""
    (folder / "model.bin").write_bytes(b"model")
    champion, challenger = [str(await client.register(name, folder / "model.bin")) for _ in range(2)]
    if staged:
        await client.promote(champion, to="staging")
        await client.promote(champion, to="production", reason="it passed its tests")
        await client.promote(challenger, to="staging")
    return {"champion": champion, "challenger": challenger}


def outcomes(test: AbTest, units: int, *, lift: float = 0.0, key: str = "pnl_bps", seed: int = 1) -> list[AbOutcome]:
    """Return an outcome of each of many units, better by `lift` where the challenger decided."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=units).tolist()
    return [
        AbOutcome(
            outcome_id=f"{test.test}-{number}",
            unit=f"account-{number}",
            metrics={key: noise[number] + lift * (assign(test, f"account-{number}").variant != test.control)},
            observed_at=START + timedelta(seconds=number),
        )
        for number in range(units)
    ]


def named(test: AbTest, counts: dict[str, int], value: float = 0.0) -> list[AbOutcome]:
    """Return outcomes of so many units of each variant, whatever the assignment says; the values vary a little."""
    return [
        AbOutcome(f"{variant}-{number}", f"{variant}-{number}", {"pnl_bps": value + number % 7}, variant=variant)
        for variant, count in counts.items()
        for number in range(count)
    ]
