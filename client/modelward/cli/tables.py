"""Tables of data that a person names on the command line."""

from pathlib import Path
from typing import Any

import click

DATA = click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))


def read_table(path: Path) -> Any:
    """Read a CSV or Parquet file as an Arrow table.

    Raises:
        click.ClickException: it cannot be read, or pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError:
        raise click.ClickException("reading a table needs an extra: pip install 'modelward[arrow]'") from None
    try:
        return parquet.read_table(path) if path.suffix in {".parquet", ".pq"} else csv.read_csv(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise click.ClickException(f"{path} cannot be read: {error}") from error
