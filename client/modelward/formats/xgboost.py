"""Models of XGBoost, as its UBJ or JSON files: reading them runs no code by design."""

from collections.abc import Sequence
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.formats.base import MlflowFlavor
from modelward.formats.boosters import BoosterPredictor, Categories, is_of, kinds_of
from modelward.formats.predictor import Predictor
from modelward.formats.xgboost_document import HEAD_BYTES, Document, is_document, read_document
from modelward.formats.xgboost_structure import check_structure, tree_model
from modelward.signature import Signature

TWO_CLASSES = ("binary:logistic", "binary:hinge")
"""Objectives whose score is the probability of the second one of two classes."""
SEVERAL_CLASSES = ("multi:softprob", "multi:softmax")


class XgboostFormat:
    """A booster of trees, or an estimator of XGBoost's own."""

    name = "xgboost"
    file_name = "model.ubj"
    extra = "xgboost"
    runs_code = False
    modules: Sequence[str] = ("xgboost",)

    def takes(self, model: object) -> bool:
        """Take boosters and estimators that XGBoost defines."""
        return is_of(model, "xgboost")

    def save(self, model: Any, path: Path) -> str:
        """Save a booster as UBJ."""
        import xgboost

        content = bytes(_booster(model).save_raw("ubj"))
        _check_is_kept(model, check_structure(content)["learner"])
        path.write_bytes(content)
        return f"xgboost {xgboost.__version__}"

    def recognises(self, path: Path) -> bool:
        """Recognise the first key of the document, `learner`."""
        with path.open("rb") as file:
            return is_document(file.read(HEAD_BYTES))

    def check(self, path: Path) -> None:
        """Check the counts, each tree, and the categories.

        Raises:
            InvalidField: the loader would trust a number that is wrong, or the model is not one that is read here.
        """
        check_structure(path.read_bytes())

    def untrusted(self, path: Path, trusted: Sequence[str] = ()) -> list[str]:
        """Return nothing: the format has no types."""
        return []

    def load(self, path: Path, trusted: Sequence[str] = ()) -> Any:
        """Return a `xgboost.Booster` that predicts in one thread."""
        import xgboost

        return xgboost.Booster(params={"nthread": 1}, model_file=bytearray(path.read_bytes()))

    def signature(self, model: Any) -> Signature:
        """Return the columns, and the classes of a classifier, which XGBoost numbers 0, 1, 2, ..."""
        return learner_signature(_learner(_booster(model)))

    def predictor(self, model: Any, signature: Signature | None) -> Predictor:
        """Return a predictor whose `raw` is the booster."""
        return XgboostPredictor(model, _learner(model), signature)

    def flavor(self, file_name: str, framework: str) -> MlflowFlavor | None:
        """Return MLflow's own flavor for XGBoost."""
        release = framework.partition(" ")[2]
        options = {"xgb_version": release, "data": file_name, "model_class": "xgboost.core.Booster", "code": None}
        return MlflowFlavor("xgboost", options, (f"xgboost=={release}" if release else "xgboost",))


class XgboostPredictor(BoosterPredictor):
    """A model whose `raw` is a `xgboost.Booster`, up to its best iteration if it has one."""

    def __init__(self, raw: Any, learner: Document, signature: Signature | None) -> None:
        """Wrap a booster.

        Args:
            raw: a `xgboost.Booster`.
            learner: what its file says.
            signature: the version's; None if it has none.
        """
        best = raw.attr("best_iteration")
        self._iterations = (0, 0 if best is None else int(best) + 1)
        self._needs_softmax = _objective(learner) == "multi:softmax"
        self._output = "margin" if self._needs_softmax else "value"
        super().__init__(raw, learner_signature(learner), signature, categories_of(learner))

    def call(self, rows: Any) -> NDArray[Any]:
        """Call the booster with rows from `prepare`; this is the call that is timed."""
        scores = self.raw.inplace_predict(rows, iteration_range=self._iterations, predict_type=self._output)
        return _softmax(scores) if self._needs_softmax else np.asarray(scores)


def learner_signature(learner: Document) -> Signature:
    """Return what a booster's file says; it has no names where it was trained without any.

    Args:
        learner: of the file.
    """
    width, classes = int(learner["learner_model_param"]["num_feature"]), range(_classes(learner))
    kinds = kinds_of(width, categories_of(learner))
    names = learner.get("feature_names", [])
    return Signature.of(names, width=width, kinds=kinds, classes=classes, probabilities=bool(classes))


def categories_of(learner: Document) -> Categories:
    """Return the codes of the categories of a data frame that a booster was trained with.

    Args:
        learner: of the file.
    """
    encodings = tree_model(learner["gradient_booster"]).get("cats", {}).get("enc", [])
    values = {i: _values(encoding) for i, encoding in enumerate(encodings)}
    return {i: {value: code for code, value in enumerate(found)} for i, found in values.items() if found}


def _values(encoding: Document) -> Sequence[Any]:
    """Return the categories of one feature, which are numbers, or bytes of text with the place where each begins."""
    values = np.asarray(encoding["values"])
    if "offsets" not in encoding:
        return list(values.tolist())
    text, places = (values.astype(np.int64) & 255).astype(np.uint8).tobytes(), list(encoding["offsets"])
    return [text[begin:end].decode() for begin, end in pairwise(places)]


def _classes(learner: Document) -> int:
    """Return how many classes there are; none for numbers, or for several labels for each row."""
    parameters, objective = learner["learner_model_param"], _objective(learner)
    if objective in SEVERAL_CLASSES:
        return int(parameters["num_class"])
    return 2 if objective in TWO_CLASSES and int(parameters.get("num_target", 1)) == 1 else 0


def _objective(learner: Document) -> str:
    return str(learner["objective"]["name"])


def _softmax(margins: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    probabilities: NDArray[Any] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _learner(booster: Any) -> Document:
    """Return what the file of a booster says."""
    learner: Document = read_document(bytes(booster.save_raw("ubj")))["learner"]
    return learner


def _booster(model: Any) -> Any:
    return model if type(model).__name__ == "Booster" else model.get_booster()


def _check_is_kept(model: Any, learner: Document) -> None:
    """Check that the file has all that the predictions need.

    Categories are not kept before XGBoost 3.1, nor in a slice of a booster. An estimator that was given the types of
    the columns has codes of categories instead; of a booster that is not known.
    """
    missing = getattr(model, "missing", None)
    if missing is not None and not isnan(missing):
        raise ValueError(f"its file does not keep missing={missing:g}; use NaN for missing values")
    kept, types = categories_of(learner), learner.get("feature_types", [])
    lost = [i for i, kind in enumerate(types) if kind == "c" and i not in kept]
    of_codes = hasattr(model, "get_params") and model.feature_types is not None
    if lost and not of_codes:
        raise ValueError(f"its file does not keep the categories of column {lost[0]}, but takes their codes")


FORMAT = XgboostFormat()
