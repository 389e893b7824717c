"""A row's answer depends on the row alone, and is that of the library itself, in each format."""

from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from modelward import Client
from tests.support.format_models import FRAME, MODELS, TARGET

pytestmark = pytest.mark.system  # Takes seconds.

ROWS = pd.DataFrame(np.random.default_rng(5).normal(size=(100, 2)), columns=list(FRAME.columns))
ORDER = np.random.default_rng(6).permutation(len(ROWS))


def linear() -> Any:
    return LinearRegression().fit(FRAME, TARGET)


def by_its_library(model: Any) -> NDArray[Any]:
    if hasattr(model, "predict"):
        return np.asarray(model.predict(ROWS))
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    kind = {"tensor(float)": np.float32, "tensor(double)": np.float64}[given.type]
    return np.ravel(session.run(None, {given.name: ROWS.to_numpy(kind)})[0])


@pytest.fixture(scope="module", params=["lightgbm", "skops", "onnx", "linear"])
def model(request: pytest.FixtureRequest) -> Any:
    return (linear if request.param == "linear" else MODELS[request.param])()


@pytest.fixture(scope="module")
def name(model: Any, scoring_sdk: Client) -> str:
    name = f"spx-{uuid4().hex[:8]}"
    version = scoring_sdk.register(name, model, reference=FRAME)
    scoring_sdk.promote(version, to="staging")
    scoring_sdk.promote(version, to="production", reason="it passed its tests")
    return name


def check_same(model: Any, found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Check that answers are equal; the sums of a linear model are, up to the order of their terms."""
    rtol, atol = (1e-12, 1e-15) if isinstance(model, LinearRegression) else (0, 0)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


def test_answers_are_those_of_the_library(model: Any, name: str, scoring_sdk: Client) -> None:
    check_same(model, scoring_sdk.score(name, ROWS).predictions, by_its_library(model))


def test_a_row_is_answered_alone_as_among_others(model: Any, name: str, scoring_sdk: Client) -> None:
    together = scoring_sdk.score(name, ROWS).predictions
    alone = [scoring_sdk.score(name, ROWS.iloc[[row]]).predictions[0] for row in range(20)]
    check_same(model, np.array(alone), together[:20])


def test_other_orders_of_rows_and_columns_change_no_answer(model: Any, name: str, scoring_sdk: Client) -> None:
    together = scoring_sdk.score(name, ROWS).predictions
    check_same(model, scoring_sdk.score(name, ROWS.iloc[ORDER]).predictions, together[ORDER])
    check_same(model, scoring_sdk.score(name, ROWS.iloc[:, ::-1].assign(more=0.0)).predictions, together)
