"""The models that `scoring.py` lets servers predict with, in the files that each server takes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FEATURES = 20
NAMES = [f"x{i}" for i in range(FEATURES)]
TRAINING_ROWS = 5_000
Predict = Callable[[Any], Any]


@dataclass(frozen=True)
class Model:
    """A model that was trained, and how its library predicts with it.

    Attributes:
        name: its name at every server.
        trained: what `register` takes.
        predict: the library's own call.
        kind: the types of the numbers that it takes.
    """

    name: str
    trained: Any
    predict: Predict
    kind: type = np.float64

    def rows(self, number: int) -> Any:
        """Return an array of shape (rows, features)."""
        return table(number).astype(self.kind)

    @cached_property
    def expected(self) -> Any:
        """What it predicts for the first row."""
        return np.ravel(self.predict(self.rows(1)))[0]


def table(rows: int) -> Any:
    """Return numbers of shape (rows, features), always the same."""
    return np.random.default_rng(7).normal(size=(rows, FEATURES))


def frame(rows: int) -> pd.DataFrame:
    """Return the same numbers as columns with names."""
    return pd.DataFrame(table(rows), columns=NAMES)


def models() -> list[Model]:
    """Train the models that are measured."""
    return [_lightgbm(), _hist_gradient_boosting(), _onnx()]


def small_model(seed: int) -> Any:
    """Train a small model of which many are loaded."""
    from lightgbm import LGBMRegressor

    settings = {"n_estimators": 20, "verbose": -1, "n_jobs": 1, "random_state": seed, "subsample": 0.5}
    return LGBMRegressor(**settings, subsample_freq=1).fit(frame(1_000), _labels(1_000))


def _lightgbm() -> Model:
    from lightgbm import LGBMRegressor

    trained = LGBMRegressor(n_estimators=300, verbose=-1).fit(frame(TRAINING_ROWS), _labels(TRAINING_ROWS))
    return Model("lightgbm", trained, trained.booster_.predict)


def _hist_gradient_boosting() -> Model:
    from sklearn.ensemble import HistGradientBoostingRegressor

    trained = HistGradientBoostingRegressor().fit(table(TRAINING_ROWS), _labels(TRAINING_ROWS))
    return Model("sklearn", trained, trained.predict)


def _onnx() -> Model:
    """A network of two hidden layers."""
    import onnxruntime

    trained = _network([FEATURES, 64, 32, 1])
    session = onnxruntime.InferenceSession(trained.SerializeToString(), providers=["CPUExecutionProvider"])
    return Model("onnx", trained, lambda rows: session.run(None, {"x": rows})[0], np.float32)


def _network(sizes: list[int]) -> Any:
    from onnx import TensorProto, helper

    nodes, weights, last = [], [], "x"
    for layer, (width, following) in enumerate(pairwise(sizes)):
        ends = layer == len(sizes) - 2
        weights += [_weights(f"w{layer}", width, following), _weights(f"b{layer}", 1, following)]
        out = "y" if ends else f"h{layer}"
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [out]))
        if not ends:
            last = f"r{layer}"
            nodes.append(helper.make_node("Relu", [out], [last]))
    ends_of = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", n]) for name, n in (("x", 20), ("y", 1))]
    graph = helper.make_graph(nodes, "network", ends_of[:1], ends_of[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _weights(name: str, width: int, following: int) -> Any:
    from onnx import numpy_helper

    random = np.random.default_rng(len(name) + width)
    return numpy_helper.from_array(random.normal(scale=0.2, size=(width, following)).astype(np.float32), name)


def _labels(rows: int) -> Any:
    features = table(rows)
    return features[:, 0] - 0.5 * features[:, 1] * features[:, 2]


def save_for_mlserver(model: Model, folder: Path) -> tuple[str, str]:
    """Save a model, and return MLServer's runtime for it and the file's name."""
    if model.name == "lightgbm":
        model.trained.booster_.save_model(folder / "model.bst")
        return "mlserver_lightgbm.LightGBMModel", "model.bst"
    if model.name == "sklearn":
        import joblib

        joblib.dump(model.trained, folder / "model.joblib")
        return "mlserver_sklearn.SKLearnModel", "model.joblib"
    save_for_mlflow(model, folder / "mlflow")
    return "mlserver_mlflow.MLflowRuntime", "mlflow"


def save_for_mlflow(model: Model, folder: Path) -> None:
    """Save a model in the flavour of its library."""
    import mlflow

    if model.name == "lightgbm":
        mlflow.lightgbm.save_model(model.trained.booster_, str(folder))
    elif model.name == "sklearn":
        mlflow.sklearn.save_model(model.trained, str(folder), serialization_format="cloudpickle")
    else:
        rows, predicted = model.rows(2), model.predict(model.rows(2))
        signature = mlflow.models.infer_signature({"x": rows}, {"y": predicted})
        mlflow.onnx.save_model(model.trained, str(folder), signature=signature)
