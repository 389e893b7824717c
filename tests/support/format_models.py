"""One regressor of each format that the server runs by itself, as a desk's own training makes it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from modelward import Client, Job

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 2)), columns=["momentum", "vix"])
TARGET = FRAME.momentum - 0.5 * FRAME.vix


def skops() -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(max_iter=5).fit(FRAME, TARGET)


def onnx() -> Any:
    import statsmodels.api as sm

    from modelward.onnx_export import from_statsmodels

    return from_statsmodels(sm.OLS(TARGET, FRAME).fit(), FRAME).model


def lightgbm() -> Any:
    from lightgbm import LGBMRegressor

    return LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1).fit(FRAME, TARGET)


def xgboost() -> Any:
    from xgboost import XGBRegressor

    return XGBRegressor(n_estimators=5, n_jobs=1).fit(FRAME, TARGET)


def catboost() -> Any:
    from catboost import CatBoostRegressor

    few: dict[str, Any] = {"iterations": 5, "thread_count": 1, "verbose": False, "allow_writing_files": False}
    return CatBoostRegressor(**few).fit(FRAME, TARGET)


MODELS: dict[str, Callable[[], Any]] = {
    "skops": skops,
    "onnx": onnx,
    "lightgbm": lightgbm,
    "xgboost": xgboost,
    "catboost": catboost,
}


def train(job: Job, client: Client) -> None:
    """Train the model of the format that the job's parameters name, and register it with its reference."""
    client.register(job.model, MODELS[job.parameters["format"]](), reference=FRAME, job=job)
