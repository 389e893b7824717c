"""The example of a model's input that MLflow shows and loads with the model."""

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from modelward.signature import Signature

MAX_ROWS = 5
MAX_BYTES = 64 << 10
"""Maximum size of an example; one of long texts has fewer rows."""
FILE, SERVING_FILE = "input_example.json", "serving_input_example.json"
"""MLflow's names for the example as a table, and as a request to its scoring server."""
INFO = {"type": "dataframe", "pandas_orient": "split", "artifact_path": FILE, "serving_input_path": SERVING_FILE}
"""How the file `MLmodel` describes the example."""


def write_example(folder: Path, example: bytes, signature: Signature | None) -> dict[str, Any]:
    """Write some rows of a reference as MLflow's input example.

    Args:
        folder: the model's, with the file `MLmodel`.
        example: rows as an Arrow stream; empty if there are none.
        signature: the model's, whose columns are written; all columns if it has none with names.

    Returns:
        The entry of the file `MLmodel` for it; empty if no row fits.
    """
    text = _split(example, signature.names if signature else ()) if example else ""
    if not text:
        return {}
    (folder / FILE).write_text(text)
    (folder / SERVING_FILE).write_text(f'{{"dataframe_split": {text}}}')
    return dict(INFO)


def _split(example: bytes, names: tuple[str, ...]) -> str:
    """Return as many rows as fit in the form that pandas calls `split`; empty if none does."""
    table = pa.ipc.open_stream(example).read_all()
    table = table.select([name for name in names if name in table.column_names] or table.column_names)
    for rows in range(min(MAX_ROWS, table.num_rows), 0, -1):
        values = [[_value(value) for value in row.values()] for row in table.slice(0, rows).to_pylist()]
        text = json.dumps({"columns": table.column_names, "data": values})
        if len(text) <= MAX_BYTES:
            return text
    return ""


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
