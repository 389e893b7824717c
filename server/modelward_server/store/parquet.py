"""Parquet files and folders, local or in an object store, read in parts."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

BATCH_ROWS = 65_536
"""Rows that are in memory at a time."""


@dataclass(frozen=True)
class Piece:
    """Some row groups of one file, which can be read by themselves, also elsewhere.

    Attributes:
        first_row: how many rows of the whole dataset come before it.
    """

    uri: str
    path: str
    row_groups: tuple[int, ...]
    first_row: int
    rows: int

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the piece in parts."""
        filesystem, _ = locate(self.uri)
        file = ds.ParquetFileFormat().make_fragment(self.path, filesystem, row_groups=list(self.row_groups))
        yield from read_parts(file)


def open_parquet(uri: str) -> ds.Dataset:
    """Open a Parquet file, or a folder of them, at a URI or a local path.

    Raises:
        OSError, pa.ArrowInvalid: nothing can be read there.
    """
    filesystem, path = locate(uri)
    return ds.dataset(path, format="parquet", filesystem=filesystem)


def read_parts(dataset: ds.Dataset | ds.Fragment, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Read in order and nothing ahead: threads would fill the memory while what they read is worked on."""
    plain = ds.ParquetFragmentScanOptions(pre_buffer=False)
    yield from dataset.to_batches(
        columns=columns,
        batch_size=BATCH_ROWS,
        batch_readahead=1,
        fragment_readahead=1,
        fragment_scan_options=plain,
        use_threads=False,
    )


def pieces(uri: str) -> list[Piece]:
    """Take a dataset apart into its row groups, in order.

    Raises:
        as `open_parquet`.
    """
    found: list[Piece] = []
    rows = 0
    for fragment in open_parquet(uri).get_fragments():
        for group in fragment.row_groups:
            found.append(Piece(uri, fragment.path, (group.id,), rows, group.num_rows))
            rows += group.num_rows
    return found


def locate(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a URI, and the path in it. S3-compatible stores are found as MLflow finds them."""
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL")
    if uri.startswith("s3://") and endpoint:
        return fs.S3FileSystem(endpoint_override=endpoint), uri.removeprefix("s3://").rstrip("/")
    if "://" not in uri:
        return fs.LocalFileSystem(), uri
    filesystem, path = fs.FileSystem.from_uri(uri)
    return filesystem, path
