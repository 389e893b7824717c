"""Models of CatBoost, as its binary files: reading them runs no code by design."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.errors import FieldViolation, InvalidField
from modelward.formats.base import MlflowFlavor
from modelward.formats.boosters import is_of
from modelward.formats.catboost_structure import HEAD, check_structure
from modelward.formats.outputs import Outputs, numbers, positions
from modelward.formats.predictor import Predictor, labels_of
from modelward.kinds import Kind, kind_of, missing_in
from modelward.signature import ColumnKind, Signature

Array = NDArray[Any]
SEVERAL_LABELS = ("MultiLogloss", "MultiCrossEntropy")
"""Losses of models that predict several labels for each row."""
EXPONENT = ("Poisson", "Tweedie")
UNCERTAINTY = "RMSEWithUncertainty"
FRAMEWORK = re.compile(r"catboost ([0-9.]+)(?:, (\w+))?")
"""What `save` returns: the release, and the class."""


class CatboostFormat:
    """A model of CatBoost: a `CatBoost`, or a classifier, regressor or ranker of its own."""

    name = "catboost"
    file_name = "model.cbm"
    extra = "catboost"
    runs_code = False
    modules: Sequence[str] = ("catboost",)

    def takes(self, model: object) -> bool:
        """Take the models that CatBoost defines."""
        return is_of(model, "catboost")

    def save(self, model: Any, path: Path) -> str:
        """Save a model; the name of its class is beside the release.

        Raises:
            InvalidField: it has columns of texts or embeddings.
        """
        import catboost

        model.save_model(str(path), format="cbm")
        self.check(path)
        return f"catboost {catboost.__version__}, {type(model).__name__}"

    def recognises(self, path: Path) -> bool:
        """Recognise the first four bytes."""
        with path.open("rb") as file:
            return file.read(len(HEAD)) == HEAD

    def check(self, path: Path) -> None:
        """Check the lengths, the columns, the trees and the statistics of categories.

        Raises:
            InvalidField: the loader would trust a number that is wrong, or it has columns of texts or embeddings.
        """
        check_structure(path.read_bytes())

    def untrusted(self, path: Path, trusted: Sequence[str] = ()) -> list[str]:
        """Return nothing: the format has no types."""
        return []

    def load(self, path: Path, trusted: Sequence[str] = ()) -> Any:
        """Return a `catboost.CatBoost`."""
        import catboost

        return catboost.CatBoost().load_model(blob=path.read_bytes())  # The sandbox does not let it open files.

    def signature(self, model: Any) -> Signature:
        """Return the columns and the classes."""
        return model_signature(model)

    def predictor(self, model: Any, signature: Signature | None) -> Predictor:
        """Return a predictor whose `raw` is a `catboost.CatBoost`."""
        return CatboostPredictor(model, signature)

    def flavor(self, file_name: str, framework: str) -> MlflowFlavor | None:
        """Return MLflow's own flavor for CatBoost."""
        found = FRAMEWORK.fullmatch(framework)
        release, kind = found.groups() if found else ("", None)
        options = {
            "catboost_version": release,
            "data": file_name,
            "model_type": kind or "CatBoost",
            "save_format": "cbm",
            "code": None,
        }
        return MlflowFlavor("catboost", options, (f"catboost=={release}" if release else "catboost",))


class CatboostPredictor(Predictor):
    """A model whose `raw` is a `catboost.CatBoost`; it predicts as the estimator for its loss does."""

    def __init__(self, raw: Any, signature: Signature | None) -> None:
        """Wrap a model.

        Args:
            raw: a `catboost.CatBoost`.
            signature: the version's; None if it has none.
        """
        own = model_signature(raw)
        self._categories = set(raw.get_cat_feature_indices())
        self._own_names: list[str] = list(raw.feature_names_)
        self._output = _output(raw, own)
        super().__init__(raw, _with_kinds(own.completed(signature), self._categories), given_names=not own.names)

    def _calls(self) -> None:
        self.in_frame = False
        if self.classes:
            self._offer_probabilities()

    def call(self, rows: Any) -> Array:
        """Call the model with rows from `prepare`, in one thread; this is the call that is timed."""
        return np.asarray(self.raw.predict(rows, prediction_type=self._output, thread_count=1))

    def predict(self, table: Any) -> Array:
        """Predict each row of a table; see `Predictor.predict`."""
        predicted = self.call(self._rows(table))
        return predicted.ravel() if self.classes else predicted

    def _predict_proba(self, table: Any) -> Array:
        return self._probabilities_of(self._rows(table))

    def _probabilities_of(self, rows: Any) -> Array:
        return np.asarray(self.raw.predict(rows, prediction_type="Probability", thread_count=1))

    def outputs(self, rows: Any) -> Outputs:
        """Return the predictions of rows from `prepare`."""
        predicted = self.call(rows)
        if not self.classes:
            return Outputs(numbers(predicted, len(rows)))
        return Outputs(positions(predicted.ravel(), self.classes), self.classes, self._probabilities_of(rows))

    def _fits(self, table: Array) -> bool:
        return not self._categories and super()._fits(table)

    @cached_property
    def _kinds(self) -> Sequence[ColumnKind]:
        """The kinds of the columns; those of categories, which take integers as well, are checked as they are read."""
        return [ColumnKind.UNKNOWN if i in self._categories else ColumnKind.NUMBER for i in range(self._width)]

    def _matrix(self, frame: Any) -> Any:
        if not self._categories:
            return super()._matrix(frame)
        return frame if self._takes(frame) else self._from_columns(frame)

    def _takes(self, frame: Any) -> bool:
        """Return whether CatBoost takes a frame of the right columns as it is, which is faster than new columns."""
        return list(frame.columns) == self._own_names and all(
            _holds_categories(frame[name]) if i in self._categories else _holds_numbers(frame[name])
            for i, name in enumerate(self._own_names)
        )

    def _from_rows(self, table: Any) -> Any:
        """Take rows in order; those with categories as columns, because a matrix of floats has none."""
        rows = super()._from_rows(table)
        if not self._categories or not isinstance(rows, np.ndarray):
            return rows
        return self.from_columns(dict(zip(self._own_names, rows.T, strict=True)))

    def _from_chosen(self, rows: Array) -> Any:
        if not self._categories:
            return super()._from_chosen(rows)
        return self.from_columns(dict(zip(self._last_chosen, rows.T, strict=True)))

    def from_columns(self, columns: Mapping[str, Array]) -> Any:
        """Return columns in order as a matrix or, with categories, as a data frame of pandas.

        Raises:
            InvalidField: a category is missing, or is a number with a fraction.
        """
        if not self._categories:
            return super().from_columns(columns)
        import pandas as pd

        given = enumerate(columns.items())
        values = [_categories(name, column) if i in self._categories else column for i, (name, column) in given]
        return pd.DataFrame(dict(zip(self._own_names, values, strict=True)), copy=False)


def model_signature(model: Any) -> Signature:
    """Return what a model says of itself; it has no names where it was trained without any.

    The kind of a column of categories is unknown, because CatBoost takes 7 and "7" for the same category.

    Args:
        model: a `catboost.CatBoost`.
    """
    names = list(model.feature_names_ or ())
    named = [] if names == [str(i) for i in range(len(names))] else names
    categories = set(model.get_cat_feature_indices())
    kinds = [ColumnKind.UNKNOWN if i in categories else ColumnKind.NUMBER for i in range(len(names))]
    classes = () if _loss(model).startswith(SEVERAL_LABELS) else labels_of(model.classes_)
    return Signature.of(named, width=len(names), kinds=kinds, classes=classes, probabilities=bool(classes))


def _loss(model: Any) -> str:
    """Return the loss that a model was trained with; empty where its file does not have it, as for a sum of models."""
    known = model.get_all_params() if "params" in set(model.get_metadata().keys()) else {}
    return str(known.get("loss_function", ""))


def _output(model: Any, own: Signature) -> str:
    """Return the kind of predictions that the estimator for the model's loss gives."""
    loss = _loss(model)
    if own.classes or loss.startswith(SEVERAL_LABELS):
        return "Class"
    if loss.startswith(EXPONENT):
        return "Exponent"
    return UNCERTAINTY if loss.startswith(UNCERTAINTY) else "RawFormulaVal"


def _with_kinds(signature: Signature, categories: set[int]) -> Signature:
    """Return a signature in which categories are text where nothing else is known."""
    text = Signature.of(
        [column.name for column in signature.inputs],
        kinds=[ColumnKind.CATEGORY if i in categories else column.kind for i, column in enumerate(signature.inputs)],
    )
    return signature.completed(text)


def _holds_categories(column: Any) -> bool:
    """Return whether a column of pandas has no missing value, and only values of one type that is a category's."""
    from pandas.api.types import infer_dtype

    return infer_dtype(column, skipna=False) in {"string", "integer", "boolean"} and not column.hasnans


def _holds_numbers(column: Any) -> bool:
    return isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiub"


def _categories(name: str, column: Array) -> Array:
    """Return categories as CatBoost takes them: text, integers or booleans.

    Raises:
        InvalidField: one is missing, or is a number with a fraction.
    """
    if (gone := missing_in(column)).any():
        row = f" in row {gone.argmax()}" if len(gone) > 1 else ""  # A row alone may be another one of a larger table.
        why = f"has no {name!r}{row}; CatBoost has no missing categories: send the text that was used in training"
        raise InvalidField(FieldViolation("data", why))
    if kind_of(column) is not Kind.NUMBER or column.dtype.kind != "f":
        return column
    with np.errstate(invalid="ignore"):
        whole = column.astype(np.int64)
    if (whole != column).any():
        value = column[whole != column][0]
        why = f"has {value} in {name!r}, but CatBoost takes text and integers as categories; send text"
        raise InvalidField(FieldViolation("data", why))
    return whole


FORMAT = CatboostFormat()
