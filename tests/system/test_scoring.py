"""Every answer belongs to the version that it names, and to what was in production while it was asked for.

Versions are promoted and rolled back while several clients score; each answer is recomputed from the coefficients of
its version. `MODELWARD_TEST_SCALE=full` makes 1,000 promotions and rollbacks.
"""

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from modelward import AsyncClient, Scores
from tests.support.scale import FULL
from tests.system.conftest import Serve

MOVES = 1_000 if FULL else 60
CLIENTS = 4
VERSIONS = 4
RNG = np.random.default_rng(11)
ROWS = pd.DataFrame(RNG.normal(size=(50, 3)), columns=["a", "b", "c"])
COEFFICIENTS = RNG.normal(size=(VERSIONS, 3))
"""Of each version."""
NAME = "spx"


@dataclass
class Production:
    """Which versions have been in production, one after the other, as far as the one who moves them knows."""

    announced: list[int] = field(default_factory=list)
    """The last one may be on its way."""
    acknowledged: int = 0
    """How many of them were acknowledged."""
    ended: bool = False

    async def promote(self, client: AsyncClient, version: int) -> None:
        self.announced.append(version)
        await client.promote(f"{NAME}/{version}", to="staging")
        await client.promote(f"{NAME}/{version}", to="production", reason="it passed its tests")
        self.acknowledged = len(self.announced)

    async def roll_back(self, client: AsyncClient) -> None:
        self.announced.append(self.announced[-2])
        await client.rollback(NAME, reason="back")
        self.acknowledged = len(self.announced)


async def test_every_answer_is_of_the_version_that_it_names(serve: Serve) -> None:
    server = await asyncio.to_thread(serve, "--scoring-processes", str(2 * VERSIONS))
    production = Production()
    async with AsyncClient(server.target, timeout=60) as client:
        await register(client, production)
        scoring = [asyncio.create_task(scores(server.target, production)) for _ in range(CLIENTS)]
        try:
            for number in range(MOVES // 2):
                await production.promote(client, 2 + number % (VERSIONS - 1))
                await production.roll_back(client)
        finally:
            production.ended = True
        answered = await asyncio.gather(*scoring)
    assert min(map(len, answered)) > 0
    assert len({version for versions in answered for version in versions}) == VERSIONS


async def register(client: AsyncClient, production: Production) -> None:
    for coefficients in COEFFICIENTS:
        await client.register(NAME, LinearRegression().fit(ROWS, ROWS @ coefficients), reference=ROWS)
    await production.promote(client, 1)


async def scores(target: str, production: Production) -> list[int]:
    """Score until all was moved, and return the version of each answer."""
    versions: list[int] = []
    async with AsyncClient(target, timeout=60) as client:
        while not production.ended:
            since = production.acknowledged - 1
            found = await client.score(NAME, ROWS)
            check(found)
            assert found.version.version in production.announced[since:]
            versions.append(found.version.version)
    return versions


def check(found: Scores) -> None:
    expected = ROWS @ COEFFICIENTS[found.version.version - 1]
    np.testing.assert_allclose(found.predictions, expected, rtol=1e-9, atol=1e-12)
