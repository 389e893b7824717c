"""How a version was selected: the configurations that were tried before it, and the folds of its cross-validation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelward._record import Record, counted, sentence
from modelward.shared.figures import metric, percent


class BacktestTrials:
    """The configurations that were tried, where a table of their returns alone does not say enough.

    Args:
        returns: of each configuration over the same periods, as fractions, in the order of time, shape (periods,
            configurations): a frame, a mapping of columns, an Arrow table or an array without missing values, or the
            URI of Parquet files that the server may read.
        chosen: the column of the configuration that was chosen; empty for the one with the highest Sharpe ratio.
        periods_per_year: number of periods per year.
    """

    def __init__(self, returns: Any, *, chosen: str = "", periods_per_year: float = 252.0) -> None:
        self.returns = returns
        self.chosen = chosen
        self.periods_per_year = periods_per_year


@dataclass(frozen=True, repr=False)
class SharpeHaircut(Record):
    """A Sharpe ratio after a correction for the number of trials (Harvey and Liu 2015)."""

    method: str
    """`bonferroni`, `holm` or `bhy` (Benjamini, Hochberg and Yekutieli)."""
    p_value: float
    """Adjusted, two-sided."""
    sharpe: float
    """The annualized ratio whose p-value, as that of a single trial, is the adjusted one."""


@dataclass(frozen=True, repr=False)
class SelectionOverfitting(Record):
    """The overfitting of a selection by the Sharpe ratio (Bailey, Borwein, Lopez de Prado and Zhu 2017)."""

    blocks: int
    """Number of blocks; each half of them is the sample once."""
    probability: float
    """The share of splits in which the best in sample is at or below the median out of sample."""
    logits: Mapping[float, int]
    """How often each logit of its relative rank out of sample occurred, ascending; events of changes leave them out."""
    slope: float
    """The slope of its ratio out of sample on that in sample; below 0, what does better inside does worse outside."""
    loss_probability: float
    """The share of splits in which it loses out of sample."""


@dataclass(frozen=True, repr=False)
class Backtest(Record):
    """Statistics of the returns of all configurations that were tried; ratios are annualized."""

    chosen: str
    """The chosen configuration."""
    rows: int
    """Number of periods."""
    periods_per_year: float
    """Number of periods per year."""
    sharpe: float
    """The Sharpe ratio of the chosen one."""
    probabilistic_sharpe: float
    """The probability that its true ratio is above 0 (Bailey and Lopez de Prado 2012)."""
    minimum_rows: float | None
    """The number of periods that would show that at 95 %; None if the observed ratio is not above 0."""
    deflated_sharpe: float
    """The probability that it exceeds what is expected of the best without skill (the same, 2014)."""
    expected_by_luck: float
    """The ratio that is expected of the best of as many trials without skill."""
    haircuts: tuple[SharpeHaircut, ...] = ()
    """The ratio after corrections for the number of trials."""
    selection: SelectionOverfitting | None = None
    """The probability of overfitting; None for one trial, or fewer than 16 periods."""


@dataclass(frozen=True, repr=False)
class Overfitting(Record):
    """How likely a chosen configuration is only the luckiest of those that were tried."""

    trials: int
    """How many were tried."""
    backtest: Backtest | None = None
    """What their returns say; None if only their number is known."""

    @property
    def summary(self) -> str:
        """What is known, in a sentence."""
        tried = counted(self.trials, "configuration")
        if self.backtest is None:
            return f"chosen of {tried}, whose returns are not known"
        found = self.backtest
        selection, needed = found.selection, found.minimum_rows
        return sentence(
            f"{found.chosen} was chosen of {tried}: Sharpe ratio {metric(found.sharpe)}, deflated "
            f"{percent(found.deflated_sharpe)}",
            f"probability of overfitting {percent(selection.probability)}" if selection else "",
            f"{found.rows:,} rows" + (f", needs {-(-needed // 1):,.0f}" if needed is not None else ""),
        )

    def _describe(self) -> str:
        return self.summary


@dataclass(frozen=True, repr=False)
class ValidationFold(Record):
    """One fold of a cross-validation."""

    name: str
    """Its name, such as `3` or `2023-Q4`."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Its metrics; finite values."""
    train_rows: int = 0
    """Number of training rows; 0 if it was not recorded."""
    test_rows: int = 0
    """Number of test rows."""
    train_from: str = ""
    """The first time of the training; empty if it was not recorded."""
    train_until: str = ""
    """The last time of the training."""
    test_from: str = ""
    """The first time of the test."""
    test_until: str = ""
    """The last time of the test."""
