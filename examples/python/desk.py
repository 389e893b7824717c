"""A trading desk's day with a panel of 20 stocks: choose a model, register it, compare, promote, monitor and retrain.

While `modelward serve` runs:

    python examples/python/desk.py us-stocks
    python examples/python/desk.py us-stocks --prices prices.csv

The prices are simulated, or those of a file with a column `date` and one column for each stock. Models predict the
return of the next five days. Several configurations are tried by walk-forward validation, and their returns go with
the version, so that its Sharpe ratio counts as the best of so many. The version is compared with the one in
production on days that neither has seen, and promoted by the gates. Then its live days are observed; as the market
changes, an alarm makes the model due, and its retraining job is done.
"""

import argparse
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMRegressor
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import spearmanr

from modelward import BacktestTrials, Client, ModelVersion, PromotionPolicy, ValidationFold, errors
from modelward.validation import WalkForward

FEATURES = ["momentum_5", "momentum_20", "volatility_20"]
HORIZON = 5
"""The number of days over which a label reaches."""
KEPT_DAYS, LIVE_DAYS = 120, 60
"""The last days of the history, which no model is trained on, and the days that follow."""
KEYS: dict[str, Any] = {"time": "date", "group": "symbol"}
FIRST_ROWS = 2000
"""The first version is trained on no more than these."""
CONFIGURATIONS = {f"leaves-{leaves}-trees-{trees}": (leaves, trees) for leaves in (4, 8, 16) for trees in (20, 60)}


def simulated_prices(days: int, seed: int = 1) -> pd.DataFrame:
    """Return prices of 20 stocks with a common factor and trends of weeks; the live days are thrice as volatile."""
    rng = np.random.default_rng(seed)
    trends = lfilter([1], [1, -0.95], rng.normal(0, 0.0012, (days, 20)), axis=0)
    volatility = np.where(np.arange(days) < days - LIVE_DAYS, 0.01, 0.03)[:, None]
    returns = trends + volatility * (rng.normal(size=(days, 1)) + rng.normal(size=(days, 20)))
    dates = pd.bdate_range("2022-01-03", periods=days, name="date")
    return pd.DataFrame(100 * np.exp(returns.cumsum(axis=0)), dates, [f"STOCK{number:02}" for number in range(20)])


def panel_of(prices: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each day and stock: features known on the day, the label and the return of the next day."""
    returns = prices.pct_change()
    columns = {
        "momentum_5": prices.pct_change(5),
        "momentum_20": prices.pct_change(20),
        "volatility_20": returns.rolling(20).std(),
        "label": prices.pct_change(HORIZON).shift(-HORIZON),
        "next_return": returns.shift(-1),
    }
    table = pd.concat({name: values.stack() for name, values in columns.items()}, axis=1).dropna()
    return table.rename_axis(["date", "symbol"]).reset_index()


def fitted(configuration: str, panel: pd.DataFrame) -> LGBMRegressor:
    leaves, trees = CONFIGURATIONS[configuration]
    model = LGBMRegressor(num_leaves=leaves, n_estimators=trees, min_child_samples=50, n_jobs=1, verbose=-1)
    return model.fit(panel[FEATURES], panel["label"])


def daily_returns(panel: pd.DataFrame, predictions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the stocks of the next day's return in the direction of the prediction."""
    return np.asarray((np.sign(predictions) * panel["next_return"]).groupby(panel["date"]).mean())


def rank_ic(panel: pd.DataFrame, predictions: NDArray[np.float64]) -> float:
    """Return the mean over the days of the rank correlation between predictions and labels."""
    days = panel.assign(prediction=predictions).groupby("date")
    return float(np.mean([spearmanr(rows["prediction"], rows["label"]).statistic for _, rows in days]))


def walk_forward(configuration: str, panel: pd.DataFrame) -> tuple[list[ValidationFold], NDArray[np.float64]]:
    """Return the folds of a configuration, and its returns on the days of all tests."""
    folds, returns = list[ValidationFold](), []
    for train, test in WalkForward(4, test_times=60, purge=HORIZON).split(panel, groups=panel["date"]):
        known, unseen = panel.iloc[train], panel.iloc[test]
        predictions = np.asarray(fitted(configuration, known).predict(unseen[FEATURES]))
        days = (f"{day:%Y-%m-%d}" for side in (known, unseen) for day in (side["date"].min(), side["date"].max()))
        metrics = {"rank_ic": rank_ic(unseen, predictions)}
        folds.append(ValidationFold(f"{len(folds) + 1}", metrics, len(train), len(test), *days))
        returns.append(daily_returns(unseen, predictions))
    return folds, np.concatenate(returns)


def register(mw: Client, model: str, configuration: str, panel: pd.DataFrame, **more: Any) -> ModelVersion:
    """Train a configuration on a panel, and register it with the panel as the reference of its live rows."""
    return mw.register(
        model,
        fitted(configuration, panel),
        tags={"configuration": configuration},
        reference=panel[["date", "symbol", *FEATURES]],
        **KEYS,
        **more,
    )


def register_best(mw: Client, model: str, panel: pd.DataFrame) -> ModelVersion:
    """Try every configuration, and register the one with the best mean rank correlation, with all that was tried."""
    tried = {configuration: walk_forward(configuration, panel) for configuration in CONFIGURATIONS}
    mean = {one: float(np.mean([fold.metrics["rank_ic"] for fold in folds])) for one, (folds, _) in tried.items()}
    best = max(mean, key=mean.__getitem__)
    returns = {one: days for one, (_, days) in tried.items()}
    trials = BacktestTrials(returns, chosen=best)
    version = register(mw, model, best, panel, metrics={"rank_ic": mean[best]}, folds=tried[best][0], trials=trials)
    if version.overfitting:
        print(f"{version}: {version.overfitting.summary}")
    return version


def promote(mw: Client, version: ModelVersion, reason: str) -> None:
    """Promote a version, or say which gates it fails."""
    mw.promote(version, to="staging")
    try:
        mw.promote(version, to="production", reason=reason)
        print(f"{version} is in production")
    except errors.GatesFailed as error:
        print(f"{version} stays in staging:", *(f"{gate.gate}: {gate.evidence}" for gate in error.gates))


def observe(mw: Client, version: ModelVersion, panel: pd.DataFrame) -> bool:
    """Send the live days, as an engine does after each close, and return whether they raised an alarm."""
    observer = mw.observe(version, sender="engine-1", span=timedelta(days=14))
    seen = [observer.add(rows[["date", "symbol", *FEATURES]]) for _, rows in panel.groupby("date")]
    for report in (report for one in seen for report in one.reports):
        print(f"live days from {report.window and report.window.first}: {report.summary}")
    return any(one.alarm for one in seen)


def retrain(mw: Client, model: str, panel: pd.DataFrame) -> None:
    """Do the job of a model that is due."""
    job = mw.lease_job(model, holder="trainer-1")
    print(f"due: {job.reasons[0].rule}")
    configuration = mw.resolve(model).version.tags["configuration"]
    version = register(mw, model, configuration, panel, job=job)
    mw.complete_job(job, version)
    print(f"{version} is trained on the days up to {panel['date'].max():%Y-%m-%d}")


def run(mw: Client, model: str, panel: pd.DataFrame) -> None:
    """Go through the day."""
    live_from, kept_from = np.sort(panel["date"].unique())[[-LIVE_DAYS, -LIVE_DAYS - KEPT_DAYS]]
    known = panel[panel["date"] < kept_from - pd.offsets.BDay(HORIZON)]  # Later labels reach into the kept days.
    kept, live = panel[panel["date"].between(kept_from, live_from, "left")], panel[panel["date"] >= live_from]

    first = register(mw, model, next(iter(CONFIGURATIONS)), known.head(FIRST_ROWS))
    promote(mw, first, "the first version")
    mw.set_promotion_policy(PromotionPolicy(model, require_comparison=True, max_pbo=0.5))

    second = register_best(mw, model, known)
    compared = mw.compare(
        [first, second],
        kept[["date", "symbol", *FEATURES]],
        kept["label"],
        returns=kept["next_return"],
        cost_bps=2,
        metrics=["rank_ic", "sharpe", "net_return", "max_drawdown"],
        horizon=HORIZON,
        **KEYS,
    )
    print(compared.conclusion.summary)
    promote(mw, second, compared.conclusion.summary)

    mw.create_schedule(model, drift=True)
    if observe(mw, mw.resolve(model).version, live):
        retrain(mw, model, panel)


def main() -> None:
    parser = argparse.ArgumentParser(description="Go through a trading desk's day.")
    parser.add_argument("model")
    parser.add_argument("--server", default="localhost:50061")
    parser.add_argument("--prices", help="CSV file with a column `date` and one column for each stock")
    given = parser.parse_args()
    prices = pd.read_csv(given.prices, index_col="date", parse_dates=True) if given.prices else simulated_prices(900)
    with Client(given.server, actor="desk") as mw:
        run(mw, given.model, panel_of(prices))


if __name__ == "__main__":
    main()
