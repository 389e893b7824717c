"""Inputs of an ONNX model, filled from the columns of a table. Runs in the sandboxed process only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelward_server.sandbox.model_tables import WrongDataError, check_width, chosen, in_reference_order

DTYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
"""ONNX's names of its input types."""


class OnnxRows:
    """Rows of features, keyed by the inputs that they are for."""

    def __init__(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __getitem__(self, rows: slice) -> "OnnxRows":
        return OnnxRows({name: values[rows] for name, values in self.inputs.items()})


@dataclass(frozen=True)
class OnnxInput:
    """One input: a matrix of rows and columns, or a vector of rows."""

    name: str
    dtype: type[np.generic]
    width: int | None
    """Number of columns that it takes; None where the model does not fix it."""
    vector: bool

    @classmethod
    def of(cls, declared: Any) -> Self:
        """Parse the runtime's description of an input.

        Raises:
            ValueError: it cannot take rows of a table.
        """
        if declared.type not in DTYPES:
            fix = "can take numbers, text and booleans as tensors only"
            raise ValueError(f"it takes {declared.name!r} as {declared.type}, but a model {fix}")
        shape = declared.shape
        if len(shape) > 2:
            raise ValueError(f"it takes {declared.name!r} of {len(shape)} dimensions, but a table has rows and columns")
        vector = len(shape) == 1
        width = 1 if vector else next((size for size in shape[1:] if isinstance(size, int)), None)
        return cls(declared.name, DTYPES[declared.type], width, vector)

    def filled(self, data: pa.Table) -> NDArray[Any]:
        """Return all columns in order in the form that the input takes.

        Raises:
            WrongDataError: there are more or fewer, or they hold values that the input does not take.
        """
        check_width(data, self.width)
        columns = [
            _typed(name, column.to_numpy(), self.dtype)
            for name, column in zip(data.column_names, data.columns, strict=True)
        ]
        return columns[0] if self.vector else np.ascontiguousarray(np.column_stack(columns))


def rows_of(
    data: pa.Table, inputs: Sequence[OnnxInput], own_names: Sequence[str], reference: Sequence[str]
) -> OnnxRows:
    """Return the features in the form that a model takes: by its inputs' names, or its only input's column names.

    Args:
        own_names: the columns of the only input, where the model names them.
        reference: the columns of the version's reference.

    Raises:
        WrongDataError: a column is missing, or does not have the type that its input takes.
    """
    if len(inputs) > 1:
        return OnnxRows({one.name: one.filled(chosen(data, [one.name])) for one in inputs})
    [only] = inputs
    if only.width == 1 and only.name in data.column_names:
        own_names = [only.name]
    columns = chosen(data, own_names) if own_names else in_reference_order(data, reference)
    return OnnxRows({only.name: only.filled(columns)})


def check_inputs(inputs: Sequence[OnnxInput]) -> None:
    """Refuse a model whose inputs cannot be mapped to columns.

    Raises:
        ValueError: it has no input, or one of several inputs takes many columns at once.
    """
    if not inputs:
        raise ValueError("it has no input, so its predictions do not depend on the data")
    wide = [one for one in inputs if one.width not in {None, 1}] if len(inputs) > 1 else []
    if wide:
        fix = "give each column an input of its name, or all columns one input"
        raise ValueError(f"it takes {wide[0].width} columns at once as {wide[0].name!r}, beside other inputs; {fix}")


def _typed(name: str, values: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """Return a column in the type of its input; nothing is truncated, and text and numbers are not converted."""
    if (values.dtype == object) != (dtype is np.object_):
        actual, expected = ("text", "numbers") if values.dtype == object else ("numbers", "text")
        raise WrongDataError(f"has {actual} in the column {name!r}, where the model takes {expected}")
    if dtype is np.object_:
        if any(value is None for value in values):
            raise WrongDataError(f"has missing text in the column {name!r}, which the model does not take")
        return values
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
        kept = np.isfinite(cast) | ~np.isfinite(values) if np.issubdtype(dtype, np.floating) else cast == values
    if not kept.all():
        first = values[~kept][0]
        raise WrongDataError(f"has {first!s} in the column {name!r}, which the model's {np.dtype(dtype)} cannot hold")
    return cast
