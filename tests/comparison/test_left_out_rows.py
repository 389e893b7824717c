"""Rows that are left out are left out of everything: a comparison equals that of the other rows alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from modelward import AsyncClient, Comparison, Metric, errors
from modelward.segments import TimeRange

pytestmark = pytest.mark.system  # Takes seconds.

DAYS, SYMBOLS = 60, 3
ROWS = DAYS * SYMBOLS
RANDOM = np.random.default_rng(3)
LABEL = RANDOM.normal(size=ROWS)
RETURNS, WEIGHTS = 0.01 * LABEL, RANDOM.uniform(0.1, 1.0, ROWS)
DAY, SYMBOL, NUMBER = np.repeat(np.arange(DAYS), SYMBOLS), np.tile(np.arange(SYMBOLS), DAYS), np.arange(ROWS)
LATE, UNANSWERED, UNPAID, UNMEASURED = (
    slice(ROWS - 6, ROWS),
    NUMBER % 11 == 4,
    NUMBER % 17 == 5,
    NUMBER % 19 == 7,
)


@pytest.fixture
async def versions(client: AsyncClient, name: str) -> list[str]:
    model = LinearRegression().fit(LABEL[:, None], LABEL)
    return [str((await client.register(name, model)).ref) for _ in range(3)]


def tables() -> list[dict[str, Any]]:
    """Return predictions with gaps in each kind of column, of which the last version never trades."""
    found = [
        {
            "id": NUMBER,
            "prediction": LABEL + RANDOM.normal(0, noise, ROWS),
            "position": RANDOM.normal(size=ROWS) if noise < 1 else np.zeros(ROWS),
            "return": RETURNS + RANDOM.normal(0, 0.001, ROWS),
            "loss:slippage": RANDOM.gamma(2.0, size=ROWS),
        }
        for noise in (0.5, 0.8, 1.0)
    ]
    found[0]["prediction"][UNANSWERED] = np.nan
    found[1]["return"][UNPAID] = np.nan
    found[1]["loss:slippage"][UNMEASURED] = np.nan
    return found


async def compared(
    client: AsyncClient, versions: list[str], sent: list[dict[str, Any]], rows: Any, **columns: Any
) -> Comparison:
    """Compare some of the rows; arrays of the arguments are columns."""
    label = LABEL.copy()
    label[LATE] = np.nan
    given = {name: value[rows] if isinstance(value, np.ndarray) else value for name, value in columns.items()}
    tables: dict[Any, Any] = {
        version: {name: values[rows] for name, values in table.items()}
        for version, table in zip(versions, sent, strict=True)
    }
    regimes = {"early": TimeRange("0", "30")}
    return await client.compare(
        [],
        None,
        label[rows],
        predictions=tables,
        ids=NUMBER[rows],
        time=DAY[rows],
        group=SYMBOL[rows],
        by=SYMBOL[rows],
        regimes=regimes,
        **given,
    )


def measured(found: Comparison) -> list[Any]:
    """Return what a comparison found, without what is named for the rows that it left out."""
    return [
        found.rows,
        found.window,
        found.conclusion,
        found.segments,
        [replace(result, coverage=None) for result in found.results],
        found.notes[-1:],
    ]


@pytest.mark.parametrize("kind", ["rows", "portfolio", "equal risk"])
async def test_rows_left_out_count_nowhere(client: AsyncClient, versions: list[str], kind: str) -> None:
    kept = ~(UNANSWERED | UNPAID | UNMEASURED)
    kept[LATE] = False
    weights = WEIGHTS.copy()
    weights[LATE] = np.nan  # As weights by the uniqueness of labels: not known before the label.
    asked: dict[str, Any] = {
        "rows": {"sample_weights": weights, "primary": "loss:slippage", "metrics": ["loss:slippage", "mse"]},
        "portfolio": {"portfolio_weights": weights, "returns": RETURNS, "primary": "sharpe", "cost_bps": 2.0},
        "equal risk": {"equal_risk_times": 5, "metrics": ["net_return", "sharpe"], "cost_bps": 2.0},
    }[kind]
    sent = tables()
    found = await compared(client, versions, sent, slice(None), **asked)
    alone = await compared(client, versions, sent, kept, **asked)
    assert found.rows == kept.sum()
    assert (
        found.notes[0] == f"6 of {ROWS} rows have no label{' and return' * ('returns' in asked)} yet and are excluded"
    )
    assert found.result(versions[0]).coverage == pytest.approx(1 - UNANSWERED[:-6].sum() / (ROWS - 6))
    assert measured(found) == measured(alone)
    assert any(segment.results for segment in found.segments)
    if kind != "rows":
        assert Metric.SHARPE in [one.metric for one in found.result(versions[2]).undefined]
        curve = found.result(versions[2]).cost_curve
        assert curve is not None
        assert (curve.break_even_bps, curve.points) == (None, ())


async def test_weights_of_compared_rows_must_not_be_missing(client: AsyncClient, versions: list[str]) -> None:
    weights = np.where(NUMBER == 1, np.nan, WEIGHTS)
    for field, more in (("sample_weights", {}), ("portfolio_weights", {"returns": RETURNS})):
        with pytest.raises(errors.InvalidField, match=f"{field}.*missing in 1 of the"):
            await compared(client, versions, tables(), slice(None), **{field: weights}, **more)
    paid_late = np.where(NUMBER < ROWS - 6, np.nan, RETURNS)
    with pytest.raises(errors.InvalidField, match="X: has no row with a label and return"):
        await compared(client, versions, tables(), slice(None), returns=paid_late)
