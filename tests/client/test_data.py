"""Tables of every kind become the same columns."""

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from modelward import errors
from modelward.data import to_arrow, to_columns, to_dataset
from modelward.v1 import common_pb2 as pb
from modelward_server.mlflow.client import MlflowFiles
from modelward_server.rpc.datasets import read_columns
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.sources import Sources

BLOBS = BlobStore(Path(mkdtemp()))
NOWHERE = Sources((), MlflowFiles(""), BLOBS)
TABLE: dict[str, list[Any]] = {
    "ret": [0.5, float("nan"), -1.0],
    "count": [1, 2, 3],
    "regime": ["calm", "crisis", "calm"],
    "open": [True, False, True],
}


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame, pa.table], ids=lambda make: make.__name__)
def test_every_kind_of_table_gives_the_same_columns(make: Any) -> None:
    columns = to_columns(make(TABLE))
    assert {name: values.dtype.kind for name, values in columns.items()} == dict(
        zip(TABLE, ["f", "i", "O", "b"], strict=True)
    )
    for name, values in columns.items():
        np.testing.assert_array_equal(values, np.array(TABLE[name], dtype=values.dtype))


def test_array_columns_are_named_by_place_or_as_told() -> None:
    array = np.arange(6.0).reshape(3, 2)
    assert list(to_columns(array)) == ["x0", "x1"]
    columns = to_columns(array, names=["a", "b"])
    np.testing.assert_array_equal(columns["b"], [1.0, 3.0, 5.0])


@pytest.mark.parametrize(
    ("data", "names", "said"),
    [
        ({}, None, "has no rows"),
        ({"a": []}, None, "has no rows"),
        ({"a": [1], "b": [1, 2]}, None, "different lengths"),
        (np.zeros(3), None, "shape"),
        (np.zeros((2, 2)), ["a"], "1 names were given"),
        (np.zeros((2, 2)), ["a", "a"], "same name: a"),
        ({"a": [[1], [2]]}, None, "one dimension"),
        ({"a": [object()]}, None, "numbers, text, booleans or times"),
        ({"a": [1 + 2j]}, None, "complex numbers"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), None, "same name: a"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(data: Any, names: list[str] | None, said: str) -> None:
    with pytest.raises(errors.InvalidField, match=said) as caught:
        to_columns(data, names)
    assert caught.value.violations[0].field.startswith("data")


def test_missing_values_stay_missing() -> None:
    columns = to_columns(pd.DataFrame({"n": [1, None], "t": ["a", None]}))
    np.testing.assert_array_equal(columns["n"], [1.0, np.nan])
    assert columns["t"].tolist() == ["a", None]


@pytest.mark.parametrize("by", ["arrow", "columns"])
def test_columns_arrive_at_the_server_as_they_left(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "columns":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    columns = to_columns(TABLE)
    dataset = to_dataset(columns)
    assert dataset.WhichOneof("source") == {"arrow": "arrow_ipc", "columns": "columns"}[by]
    arrived = read_columns(dataset, "data", NOWHERE)
    assert list(arrived) == list(columns)
    for name, values in columns.items():
        assert arrived[name].dtype == values.dtype
        np.testing.assert_array_equal(arrived[name], values)


def test_large_table_travels_in_parts_that_fit_a_message() -> None:
    columns = to_columns(np.random.default_rng(1).normal(size=(100_000, 10)))
    parts = list(to_arrow(columns))
    assert len(parts) > 5
    assert max(map(len, parts)) <= 1 << 20
    arrived = read_columns(pb.Dataset(arrow_ipc=b"".join(parts)), "data", NOWHERE)
    np.testing.assert_array_equal(arrived["x9"], columns["x9"])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_arrow_is_refused(share: float) -> None:
    whole = b"".join(to_arrow(to_columns({"a": np.arange(1000.0)})))
    cut = pb.Dataset(arrow_ipc=whole[: int(len(whole) * share)] or b"\0")
    with pytest.raises(errors.InvalidField, match="no complete Arrow IPC stream") as caught:
        read_columns(cut, "data", NOWHERE)
    assert caught.value.violations[0].field == "data.arrow_ipc"


def _columns(*columns: pb.Column) -> pb.Dataset:
    return pb.Dataset(columns=pb.ColumnTable(columns=columns))


@pytest.mark.parametrize(
    ("columns", "field", "said"),
    [
        ([pb.Column(name="a", doubles=pb.DoubleValues())], "data.columns.columns[0].doubles", "no rows"),
        (
            [
                pb.Column(name="a", doubles=pb.DoubleValues(values=[1, 2])),
                pb.Column(name="b", int64s=pb.Int64Values(values=[1])),
            ],
            "data.columns.columns[1].int64s",
            "'b' has 1 rows and the columns before it 2",
        ),
        (
            [
                pb.Column(name="a", doubles=pb.DoubleValues(values=[1])),
                pb.Column(name="a", doubles=pb.DoubleValues(values=[1])),
            ],
            "data.columns.columns[1].name",
            "'a' occurs twice",
        ),
    ],
)
def test_typed_columns_that_do_not_fit_are_refused(columns: list[pb.Column], field: str, said: str) -> None:
    with pytest.raises(errors.InvalidField, match=said) as caught:
        read_columns(_columns(*columns), "data", NOWHERE)
    assert caught.value.violations[0].field == field


def test_arrow_of_a_type_that_is_no_feature_is_refused() -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"span": pa.array([0], pa.duration("us"))})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(errors.InvalidField, match=r"is of type duration\[us\]") as caught:
        read_columns(pb.Dataset(arrow_ipc=sink.getvalue().to_pybytes()), "data", NOWHERE)
    assert caught.value.violations[0].field == "data.arrow_ipc['span']"


@pytest.mark.system
def test_parquet_is_read_from_an_allowed_place_only(tmp_path: Any) -> None:
    pd.DataFrame(TABLE).to_parquet(tmp_path / "q3.parquet")
    dataset = pb.Dataset(uri=f"file://{tmp_path}/q3.parquet")
    arrived = read_columns(dataset, "data", Sources((f"file://{tmp_path}",), MlflowFiles(""), BLOBS))
    np.testing.assert_array_equal(arrived["count"], [1, 2, 3])
    with pytest.raises(errors.SourceNotAllowed):
        read_columns(dataset, "data", NOWHERE)


@pytest.mark.system
def test_an_upload_is_read_as_parquet_or_arrow_by_its_first_bytes(tmp_path: Path) -> None:
    pd.DataFrame(TABLE).to_parquet(tmp_path / "q3.parquet")
    (tmp_path / "q3.arrow").write_bytes(b"".join(to_arrow(to_columns(TABLE))))
    for name in ("q3.parquet", "q3.arrow"):
        digest = BLOBS.put_file(tmp_path / name, name).sha256
        arrived = read_columns(pb.Dataset(blob=digest), "data", NOWHERE)
        np.testing.assert_array_equal(arrived["count"], [1, 2, 3])
    with pytest.raises(errors.InvalidField, match=r"upload it first \(UploadBlobs\)") as refused:
        read_columns(pb.Dataset(blob="0" * 64), "data", NOWHERE)
    assert refused.value.violations[0].field == "data.blob"
    nonsense = BLOBS.put_bytes(b"neither")
    with pytest.raises(errors.InvalidField, match="no complete Arrow"):
        read_columns(pb.Dataset(blob=nonsense), "data", NOWHERE)
