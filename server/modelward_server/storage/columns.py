"""Tables as columns: some of their rows, some of their columns, and several tables as one."""

from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import NDArray

from modelward.data import Columns


def select_rows(columns: Columns, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Columns:
    """Return some rows of a table, by their positions, a mask or a slice."""
    return {name: values[rows] for name, values in columns.items()}


def without(columns: Columns, names: Container[str]) -> Columns:
    """Return the columns of a table that have none of the names."""
    return {name: values for name, values in columns.items() if name not in names}


def joined(tables: Sequence[Columns]) -> Columns:
    """Concatenate tables with the same columns; the arrays are new."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
