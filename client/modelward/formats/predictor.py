"""One object for a loaded model of any format: it finds columns by name, and predicts classes or numbers."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.errors import FieldViolation, InvalidField
from modelward.formats.frame_conversion import converts_frames, takes_only_numbers
from modelward.formats.highest_probability import takes_highest_probability
from modelward.formats.outputs import Outputs, labels, numbers, positions
from modelward.shared.signature_check import check_columns, fit_kinds
from modelward.signature import ClassLabel, ColumnKind, Signature

Array = NDArray[Any]
NUMERIC = frozenset("fiub")
"""The kinds of NumPy's types of numbers, and of booleans, which count as 1 and 0."""


class Predictor:
    """A loaded model, the same object in an engine, in `load` and in the server's sandbox.

    Tables are data frames of pandas or polars, mappings of columns, or Arrow tables: columns are found by name, and
    other columns are ignored. An array or a list of rows has the columns in the order of the signature, and is given to
    the model as it is. Missing values are passed on; what they do depends on the model. Text in a column of numbers,
    also that of a number such as "1.0", and numbers in a column of text are refused.

    This class serves models with the methods of scikit-learn, and functions of a table; a format whose models have
    other methods derives from it.
    """

    in_frame: bool = False
    """Whether the model takes a data frame of pandas; otherwise it takes a matrix."""
    predict_proba: Callable[[Any], Array]
    """Returns the probabilities of a table's rows: float64 of shape (rows, classes); only where the model has some."""

    def __init__(self, raw: Any, signature: Signature, *, given_names: bool = False) -> None:
        """Wrap a model.

        Args:
            raw: what the format's library loaded.
            signature: the version's.
            given_names: whether the names are those of the reference, because the model does not know its own.
        """
        self.raw: Any = raw
        """The library's own object."""
        self.signature: Signature = signature
        """The columns that it takes, and what it predicts."""
        self._names = list(signature.names)
        self._width = len(signature.inputs)
        self._given_names = given_names
        self._last_columns: Any = None
        self._last_names: list[str] = []
        self._last_dtypes: list[Any] = []
        self._last_chosen: list[str] = []
        self._places: list[int] = []
        self._calls()

    def _calls(self) -> None:
        """Look up the methods that are called."""
        self._predict: Callable[[Any], Any] = getattr(self.raw, "predict", self.raw)
        if not callable(self._predict):
            self._predict = self._cannot_predict
        if hasattr(self.raw, "predict_proba"):
            self._probabilities: Callable[[Any], Any] = self.raw.predict_proba
            self._offer_probabilities()
        self.in_frame = hasattr(self.raw, "feature_names_in_")

    def _offer_probabilities(self) -> None:
        """Give the object the method `predict_proba`."""
        self.predict_proba = self._predict_proba

    def _cannot_predict(self, _rows: Any) -> Any:
        raise TypeError(f"a {type(self.raw).__name__} has no method predict, and cannot be called")

    @property
    def classes(self) -> tuple[ClassLabel, ...]:
        """The classes in the order of the probabilities; empty for a model that predicts numbers."""
        return self.signature.classes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.raw).__name__}: {self.signature!r})"

    def predict(self, table: Any) -> Array:
        """Predict each row of a table.

        Args:
            table: shape (rows, columns).

        Returns:
            Shape (rows,): the class of each row, or a float.

        Raises:
            InvalidField: a column is missing or has values of another kind, or an array has more or fewer columns than
                the model takes.
        """
        return np.asarray(self._predict(self._rows(table)))

    def _predict_proba(self, table: Any) -> Array:
        return np.asarray(self._probabilities(self._rows(table)))

    def _rows(self, table: Any) -> Any:
        """Return a table in the form that the model takes; an array in order is taken as it is."""
        return table if type(table) is np.ndarray and self._fits(table) else self.prepare(table)

    def call(self, rows: Any) -> Any:
        """Call the model with rows from `prepare`; this is the call that is timed."""
        return self._predict(rows)

    def outputs(self, rows: Any) -> Outputs:
        """Return the predictions of rows from `prepare`.

        Args:
            rows: of which there are `len(rows)`.

        Raises:
            ValueError: the model does not predict one number or one class for each row.
        """
        if self._takes_highest:
            each = np.asarray(self._probabilities(rows), np.float64)
            return Outputs(each.argmax(axis=1), self.classes, each)
        predicted = np.asarray(self._predict(rows))
        if not self.signature.classifies:
            return Outputs(numbers(predicted, len(rows)))
        predicted = labels(predicted, len(rows))
        if not self.classes:
            raise ValueError("it is a classifier without classes_, so the classes that it predicts are unknown")
        has = hasattr(self, "predict_proba")
        probabilities = np.asarray(self._probabilities(rows), np.float64) if has else None
        return Outputs(positions(predicted, self.classes), self.classes, probabilities)

    def _fits(self, table: Array) -> bool:
        """Return whether the model takes an array as it is."""
        return table.ndim == 2 and table.shape[1] == self._width and self._takes_matrix(table)

    def _takes_matrix(self, matrix: Array) -> bool:
        return matrix.dtype.kind in NUMERIC and not self._takes_text

    def prepare(self, table: Any) -> Any:
        """Return a table in the form that the model takes, whose slices are rows.

        Args:
            table: as `predict` takes it.

        Raises:
            InvalidField: as `predict` does.
        """
        if _is_frame(table):
            return self._from_frame(table)
        if isinstance(table, Mapping) or hasattr(table, "columns") or hasattr(table, "column_names"):
            return self._from_columns(table)
        return self._from_rows(table)

    def _from_rows(self, table: Any) -> Any:
        rows = table if isinstance(table, np.ndarray) else _array(table)
        if rows.ndim != 2:
            raise _wrong(f"has shape {rows.shape}; give one row for each prediction, and one column for each input")
        if self._width and rows.shape[1] != self._width:
            raise _wrong(f"has {rows.shape[1]} columns, but the model takes {self._width}")
        if self._takes_matrix(rows):
            return rows
        return self._from_columns({name: rows[:, i] for i, name in enumerate(self._names or _numbered(rows.shape[1]))})

    def _from_frame(self, table: Any) -> Any:
        """Take a frame of pandas; its columns are compared once, because an engine's frames have the same ones."""
        if not (table.columns is self._last_columns or list(table.columns) == self._names):
            names = self._choose([str(name) for name in table.columns])
            table = table.set_axis(table.columns.map(str), axis=1)[names]
        else:
            self._last_columns = table.columns
        if not self.in_frame:
            return self._matrix(table)
        self._check_frame(table)
        return table

    def _check_frame(self, table: Any) -> None:
        """Refuse values of other kinds in a frame of the right columns; its types are compared once."""
        dtypes = table.dtypes.tolist()
        if dtypes == self._last_dtypes:
            return
        numeric = [getattr(dtype, "kind", "O") in NUMERIC for dtype in dtypes]
        if self._takes_text or not all(numeric):
            from modelward.data import to_columns

            fit_kinds(to_columns(table), self._kinds, "data")
        if all(numeric):
            self._last_dtypes = dtypes

    def _from_columns(self, table: Any) -> Any:
        from modelward.data import named_columns, to_columns

        named = named_columns(table)
        chosen = to_columns({name: named[name] for name in self._choose(list(named))})
        return self.from_columns(fit_kinds(chosen, self._kinds, "data"))

    def from_columns(self, columns: Mapping[str, Array]) -> Any:
        """Return the columns, which were chosen and are in order, in the form that the model takes.

        Args:
            columns: as `modelward.data.to_columns` returns them.
        """
        if not self.in_frame:
            return _matrix_of(columns)
        import pandas as pd

        return pd.DataFrame(dict(columns), copy=False)

    def from_matrix(self, matrix: Array, names: Sequence[str]) -> Any:
        """Return named columns of floats in the form that the model takes.

        Args:
            matrix: float64 of shape (rows, columns).
            names: the names of its columns, of which there may be more than the model takes.

        Raises:
            InvalidField: as `predict` does.
        """
        if names != self._last_names:
            chosen = self._choose(names)
            self._places = [names.index(name) for name in chosen]
            self._last_chosen, self._last_names = list(chosen), list(names)
        rows = matrix if self._places == list(range(len(names))) else matrix.take(self._places, 1)
        if self._takes_text:
            fit_kinds(dict(zip(self._last_chosen, rows.T, strict=True)), self._kinds, "data")
        return self._from_chosen(rows)

    def _from_chosen(self, rows: Array) -> Any:
        """Return floats of the chosen columns, in order, in the form that the model takes."""
        if not self.in_frame:
            return rows
        rows = np.asfortranarray(rows)  # As pandas keeps them: sums in another order would differ in the last bits.
        if self._converts_frames:
            return rows
        import pandas as pd

        return pd.DataFrame(rows, columns=self._last_chosen, copy=False)

    @cached_property
    def _kinds(self) -> Sequence[ColumnKind]:
        """The kinds of the columns that the model takes; none if these are not known."""
        if takes_only_numbers(self.raw):
            return [ColumnKind.NUMBER] * self._width
        return [column.kind for column in self.signature.inputs]

    @cached_property
    def _takes_text(self) -> bool:
        return ColumnKind.CATEGORY in self._kinds

    @cached_property
    def _takes_highest(self) -> bool:
        known = takes_highest_probability(self.raw) and labels_of(self.raw.classes_)
        return bool(known) and known == self.classes  # None are known of a forest that predicts several labels.

    @cached_property
    def _converts_frames(self) -> bool:
        return converts_frames(self.raw)

    def _matrix(self, frame: Any) -> Any:
        numeric = {dtype.kind for dtype in frame.dtypes} <= NUMERIC and not self._takes_text
        return frame.to_numpy(np.float64) if numeric else self._from_columns(frame)

    def _choose(self, names: Sequence[str]) -> Sequence[str]:
        """Return the names of the columns that the model takes, in its order.

        Where it does not know them by name, the reference's names apply, unless the table has none of them.

        Raises:
            InvalidField: one is missing, or there are more or fewer than the model takes.
        """
        by_name = self._names and not (
            self._given_names and len(names) == self._width and set(names).isdisjoint(self._names)
        )
        if by_name:
            check_columns(self.signature, names, "data")
            return self._names
        if self._width and len(names) != self._width:
            raise _wrong(f"has {len(names)} feature columns, but the model takes {self._width}")
        return names


def estimator_signature(model: Any) -> Signature:
    """Return the signature of a model with the attributes of scikit-learn's estimators.

    Args:
        model: of which `feature_names_in_`, `n_features_in_` and `classes_` are read, where it has them.
    """
    names = [str(name) for name in getattr(model, "feature_names_in_", ())]
    width = len(names) or int(getattr(model, "n_features_in_", 0) or 0)
    classifies, proba = classifies_rows(model), hasattr(model, "predict_proba")
    classes = labels_of(getattr(model, "classes_", ())) if classifies else ()
    return Signature.of(names, width=width, classes=classes, classifies=classifies, probabilities=classifies and proba)


def classifies_rows(model: Any) -> bool:
    """Return what an estimator says of itself; a model that is no estimator classifies if it has classes.

    Args:
        model: an estimator, or another object.
    """
    if not hasattr(model, "__sklearn_tags__"):
        return hasattr(model, "classes_")
    from sklearn.base import is_classifier

    return bool(is_classifier(model))


def labels_of(classes: Any) -> tuple[ClassLabel, ...]:
    """Return classes as Python values; none where a model predicts several labels for each row.

    Args:
        classes: shape (classes,).
    """
    if isinstance(classes, list) and classes and np.ndim(classes[0]):
        return ()
    return tuple(value if isinstance(value, ClassLabel) else str(value) for value in np.asarray(classes).tolist())


def estimator_predictor(model: Any, signature: Signature | None) -> Predictor:
    """Return the predictor of a model with the methods of scikit-learn.

    Args:
        model: the model.
        signature: the version's; None if it has none.
    """
    own = estimator_signature(model)
    return Predictor(model, own.completed(signature), given_names=not own.names)


def _matrix_of(columns: Mapping[str, Array]) -> Array:
    """Return columns as one matrix of float64, or of objects where a column holds text."""
    values = list(columns.values())
    text = any(column.dtype == object for column in values)
    return np.ascontiguousarray(np.column_stack(values).astype(np.object_ if text else np.float64))


def _is_frame(table: Any) -> bool:
    return type(table).__name__ == "DataFrame" and type(table).__module__.startswith("pandas")


def _array(rows: Any) -> Array:
    """Return rows as float64 where all their values are numbers, and as objects otherwise."""
    if hasattr(rows, "__array__"):
        return np.asarray(rows)
    try:
        array = np.array(rows)
    except ValueError:  # Rows of unequal length.
        return np.array(rows, dtype=object)
    return array.astype(np.float64) if array.dtype.kind in NUMERIC else np.array(rows, dtype=object)


def _numbered(width: int) -> list[str]:
    return [f"x{i}" for i in range(width)]


def _wrong(fix: str) -> InvalidField:
    return InvalidField(FieldViolation("data", fix))
