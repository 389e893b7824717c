"""The course of the Sharpe ratio over the cost."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from modelward.comparison import CostCurve, CostPoint
from modelward.lifecycle import VersionRef
from modelward_server.statistics.metrics import Scored
from modelward_server.statistics.trading import Floats, TradingReturns, at_cost, break_even_cost, sharpe

POINTS = 11
DEFAULT_END_BPS = 20.0
"""The end of the curves where no version has a break-even cost above 0 and no cost was given."""
MAX_COST_BPS = 10_000.0


def cost_curves(scored: Mapping[VersionRef, Scored], cost_bps: float) -> dict[VersionRef, CostCurve]:
    """Return the Sharpe ratio over the cost for each version with returns, all at the same costs.

    The costs reach from 0 to twice the highest break-even cost; where none is above 0, to twice the given cost.

    Args:
        scored: the predictions of each version, with their trading returns.
        cost_bps: the given cost of changing the position by 1, in basis points.
    """
    traded = {version: one.trading_returns for version, one in scored.items() if one.trading_returns}
    even = {version: _value(break_even_cost(returns), returns) for version, returns in traded.items()}
    end = max((cost for cost in even.values() if cost > 0), default=cost_bps or DEFAULT_END_BPS / 2)
    costs = np.linspace(0.0, min(2 * end, MAX_COST_BPS), POINTS).tolist()
    return {
        version: CostCurve(None if np.isnan(even[version]) else even[version], _points(returns, costs))
        for version, returns in traded.items()
    }


def _points(returns: TradingReturns, costs: Sequence[float]) -> tuple[CostPoint, ...]:
    """Return the Sharpe ratio at each cost at which the net returns vary."""
    ratios = ((cost, _value(sharpe(at_cost(returns, cost)), returns)) for cost in costs)
    return tuple(CostPoint(cost, ratio) for cost, ratio in ratios if np.isfinite(ratio))


def _value(estimate: Callable[[Floats], Floats], returns: TradingReturns) -> float:
    return float(estimate(np.ones((1, len(returns.net))))[0])
