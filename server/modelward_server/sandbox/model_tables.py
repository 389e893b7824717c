"""Features as a model takes them and predictions as they are judged. Runs in the worker process only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class WrongDataError(Exception):
    """The data are not what the model takes."""


def chosen(data: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return the columns of those names in that order.

    Raises:
        WrongDataError: one is not there.
    """
    missing = [name for name in names if name not in data.column_names]
    if missing:
        raise WrongDataError(f"has no column {', '.join(map(repr, missing))}, with which the model was trained")
    return data.select(names)


def in_reference_order(data: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return the columns in the order of the reference, for a model that does not know its columns by name.

    A reference of more or fewer columns is not what the model takes, and where no name is the same, the order is all
    that is known; both leave the data as they are.

    Raises:
        WrongDataError: some columns have the names of the reference and others do not.
    """
    if len(names) != data.num_columns or set(names).isdisjoint(data.column_names):
        return data
    return chosen(data, names)


def matrix(data: pa.Table, width: int | None) -> NDArray[Any]:
    """Return all columns in their order as one matrix of float64, or of objects where there is text.

    Raises:
        WrongDataError: there are more or fewer than `width`.
    """
    check_width(data, width)
    columns = [column.to_numpy() for column in data.columns]
    text = any(column.dtype == object for column in columns)
    return np.ascontiguousarray(np.column_stack(columns).astype(np.object_ if text else np.float64))


def check_width(data: pa.Table, width: int | None) -> None:
    """Refuse a table of another number of columns.

    Raises:
        WrongDataError: there are more or fewer than `width`.
    """
    if width is not None and data.num_columns != width:
        raise WrongDataError(f"has {data.num_columns} feature columns, but the model takes {width}")


def numbers(predicted: NDArray[Any], rows: int) -> NDArray[np.float64]:
    """Return predicted numbers as a vector."""
    if predicted.size != rows:
        raise ValueError(
            f"it predicted numbers of shape {predicted.shape} for {rows} rows; one number a row is compared"
        )
    return predicted.astype(np.float64).ravel()


def labels(predicted: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return predicted classes as a vector."""
    if predicted.size != rows:
        raise ValueError(f"it predicted labels of shape {predicted.shape} for {rows} rows; one label a row is compared")
    return predicted.ravel()


def positions(predicted: NDArray[Any], classes: Sequence[Any]) -> NDArray[np.int64]:
    """Return the place of each predicted class among the classes."""
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place[value] for value in predicted.tolist()], np.int64)
