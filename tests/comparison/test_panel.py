"""Comparison of panels through the front door: rows of a day share its shock, and labels of five days overlap."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modelward import Client, Comparison, Metric, Verdict
from modelward._coerce import AnyVersion
from tests.support.running_server import RunningServer

DAYS, SYMBOLS, HORIZON = 60, 20, 5
DATE, SYMBOL = (places.ravel() for places in np.indices((DAYS, SYMBOLS)))
BY_SYMBOL = np.lexsort((DATE, SYMBOL))
pytestmark = pytest.mark.system  # Dozens of comparisons.
METRICS = (Metric.MSE, Metric.MAE, Metric.R2)


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.target, actor="tester") as client:
        yield client


@pytest.fixture
def versions(client: Client, name: str, tmp_path: Path) -> list[AnyVersion]:
    (tmp_path / "model.bin").write_bytes(b"model")
    return [client.register(name, tmp_path / "model.bin") for _ in range(2)]


def table(seed: int) -> NDArray[np.float64]:
    """Return labels of five days and the answers of two equally good models, shape (3, rows)."""
    random = np.random.default_rng(seed)

    def market() -> Any:
        shocks = random.normal(size=(DAYS + HORIZON - 1, 1)) + random.normal(size=(DAYS + HORIZON - 1, SYMBOLS))
        return sum(shocks[lag : lag + DAYS] for lag in range(HORIZON))

    label = market()
    return np.array([label, 0.3 * label + market(), 0.3 * label + market()]).reshape(3, -1)


def compared(
    client: Client, versions: list[AnyVersion], drawn: NDArray[np.float64], rows: Any, **keys: Any
) -> Comparison:
    label, *answers = drawn[:, rows]
    found = client.compare(
        [], None, label, predictions=dict(zip(versions, answers, strict=True)), metrics=METRICS, **keys
    )
    return replace(found, comparison_id="", created_at=datetime.min.replace(tzinfo=UTC))


def test_rows_by_symbol_and_by_date_give_the_same_answer(client: Client, versions: list[AnyVersion]) -> None:
    drawn = table(1)
    by_date, by_symbol = (
        compared(client, versions, drawn, rows, time=DATE[rows], group=SYMBOL[rows], horizon=HORIZON)
        for rows in (np.arange(DAYS * SYMBOLS), BY_SYMBOL)
    )
    assert by_date == by_symbol
    assert by_date.resampling.block_rows >= HORIZON
    assert any("1,200 rows of 60 times" in note for note in by_date.notes)


@pytest.mark.weekly
def test_equal_models_seldom_differ_by_day_and_often_by_row(client: Client, versions: list[AnyVersion]) -> None:
    sure = {False: 0, True: 0}
    for seed in range(10):
        drawn = table(seed)
        for timed in sure:
            keys = {"time": DATE[BY_SYMBOL], "group": SYMBOL[BY_SYMBOL], "horizon": HORIZON} if timed else {}
            found = compared(client, versions, drawn, BY_SYMBOL, **keys)
            sure[timed] += found.conclusion.verdict is not Verdict.INCONCLUSIVE
    assert sure[True] <= 2
    assert sure[False] >= 4


def test_one_row_at_each_time_is_compared_as_a_series(client: Client, versions: list[AnyVersion]) -> None:
    rows = np.flatnonzero(SYMBOL == 0)
    drawn = table(2)
    plain, timed = (compared(client, versions, drawn, rows, **keys) for keys in ({}, {"time": DATE[rows]}))
    assert [one.differences for one in plain.results] == [one.differences for one in timed.results]
