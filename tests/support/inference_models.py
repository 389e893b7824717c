"""Models for the tests of the Open Inference Protocol."""

from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from modelward import Client, ModelVersion

RNG = np.random.default_rng(7)
ROWS = pd.DataFrame(RNG.integers(0, 2, size=(40, 3)).astype(float), columns=["a", "b", "c"])
"""Numbers that every datatype can hold."""
NUMBER = LinearRegression().fit(ROWS, ROWS.a - 2 * ROWS.b + RNG.normal(size=40))
OTHER = LinearRegression().fit(ROWS, ROWS.c)


def in_production(sdk: Client, model: Any, rows: pd.DataFrame = ROWS, name: str = "") -> ModelVersion:
    version = sdk.register(name or f"spx-{uuid4().hex[:8]}", model, reference=rows)
    sdk.promote(version, to="staging")
    sdk.promote(version, to="production", reason="it passed its tests")
    return version
