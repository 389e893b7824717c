"""Inputs of an ONNX model, filled from the columns of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modelward.errors import FieldViolation, InvalidField
from modelward.signature import ColumnKind

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
KINDS = {"O": ColumnKind.CATEGORY, "b": ColumnKind.BOOLEAN}
"""Kinds of columns by the kinds of NumPy's types; all others are numbers."""


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

    @property
    def kind(self) -> ColumnKind:
        """The kind of the columns that it takes."""
        return KINDS.get(np.dtype(self.dtype).kind, ColumnKind.NUMBER)

    def filled(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return all columns in order in the form that the input takes.

        Raises:
            InvalidField: they hold values that the input does not take.
        """
        typed = [_typed(name, values, self.dtype) for name, values in columns.items()]
        return typed[0] if self.vector else np.ascontiguousarray(np.column_stack(typed))

    def taken(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Return a matrix of numbers in the form that the input takes.

        Raises:
            InvalidField: it holds values that the input does not take.
        """
        if matrix.dtype != self.dtype:
            matrix = _typed("", matrix, self.dtype)
        return matrix[:, 0] if self.vector else matrix


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
    """Return values in the type of their input; nothing is truncated, and text and numbers are not converted."""
    place = f" in the column {name!r}" if name else ""
    if (values.dtype == object) != (dtype is np.object_):
        actual, expected = ("text", "numbers") if values.dtype == object else ("numbers", "text")
        raise _wrong(f"has {actual}{place}, where the model takes {expected}")
    if dtype is np.object_:
        if any(value is None for value in values):
            raise _wrong(f"has missing text{place}, which the model does not take")
        return values
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
        kept = np.isfinite(cast) | ~np.isfinite(values) if np.issubdtype(dtype, np.floating) else cast == values
    if not kept.all():
        first = values[~kept][0]
        raise _wrong(f"has {first!s}{place}, which the model's {np.dtype(dtype)} cannot hold")
    return cast


def _wrong(fix: str) -> InvalidField:
    return InvalidField(FieldViolation("data", fix))
