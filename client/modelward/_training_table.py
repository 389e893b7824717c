"""Features and truth as one table, and logs that fit into a message."""

from typing import Any, Protocol

from modelward.errors import FieldViolation, InvalidField
from modelward.v1.common_pb2 import Dataset

LOG_BYTES = 1 << 20
"""What a message carries of a log."""


class Labelled(Protocol):
    """A request that names the column with the truth."""

    label: str


def put_labelled(dataset: Dataset, request: Labelled, features: Any, truth: Any) -> None:
    """Put features and truth into one table, the truth under a name that no feature has.

    Raises:
        InvalidField: the features have another number of rows than the truth.
    """
    from modelward.data import to_columns, to_dataset  # Here: numpy takes as long to import as all the rest.

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
    """Return as much of a log's end as a message carries."""
    return log.encode()[-LOG_BYTES:].decode(errors="ignore")
