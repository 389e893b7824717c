"""Every type that a table may have, every way by which it may come, and a server behind all of them."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf.message import Message

from modelward import Client, Comparison, DriftReport, Reference
from modelward.data import to_columns
from modelward.drift import FeatureKind
from modelward.shared.convert.comparison import comparison_from_proto
from modelward.shared.convert.drift import observed_from_proto, reference_from_proto, report_from_proto
from modelward.shared.retry import error_of
from modelward.shared.typed_columns import to_typed
from modelward.v1 import common_pb2, comparison_pb2, drift_pb2
from tests.support.running_server import RunningServer

ROWS = 3
"""So few that the null of a feature is known at once."""
NUMBER, CATEGORY, TIME = FeatureKind.NUMBER, FeatureKind.CATEGORY, None
NOON = dt.datetime.fromisoformat("2026-01-02T12:00")
NUMBERS = [float(i % 5) for i in range(ROWS)]
TEXT = ["xyz"[i % 3] for i in range(ROWS)]
TIMES = [NOON + dt.timedelta(minutes=i) for i in range(ROWS)]
VIEWS = pa.string_view()
TYPES: dict[str, tuple[Any, list[Any], FeatureKind | None]] = {
    "int8": (pa.int8(), list(map(int, NUMBERS)), NUMBER),
    "int64": (pa.int64(), [2**60 + i for i in range(ROWS)], NUMBER),
    "uint64": (pa.uint64(), [2**63 + 4096 * i for i in range(ROWS)], NUMBER),
    "float16": (pa.float16(), NUMBERS, NUMBER),
    "float32": (pa.float32(), NUMBERS, NUMBER),
    "float64": (pa.float64(), NUMBERS, NUMBER),
    "decimal": (pa.decimal128(9, 2), [Decimal(int(value)) / 4 for value in NUMBERS], NUMBER),
    "bool": (pa.bool_(), [i % 2 == 0 for i in range(ROWS)], CATEGORY),
    "string": (pa.string(), TEXT, CATEGORY),
    "large_string": (pa.large_string(), TEXT, CATEGORY),
    "string_view": (VIEWS, TEXT, CATEGORY),
    "digits": (pa.string(), [f"{i % 3:03}" for i in range(ROWS)], CATEGORY),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), TEXT, CATEGORY),
    "seconds": (pa.timestamp("s"), TIMES, TIME),
    "zoned": (pa.timestamp("us", "Europe/Berlin"), TIMES, TIME),
    "nanoseconds": (pa.timestamp("ns", "UTC"), TIMES, TIME),
    "date": (pa.date32(), [NOON.date()] * ROWS, TIME),
}
MISSING = {"no": 0, "one": 1, "all": ROWS}
FEATURES = [f"{name} {missing}" for name, (_, _, kind) in TYPES.items() if kind for missing in MISSING]


def _table(missing: dict[str, int]) -> pa.Table:
    columns = {}
    for name, (kind, values, _) in TYPES.items():
        for how, gone in missing.items():
            columns[f"{name} {how}"] = pa.array([None] * gone + values[gone:], kind)
    return pa.table(columns)


COMPLETE, SPARSE = _table(dict.fromkeys(MISSING, 0)), _table(MISSING)


def plain(table: pa.Table) -> pa.Table:
    """Return a table without types that Parquet files, CSV files or pandas do not have."""
    wanted = {VIEWS: pa.string(), pa.float16(): pa.float32()}
    return table.cast(pa.schema([(one.name, wanted.get(one.type, one.type)) for one in table.schema]))


def _masked(table: pa.Table) -> dict[str, Any]:
    found = {}
    for name, column in plain(table).to_pydict().items():
        mask = [value is None for value in column]
        present = next((value for value in column if value is not None), "")
        filled = np.array([present if value is None else value for value in column])
        found[name] = np.ma.masked_array(filled, mask)
    return found


def _nullable(table: pa.Table) -> pd.DataFrame:
    names = {
        pa.int8(): "Int8",
        pa.int64(): "Int64",
        pa.uint64(): "UInt64",
        pa.bool_(): "boolean",
        pa.string(): "string",
    }
    kinds = {kind: pd.api.types.pandas_dtype(name) for kind, name in names.items()}
    frame: pd.DataFrame = plain(table).to_pandas(types_mapper=kinds.get)
    return frame


FRAMES: dict[str, Callable[[pa.Table], Any]] = {
    "lists": lambda table: table.to_pydict(),
    "masked arrays": _masked,
    "pandas": lambda table: plain(table).to_pandas(),
    "pandas, nullable": _nullable,
    "pandas of Arrow": lambda table: plain(table).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.from_arrow,
    "Arrow": lambda table: table,
}


def _ipc(table: pa.Table) -> common_pb2.Dataset:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table, max_chunksize=7)
    return common_pb2.Dataset(arrow_ipc=sink.getvalue().to_pybytes())


def _parquet(folder: Path, table: pa.Table) -> common_pb2.Dataset:
    path = folder / f"{uuid4().hex}.parquet"
    pq.write_table(plain(table), path)
    return common_pb2.Dataset(uri=path.as_uri())


def _several(folder: Path, table: pa.Table) -> common_pb2.Dataset:
    """Write a folder of which the first file has no type where all its values are missing."""
    path = folder / uuid4().hex
    path.mkdir()
    for number, part in enumerate((plain(table)[:1], plain(table)[1:])):
        empty = [name for name in part.column_names if part[name].null_count == len(part)]
        columns = {name: pa.nulls(len(part)) if name in empty else part[name] for name in part.column_names}
        pq.write_table(pa.table(columns), path / f"{number}.parquet")
    return common_pb2.Dataset(uri=path.as_uri())


def _typed(_: Path, table: pa.Table) -> common_pb2.Dataset:
    return common_pb2.Dataset(columns=to_typed(to_columns(table)))


MESSAGES: dict[str, Callable[[Path, pa.Table], common_pb2.Dataset]] = {
    "typed columns": _typed,
    "Arrow IPC": lambda _, table: _ipc(table),
    "Parquet": _parquet,
    "Parquet folder": _several,
}
WAYS = [*FRAMES, *MESSAGES]


class Door:
    """A server, asked the same by each way in."""

    def __init__(self, server: RunningServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.client = Client(server.target, actor="tester")
        self.model = folder / "model.txt"
        self.model.write_text("x")
        self.version = self.client.register("kinds", self.model)
        self.client.register("kinds", self.model)
        self.client.set_reference(self.version, COMPLETE)
        self.ref, self.other = (common_pb2.ModelVersionRef(model="kinds", version=number) for number in (1, 2))

    def set_reference(self, way: str, table: pa.Table) -> Reference:
        if way in FRAMES:
            return self.client.set_reference(self.version, FRAMES[way](table), name="other")
        header = drift_pb2.ReferenceHeader(version=self.ref, name="other", data=self._sent(way, table))
        parts = iter([drift_pb2.SetReferenceRequest(header=header)])
        return reference_from_proto(asked(self.client._drift.SetReference, parts).reference)

    def detect(self, way: str, table: pa.Table) -> DriftReport:
        if way in FRAMES:
            return self.client.detect_drift(self.version, FRAMES[way](table), reference="default")
        data = self._sent(way, table)
        request = drift_pb2.DetectDriftRequest(version=self.ref, data=data, reference="default")
        return report_from_proto(asked(self.client._drift.DetectDrift, request).report)

    def observe(self, way: str, table: pa.Table) -> DriftReport:
        """Send a window and return its report."""
        if way in FRAMES:
            observer = self.client.observe(self.version, sender=way, rows=ROWS)
            [report] = observer.add(FRAMES[way](table)).reports
            return report
        header = drift_pb2.ObserveHeader(version=self.ref, sender=way, rows=ROWS)
        batch = drift_pb2.ObserveBatch(number=1, data=self._sent(way, table))
        parts = [drift_pb2.ObserveRequest(header=header), drift_pb2.ObserveRequest(batch=batch)]
        [report] = observed_from_proto(asked(self.client._drift.Observe, iter(parts))).reports
        return report

    def compare(self, way: str, data: pa.Table, predicted: pa.Table) -> Comparison:
        """Compare two versions that predict the same."""
        versions = [self.ref, self.other]
        made = [comparison_pb2.Predictions(version=one, data=self._sent(way, predicted)) for one in versions]
        request = comparison_pb2.CompareModelsRequest(versions=versions, data=self._sent(way, data), predictions=made)
        return comparison_from_proto(asked(self.client._comparison.CompareModels, request)[-1].comparison)

    def _sent(self, way: str, table: pa.Table) -> common_pb2.Dataset:
        return MESSAGES[way](self.folder, table)


def asked(call: Any, request: Any) -> Any:
    """Make a call without the SDK, and raise what the SDK would."""
    try:
        answer = call(request)
        return answer if isinstance(answer, Message) else list(answer)
    except grpc.RpcError as error:
        raise error_of(error) from None
