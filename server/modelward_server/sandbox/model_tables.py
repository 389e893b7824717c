"""Conversion of features for a model, and checks of its predictions. Runs in the sandboxed process only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class WrongDataError(Exception):
    """The data do not match what the model takes."""


def chosen(data: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return the columns with these names, in that order.

    Raises:
        WrongDataError: one is missing.
    """
    missing = [name for name in names if name not in data.column_names]
    if missing:
        raise WrongDataError(f"has no column {', '.join(map(repr, missing))}, with which the model was trained")
    return data.select(names)


def in_reference_order(data: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return the columns in the order of the reference, for a model that does not know its columns by name.

    A reference with more or fewer columns does not match the model, and where no name is the same, only the order is
    known; in both cases the data are returned unchanged.

    Raises:
        WrongDataError: some columns have the names of the reference and others do not.
    """
    if len(names) != data.num_columns or set(names).isdisjoint(data.column_names):
        return data
    return chosen(data, names)


def matrix(data: pa.Table, width: int | None) -> NDArray[Any]:
    """Return all columns in order as one matrix of float64, or of objects where a column holds text.

    Raises:
        WrongDataError: there are more or fewer than `width`.
    """
    check_width(data, width)
    columns = [column.to_numpy() for column in data.columns]
    text = any(column.dtype == object for column in columns)
    return np.ascontiguousarray(np.column_stack(columns).astype(np.object_ if text else np.float64))


def check_width(data: pa.Table, width: int | None) -> None:
    """Refuse a table with another number of columns.

    Raises:
        WrongDataError: there are more or fewer than `width`.
    """
    if width is not None and data.num_columns != width:
        raise WrongDataError(f"has {data.num_columns} feature columns, but the model takes {width}")


def numbers(predicted: NDArray[Any], rows: int) -> NDArray[np.float64]:
    """Return predicted numbers as a vector."""
    if predicted.size != rows:
        raise ValueError(
            f"it predicted numbers of shape {predicted.shape} for {rows} rows; expected one number per row"
        )
    return predicted.astype(np.float64).ravel()


def labels(predicted: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return predicted classes as a vector."""
    if predicted.size != rows:
        raise ValueError(f"it predicted labels of shape {predicted.shape} for {rows} rows; expected one label per row")
    return predicted.ravel()


def positions(predicted: NDArray[Any], classes: Sequence[Any]) -> NDArray[np.int64]:
    """Return the index of each predicted class in the classes."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[value] for value in predicted.tolist()], np.int64)
