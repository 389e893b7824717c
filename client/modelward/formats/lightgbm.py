"""Models of LightGBM, as its text files: reading them runs no code by design."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.formats.base import MlflowFlavor
from modelward.formats.boosters import BoosterPredictor, Categories, is_of, kinds_of, with_classes
from modelward.formats.lightgbm_structure import HEADS, check_structure, loadable
from modelward.formats.predictor import Predictor, labels_of
from modelward.signature import Signature

CLASSIFIERS = ("binary", "multiclass", "multiclassova")
"""Objectives whose scores are the probabilities of classes."""


class LightgbmFormat:
    """A booster, or an estimator of LightGBM's own."""

    name = "lightgbm"
    file_name = "model.txt"
    extra = "lightgbm"
    runs_code = False
    modules: Sequence[str] = ("lightgbm",)

    def takes(self, model: object) -> bool:
        """Take boosters and estimators that LightGBM defines."""
        return is_of(model, "lightgbm")

    def save(self, model: Any, path: Path) -> str:
        """Save a booster, up to its best iteration if it has one."""
        import lightgbm

        booster = _booster(model)
        categories_of(booster)
        booster.save_model(path)
        return f"lightgbm {lightgbm.__version__}"

    def recognises(self, path: Path) -> bool:
        """Recognise the first two lines."""
        with path.open("rb") as file:
            return file.read(max(map(len, HEADS))).startswith(HEADS)

    def check(self, path: Path) -> None:
        """Check the header, and the arrays of each tree.

        Raises:
            InvalidField: the loader would trust a number that is wrong.
        """
        check_structure(path.read_bytes())

    def untrusted(self, path: Path, trusted: Sequence[str] = ()) -> list[str]:
        """Return nothing: the format has no types."""
        return []

    def load(self, path: Path, trusted: Sequence[str] = ()) -> Any:
        """Return a `lightgbm.Booster`."""
        import lightgbm

        return lightgbm.Booster(model_str=loadable(path.read_bytes()))

    def signature(self, model: Any) -> Signature:
        """Return the columns, and the classes of a classifier, which its file keeps as 0, 1, 2, ..."""
        classes = labels_of(model.classes_) if hasattr(type(model), "predict_proba") else ()
        return with_classes(booster_signature(_booster(model)), classes)

    def predictor(self, model: Any, signature: Signature | None) -> Predictor:
        """Return a predictor whose `raw` is the booster."""
        return LightgbmPredictor(model, booster_signature(model), signature, categories_of(model))

    def flavor(self, file_name: str, framework: str) -> MlflowFlavor | None:
        """Return MLflow's own flavor for LightGBM."""
        release = framework.partition(" ")[2]
        options = {"lgb_version": release, "data": file_name, "model_class": "lightgbm.basic.Booster", "code": None}
        return MlflowFlavor("lightgbm", options, (f"lightgbm=={release}" if release else "lightgbm",))


class LightgbmPredictor(BoosterPredictor):
    """A model whose `raw` is a `lightgbm.Booster`."""

    def call(self, rows: Any) -> NDArray[Any]:
        """Call the booster with rows from `prepare`, in one thread; this is the call that is timed."""
        return np.asarray(self.raw.predict(rows, num_threads=1))


def booster_signature(booster: Any) -> Signature:
    """Return what a booster's file says; it has no names where it was trained without any.

    Args:
        booster: a `lightgbm.Booster`.
    """
    names, objective = booster.feature_name(), _header(booster).get("objective", "").split(" ")[0]
    named = [] if names == [f"Column_{i}" for i in range(len(names))] else names
    kinds = kinds_of(len(names), categories_of(booster))
    classes = range(max(booster.num_model_per_iteration(), 2)) if objective in CLASSIFIERS else ()
    return Signature.of(named, width=len(names), kinds=kinds, classes=classes, probabilities=bool(classes))


def categories_of(booster: Any) -> Categories:
    """Return the codes of the categories of a data frame that a booster was trained with.

    Args:
        booster: a `lightgbm.Booster`.

    Raises:
        ValueError: the file does not tell which columns they are of.
    """
    if not booster.pandas_categorical:
        return {}
    listed = _header(booster).get("[categorical_feature", "").strip(" ]")
    positions = sorted({int(position) for position in listed.split(",") if position})
    if len(positions) != len(booster.pandas_categorical):
        raise ValueError(
            f"the data frame had {len(booster.pandas_categorical)} columns of categories, but LightGBM used "
            f"{len(positions)}; use all of them, unordered, with categorical_feature='auto'"
        )
    codes = ({value: code for code, value in enumerate(values)} for values in booster.pandas_categorical)
    return dict(zip(positions, codes, strict=True))


def _header(booster: Any) -> dict[str, str]:
    """Return the lines of a booster's file that have a name; the trees' are not used."""
    lines = booster.model_to_string(num_iteration=1).splitlines()
    return {name: value for line in lines if (parts := _parts(line)) for name, value in [parts]}


def _parts(line: str) -> tuple[str, str] | None:
    name, found, value = line.partition(": " if line.startswith("[") else "=")
    return (name, value) if found else None


def _booster(model: Any) -> Any:
    return model if type(model).__name__ == "Booster" else model.booster_


FORMAT = LightgbmFormat()
