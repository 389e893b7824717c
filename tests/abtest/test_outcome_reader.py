"""Outcomes are read some thousands at a time, and come as they stand in the ledger."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import BigInteger, select, type_coerce

from modelward import AbOutcome, AbTest, AsyncClient
from modelward_server.abtest import outcome_reader
from modelward_server.abtest.outcome_reader import NUMBER, read_outcomes
from modelward_server.abtest.repository import ab_test_row, get_ab_test
from modelward_server.storage.ab_tables import AB_OUTCOMES
from tests.support.abtest_traffic import START, register_two
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Takes seconds.

UNITS = ["account-1", "b", 'quote " and, comma', "tab\tand\x1f", "Zürich 🂡", "back\\slash", "[]", "B", "x" * 256]


@pytest.fixture(params=[None, timedelta(minutes=5)], ids=["by unit", "by block"])
async def test(request: pytest.FixtureRequest, client: AsyncClient, name: str, tmp_path: Path) -> AbTest:
    """A running test with outcomes whose ids, times and units are in different orders, and some times the same."""
    versions = await register_two(client, name, tmp_path)
    created: AbTest = await client.create_ab_test(
        name, versions, primary_metric="pnl_bps", guardrails=["drawdown"], block=request.param
    )
    rng = np.random.default_rng(3)
    await client.record_ab_outcomes(
        created,
        [
            AbOutcome(
                f"{'aÄz'[number % 3]}-{number}",
                UNITS[rng.integers(len(UNITS))],
                {"pnl_bps": rng.normal()} | ({"drawdown": rng.normal()} if number % 3 else {}),
                variant=["", "champion", "challenger"][number % 3],
                before={"pnl_bps": rng.normal()} if number % 2 else {},
                observed_at=START + timedelta(minutes=int(rng.integers(-40, 40))),
            )
            for number in range(100)
        ],
    )
    return created


@pytest.mark.parametrize("packed", [1, 7, 50, 10_000])
async def test_outcomes_are_read_as_rows_of_their_own_would_be(
    server: RunningServer, test: AbTest, monkeypatch: pytest.MonkeyPatch, packed: int
) -> None:
    monkeypatch.setattr(outcome_reader, "PACKED_ROWS", packed)
    of = AB_OUTCOMES.c
    with server.app.ledger.reading() as session:
        read = read_outcomes(session, get_ab_test(session, test.test))
        rows = session.execute(
            select(of.unit, of.arm, of.mismatched, type_coerce(of.observed_at, BigInteger), of.numbers)
            .where(of.test == ab_test_row(session, test.test).sequence)
            .order_by(of.observed_at, of.outcome_id)
        ).all()
    units, arms, mismatched, times, numbers = zip(*rows, strict=True)
    blocks = [time // 300_000_000 for time in times]
    keys = units if test.block is None else blocks
    table = np.frombuffer(b"".join(numbers), NUMBER).reshape(100, 2, 2)
    assert read.outcomes.arms.tolist() == list(arms)
    assert read.outcomes.at.tolist() == list(times)
    assert read.outcomes.keys.tolist() == [list(dict.fromkeys(keys)).index(key) for key in keys]
    np.testing.assert_array_equal(read.outcomes.values, table[:, 0])
    np.testing.assert_array_equal(read.outcomes.before, table[:, 1])
    assert read.units == [len({u for u, a in zip(units, arms, strict=True) if a == arm}) for arm in (0, 1)]
    assert read.mismatched == len({unit for unit, other in zip(units, mismatched, strict=True) if other})


async def test_test_without_outcomes_has_none(
    server: RunningServer, client: AsyncClient, name: str, tmp_path: Path
) -> None:
    test = await client.create_ab_test(name, await register_two(client, name, tmp_path), primary_metric="pnl_bps")
    with server.app.ledger.reading() as session:
        read = read_outcomes(session, test)
    assert (len(read.outcomes), read.outcomes.values.shape, read.units, read.mismatched) == (0, (0, 1), [0, 0], 0)
