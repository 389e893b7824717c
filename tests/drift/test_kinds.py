"""A column has the same kind whichever way a table comes, and live data are read under the kind of the reference.

The grid is every type by every way in by how much is missing: one table holds all types, each three times.
"""

import datetime as dt
import inspect
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression

from modelward import AsyncClient, DriftReport, errors
from modelward.v1 import comparison_pb2, drift_pb2
from tests.support.column_kinds import (
    COMPLETE,
    FEATURES,
    MESSAGES,
    MISSING,
    NOON,
    NUMBERS,
    ROWS,
    SPARSE,
    TEXT,
    TIME,
    TIMES,
    TYPES,
    WAYS,
    Door,
    asked,
)

pytestmark = pytest.mark.system  # A grid of every type and every way of arrival.


def _shares(report: DriftReport) -> dict[str, float]:
    return {feature.name: round(feature.missing_share * ROWS) for feature in report.features}


EXPECTED = {name: MISSING[name.rpartition(" ")[2]] for name in FEATURES}


@pytest.mark.parametrize("way", WAYS)
def test_reference_decides_the_kind_of_each_column(door: Door, way: str) -> None:
    reference = door.set_reference(way, SPARSE)
    features = {feature.name: feature for feature in reference.features}
    for name, (_, _, kind) in TYPES.items():
        for how, gone in MISSING.items():
            column = f"{name} {how}"
            if how == "all" and column in features:  # By some ways nobody can say of what kind it was.
                assert features[column].missing_share == 1
            elif kind is TIME:
                assert column in reference.ignored_columns
            else:
                assert (features[column].kind, round(features[column].missing_share * ROWS)) == (kind, gone), column
    assert features["uint64 no"].minimum == 2.0**63
    assert set(features["digits no"].categories) == {"000", "001", "002"}


@pytest.mark.parametrize("way", WAYS)
def test_live_data_are_read_under_the_kinds_of_the_reference(door: Door, way: str) -> None:
    report = door.detect(way, SPARSE)
    assert _shares(report) == EXPECTED
    complete = [feature for feature in report.features if feature.name.endswith(" no")]
    assert max(feature.ks for feature in complete) == 0, "no value changed on its way"


@pytest.mark.parametrize("way", WAYS)
def test_observed_rows_are_read_under_the_kinds_of_the_reference(door: Door, way: str) -> None:
    assert _shares(door.observe(way, SPARSE)) == EXPECTED


REFUSED: dict[str, pa.Array] = {
    "durations": pa.array([1], pa.duration("s")),
    "times of day": pa.array([dt.time(1)]),
    "bytes": pa.array([b"a"]),
    "lists": pa.array([[1]]),
    "structs": pa.array([{"a": 1}]),
    "lists in a dictionary": pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([[1]])),
    "numbers where text was": pa.array([1]),
    "times where text was": pa.array([NOON]),
}


@pytest.mark.parametrize("way", ["Arrow", "polars", "Arrow IPC", "Parquet"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_feature_is_refused_by_its_name(door: Door, kind: str, way: str) -> None:
    values = pa.concat_arrays([REFUSED[kind]] * ROWS)
    table = COMPLETE.set_column(COMPLETE.column_names.index("string no"), "string no", values)
    if way in {"polars", "Parquet"} and kind == "lists in a dictionary":
        pytest.skip(f"{way} has no such type")
    with pytest.raises(errors.InvalidField) as refused:
        door.detect(way, table)
    assert any("'string no'" in violation.field for violation in refused.value.violations)


@pytest.mark.parametrize(
    ("parts", "shares"),
    [
        ([pa.nulls(ROWS), pa.array(NUMBERS)], 1 / 2),
        ([pa.array(NUMBERS), pa.nulls(ROWS)], 1 / 2),
        ([pa.array([1, 2], pa.int32()), pa.array([1.5], pa.float32())], 0),
        ([pa.array([1, 2], pa.int64()), pa.array([2**63], pa.uint64())], 0),
        ([pa.array([Decimal("1.5")]), pa.array([1])], 0),
        ([None, pa.array(NUMBERS)], 5 / (5 + ROWS)),
    ],
    ids=[
        "nulls first",
        "nulls last",
        "whole, float",
        "signed and unsigned",
        "decimal, whole",
        "not in the first",
    ],
)
def test_folder_is_judged_by_all_of_its_files(door: Door, parts: list[Any], shares: float) -> None:
    version = door.client.register("folders", door.model)
    folder = door.folder / uuid4().hex
    folder.mkdir()
    for number, part in enumerate(parts):
        columns = {"b": ["x"] * 5} if part is None else {"a": part, "b": ["x"] * len(part)}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet")
    door.client.set_reference(version, {"a": NUMBERS, "b": ["x"] * ROWS})
    report = door.client.detect_drift_uri(version, folder.as_uri())
    assert {one.name: one.missing_share for one in report.features} == {"a": pytest.approx(shares), "b": 0}


def test_folder_of_types_that_do_not_go_together_is_refused(door: Door) -> None:
    folder = door.folder / uuid4().hex
    folder.mkdir()
    pq.write_table(pa.table({"string no": [1]}), folder / "0.parquet")
    pq.write_table(pa.table({"string no": ["a"]}), folder / "1.parquet")
    with pytest.raises(errors.InvalidField, match="'string no' is int64 in one file and string in another"):
        door.client.detect_drift_uri("kinds/1", folder.as_uri())


async def _settled(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.txt"
    path.write_text("x")
    return path


async def test_ignored_columns_are_remembered_and_live_data_may_have_them(
    client: AsyncClient, model: Path, name: str, inbox: Path
) -> None:
    version = await client.register(name, model)
    nested = pa.array([[1]] * ROWS)
    table = pa.table({"a": NUMBERS, "when": TIMES, "symbol": TEXT, "raw": nested})
    set_ = await client.set_reference(version, table, ignore=["symbol", "raw"])
    assert [feature.name for feature in set_.features] == ["a"]
    assert set_.ignored_columns == ("raw", "symbol", "when")
    assert await client.get_reference(version) == set_
    live = {"with all": table, "without": {"a": NUMBERS}, "with new times": {"a": NUMBERS, "then": TIMES}}
    for data in live.values():
        assert [one.name for one in (await client.detect_drift(version, data)).features] == ["a"]
    more = table.append_column("more", [TEXT])
    with pytest.raises(errors.InvalidField, match=r"'more'.*name it as ignored"):
        await client.detect_drift(version, more)
    assert len((await client.detect_drift(version, more, ignore="more")).features) == 1
    pq.write_table(table.append_column("more", nested), inbox / f"{name}.parquet")
    uri = (inbox / f"{name}.parquet").as_uri()
    assert len((await client.detect_drift_uri(version, uri, ignore=["more"])).features) == 1
    with pytest.raises(errors.InvalidField, match="'more'"):
        await client.detect_drift_uri(version, uri)


async def test_column_to_ignore_that_is_not_there_is_refused_with_the_nearest(
    client: AsyncClient, model: Path, name: str
) -> None:
    table = pa.table({"a": NUMBERS, "symbol": TEXT, "raw": [[1]] * ROWS})
    why = r"ignore: names 'symbl', which is not in the data \(did you mean 'symbol'\?\); the columns are a, symbol, raw"
    with pytest.raises(errors.InvalidField, match=why):
        await client.register(name, model, reference=table, ignore=["symbl", "raw"])
    with pytest.raises(errors.InvalidField, match="ignore: has no effect without reference"):
        await client.register(name, model, ignore="raw")
    version = await client.register(name, model, reference=table, ignore=["symbol", "raw"])
    reference = await client.get_reference(version)
    assert [feature.name for feature in reference.features] == ["a"]
    assert reference.ignored_columns == ("raw", "symbol")
    with pytest.raises(errors.InvalidField, match=why):
        await client.set_reference(version, table, ignore=["symbl", "raw"])
    assert await client.get_reference(version) == reference


@pytest.mark.parametrize("way", ["typed columns", "Arrow IPC", "Parquet", "Parquet folder"])
def test_column_to_ignore_that_is_not_there_is_refused_on_every_way(door: Door, way: str) -> None:
    table = pa.table({"a": NUMBERS, "symbol": TEXT})
    data = MESSAGES[way](door.folder, table)
    header = drift_pb2.ReferenceHeader(version=door.ref, name="typo", data=data, ignored_columns=["symbl"])
    why = r"ignored_columns:? names 'symbl', which is not in the data \(did you mean 'symbol'\?\)"
    with pytest.raises(errors.InvalidField, match=why):
        asked(door.client._drift.SetReference, iter([drift_pb2.SetReferenceRequest(header=header)]))
    header.ignored_columns[:] = ["symbol"]
    answer = asked(door.client._drift.SetReference, iter([drift_pb2.SetReferenceRequest(header=header)]))
    assert answer.reference.ignored_columns == ["symbol"]
    for call in ("CompareModels", "BenchmarkModels"):
        kind = getattr(comparison_pb2, f"{call}Request")
        request = kind(versions=[door.ref, door.other], data=data, ignored_columns=["symbl"])
        with pytest.raises(errors.InvalidField, match=why):
            asked(getattr(door.client._comparison, call), request)


async def test_comparisons_ignore_columns(client: AsyncClient, name: str, inbox: Path) -> None:
    features = pd.DataFrame({"a": np.arange(30.0), "b": np.arange(30.0) % 7})
    model = LinearRegression().fit(features.to_numpy(), features["a"])
    versions = [await client.register(name, model) for _ in range(2)]
    table = features.assign(raw=pd.Series([[1]] * 30), label=features["a"])
    pq.write_table(pa.Table.from_pandas(table), inbox / f"{name}.parquet")
    found = await client.compare(versions, table.drop(columns="label"), table["label"], ignore="raw")
    uri = (inbox / f"{name}.parquet").as_uri()
    stored = await client.compare(versions, uri, "label", ignore=["raw"])
    assert [one.metrics for one in stored.results] == [one.metrics for one in found.results]
    assert len(await client.benchmark(versions, table, ignore=["raw", "label"], seconds=0.05, batch_rows=[1])) == 2
    with pytest.raises(errors.InvalidField, match=r"ignore: names 'raws'.*did you mean 'raw'"):
        await client.compare(versions, table, table["label"], ignore="raws")
    with pytest.raises(errors.InvalidField, match=r"ignore: names 'raws'.*did you mean 'raw'"):
        await client.benchmark(versions, table, ignore="raws")
    with pytest.raises(errors.InvalidField, match=r"names 'raws'.*did you mean 'raw'"):
        await client.compare(versions, uri, "label", ignore="raws")


async def test_observer_asks_once_which_columns_its_reference_ignores(
    client: AsyncClient, model: Path, name: str
) -> None:
    version = await client.register(name, model, reference={"a": NUMBERS, "raw": [[1]] * ROWS}, ignore="raw")
    observer = await client.observe(version, sender="engine", rows=10 * ROWS)
    stub = observer._connection._drift
    calls, get_reference = [], stub.GetReference

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return get_reference(*args, **kwargs)

    stub.GetReference = counted  # type: ignore[assignment]
    for _ in range(3):
        await _settled(observer.add({"a": NUMBERS, "raw": [[1]] * ROWS}))
    assert (len(calls), observer.acknowledged) == (1, 3)
    await client.set_reference(version, {"a": NUMBERS, "raw": NUMBERS, "more": [[1]] * ROWS}, ignore="more")
    await _settled(observer.add({"a": NUMBERS, "raw": NUMBERS, "more": [[1]] * ROWS}))
    assert (len(calls), observer.acknowledged) == (2, 4)
    with pytest.raises(errors.InvalidField, match="'other'"):
        await _settled(observer.add({"a": NUMBERS, "raw": NUMBERS, "other": [[1]] * ROWS}))


async def test_observed_rows_of_features_that_a_reference_has_no_longer_hold_up_nobody(
    client: AsyncClient, model: Path, name: str
) -> None:
    version = await client.register(name, model, reference={"a": NUMBERS})
    observer = await client.observe(version, sender="engine", rows=2 * ROWS)
    await _settled(observer.add({"a": NUMBERS}))
    await client.set_reference(version, {"a": TEXT, "b": NUMBERS})
    observed = await _settled(observer.add({"a": TEXT, "b": NUMBERS}))
    assert [(report.rows, len(report.features)) for report in observed.reports] == [(ROWS, 2)]


async def test_large_streams_and_windows_leave_ignored_columns_out(client: AsyncClient, model: Path, name: str) -> None:
    version = await client.register(name, model)
    numbers = np.random.default_rng(0).normal(size=300_000)
    table = {"a": numbers, "when": np.arange(300_000).astype("M8[s]"), "symbol": np.arange(300_000)}
    reference = await client.set_reference(version, table, ignore=["symbol"])
    assert [feature.name for feature in reference.features] == ["a"]
    report = await client.detect_drift(version, table)
    assert [(one.name, one.ks) for one in report.features] == [("a", 0.0)]
    observer = await client.observe(version, sender="engine", rows=10)
    observed = await _settled(observer.add(pa.table({"a": numbers[:10], "symbol": [[1]] * 10})))
    assert [one.name for one in observed.reports[0].features] == ["a"]


async def test_reference_without_a_feature_is_refused(client: AsyncClient, model: Path, name: str) -> None:
    version = await client.register(name, model)
    with pytest.raises(errors.InvalidField, match="no column that is a feature"):
        await client.set_reference(version, {"when": TIMES})
    with pytest.raises(errors.InvalidField, match="ignore"):
        await client.set_reference(version, {"a": NUMBERS}, ignore=[1])  # type: ignore[list-item]


async def test_column_without_a_value_is_of_any_kind_in_live_data_but_not_in_a_reference(
    client: AsyncClient, model: Path, name: str
) -> None:
    version = await client.register(name, model)
    rows = 10 * ROWS
    reference = await client.set_reference(version, {"a": [None] * rows, "b": NUMBERS * 10})
    assert [one.missing_share for one in reference.features] == [1, 0]
    report = await client.detect_drift(version, {"a": TEXT * 10, "b": [None] * rows})
    assert {one.name: one.missing_share for one in report.features} == {"a": 0, "b": 1}
    assert report.drift_detected
    with pytest.raises(errors.InvalidField, match="set the reference again"):
        await client.detect_drift(version, {"a": NUMBERS, "b": NUMBERS})


MINUTES = [NOON + dt.timedelta(minutes=i) for i in range(8)]


def test_labels_and_predictions_that_are_times_are_refused(door: Door) -> None:
    times, numbers = ({"id": list(range(8)), "label": values} for values in (MINUTES, list(range(8))))
    for data, predicted in ((times, numbers), (numbers, times)):
        sent = pa.table(predicted).rename_columns(["id", "prediction"])
        with pytest.raises(errors.InvalidField, match="holds times"):
            door.compare("Arrow IPC", pa.table(data), sent)
