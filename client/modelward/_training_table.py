"""Combine features and labels in one table, and truncate logs to the size of a message."""

from typing import Any, Protocol

from modelward.errors import FieldViolation, InvalidField
from modelward.v1.common_pb2 import Dataset

LOG_BYTES = 1 << 20
"""Maximum size of a log in a message."""


class Labelled(Protocol):
    """A request that names the label column."""

    label: str


def put_labelled(dataset: Dataset, request: Labelled, features: Any, truth: Any) -> None:
    """Combine features and labels in one table, with the labels under a name that no feature has.

    Raises:
        InvalidField: features and labels differ in their number of rows.
    """
    from modelward.data import (  # Imported here, because importing numpy takes as long as the rest of the package.
        to_columns,
        to_dataset,
    )

    columns, label = to_columns(features, field="X"), "label"
    while label in columns:
        label = f"_{label}"
    [named] = to_columns({label: truth}, field="y").values()
    rows = len(next(iter(columns.values())))
    if len(named) != rows:
        raise InvalidField(FieldViolation("y", f"has {len(named):,} values, but X has {rows:,} rows"))
    dataset.CopyFrom(to_dataset({**columns, label: named}))
    request.label = label


def end_of(log: str) -> str:
    """Return the end of a log, truncated to the size of a message."""
    return log.encode()[-LOG_BYTES:].decode(errors="ignore")
