"""Ids are text by one rule, and what is missing is never one."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from modelward import AbOutcome, AsyncClient, Client, ModelVersion, errors
from modelward.shared.convert.common import ref_to_proto
from modelward.shared.row_ids import id_texts
from modelward.v1 import comparison_pb2 as pb
from modelward.v1.common_pb2 import Column, ColumnTable, Dataset, DoubleValues, Int64Values
from tests.support.running_server import RunningServer

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
TWINS: list[tuple[Any, str]] = [
    (7, "7"),
    (7.0, "7"),
    ("7", "7"),
    (np.int8(7), "7"),
    (np.uint64(2**64 - 1), "18446744073709551615"),
    (np.float32(7), "7"),
    (-3.0, "-3"),
    ("Ł-1", "Ł-1"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (date(2026, 11, 1), "2026-11-01T00:00:00"),
    (np.datetime64("2026-11-01"), "2026-11-01T00:00:00"),
    (Decimal(7), "7"),
    (pa.scalar("a"), "a"),
    (NOON, "2026-11-01T12:00:00"),
    (NOON.astimezone(timezone(timedelta(hours=9))), "2026-11-01T12:00:00"),
    (pd.Timestamp(NOON), "2026-11-01T12:00:00"),
    (pd.Timestamp("2026-11-01T12:00"), "2026-11-01T12:00:00"),
    (np.datetime64("2026-11-01T12:00"), "2026-11-01T12:00:00"),
    (pd.Timestamp("2026-11-01T12:00:00.000000001"), "2026-11-01T12:00:00.000000001"),
    (np.datetime64("2026-11-01T12:00:00.000000001"), "2026-11-01T12:00:00.000000001"),
]


@pytest.mark.parametrize(("value", "text"), TWINS, ids=repr)
def test_id_is_its_standard_text(value: Any, text: str) -> None:
    assert id_texts([value]) == [text]


MISSING = [None, np.nan, float("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), np.ma.masked, np.float32("nan"), ""]


BEYOND = [datetime.min.replace(tzinfo=timezone(timedelta(hours=9))), np.datetime64("10000-01-01")]


@pytest.mark.parametrize(
    "value",
    [
        *MISSING,
        1.5,
        2.0**53,
        Decimal("7.5"),
        True,
        np.bool_(False),
        b"a",
        [1],
        object(),
        float("inf"),
        pa.scalar(None),
        *BEYOND,
    ],
)
def test_what_is_missing_or_no_id_is_refused_by_its_row(value: Any) -> None:
    with pytest.raises(errors.InvalidField, match=r"^ids\[1\]: "):
        id_texts(["a", value])


COLUMNS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "numpy": lambda values: np.array(values, object),
    "masked": lambda values: np.ma.masked_array([0 if v is None else v for v in values], [v is None for v in values]),
    "float": lambda values: np.array(values, float),
    "pandas": pd.Series,
    "nullable": lambda values: pd.Series(values, dtype="Int64"),
    "pyarrow": lambda values: pd.Series(values, dtype="int64[pyarrow]"),
    "polars": pl.Series,
    "iterator": iter,
}


@pytest.fixture
async def version(client: AsyncClient, name: str, tmp_path: Path) -> ModelVersion:
    (tmp_path / "model.txt").write_text("weights")
    found: ModelVersion = await client.register(name, tmp_path / "model.txt")
    return found


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
async def test_outcomes_meet_by_whole_numbers_and_never_by_what_is_missing(
    client: AsyncClient, version: ModelVersion, column: Callable[[list[Any]], Any]
) -> None:
    await client.record_outcomes(version, ["1", "2"], predictions=[0, 1])
    kept = await client.record_outcomes(version, column([1, 2]), labels=[0, 1])
    assert (kept.labels, kept.waiting) == (2, 0)
    with pytest.raises(errors.InvalidField, match=r"ids\[1\]: is missing"):
        await client.record_outcomes(version, column([3, None]), predictions=[0, 1])


VALUES = {
    "list": [1, None],
    "numpy": np.array([1.0, np.nan]),
    "masked": np.ma.masked_array([1.0, 5.0], [False, True]),
    "nullable": pd.array([1, None], dtype="Int64"),
    "boolean": pd.Series([True, None], dtype="boolean"),
    "arrow": pa.chunked_array([[1, None]]).to_pandas(),
    "polars": pl.Series([1, None]),
    "column": np.array([[1.0], [np.nan]]),
}


@pytest.mark.parametrize("predictions", VALUES.values(), ids=VALUES)
async def test_prediction_that_is_missing_is_none(client: AsyncClient, version: ModelVersion, predictions: Any) -> None:
    kept = await client.record_outcomes(version, ["a", "b"], predictions=predictions, labels=[1, 0])
    assert kept.predictions == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"predictions": ["up", "down"]}, r"predictions\[0\]: is 'up'.*whole numbers"),
        ({"labels": [1, "down"]}, r"labels\[1\]: is 'down'"),
        ({"predictions": np.ones((2, 2))}, r"predictions: has shape \(2, 2\)"),
        ({"predictions": pd.DataFrame({"a": [1, 2]})}, "predictions: is a table"),
        ({"predictions": 5}, "predictions: is a int"),
        ({"predictions": [1, 2, 3]}, "predictions: has 3 values for 2 ids"),
        ({"labels": np.array(["2026-11-01", "2026-11-02"], "datetime64[s]")}, r"labels\[0\]: is a datetime64"),
        ({"predictions": [1, 0], "predicted_at": np.array(["2026-11-01"] * 2, "M8[s]")}, r"predicted_at\[0\]: .* zone"),
        ({"predictions": [1, 0], "predicted_at": ["soon", None]}, r"predicted_at\[0\]: is 'soon'"),
        ({"predictions": [1, 0], "predicted_at": [NOON]}, "predicted_at: has 1 values"),
    ],
    ids=lambda given: str(given)[:40],
)
async def test_value_that_is_no_number_is_refused_in_words(
    client: AsyncClient, version: ModelVersion, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidField, match=message):
        await client.record_outcomes(version, ["a", "b"], **given)


async def test_instant_that_is_missing_is_the_servers(client: AsyncClient, version: ModelVersion) -> None:
    instants = pd.Series([pd.Timestamp("2026-11-01", tz="UTC"), pd.NaT])
    kept = await client.record_outcomes(version, ["a", "b"], predictions=[1, 0], predicted_at=instants)
    assert kept.predictions == 2


async def test_ab_outcomes_are_named_where_they_are_wrong(
    client: AsyncClient, version: ModelVersion, name: str
) -> None:
    await client.create_ab_test(name, {"a": version, "b": version}, primary_metric="pnl")
    for wrong, field in [
        (AbOutcome("", "u", {"pnl": 1.0}), "outcome_id"),
        (AbOutcome(None, "u", {"pnl": 1.0}), "outcome_id"),  # type: ignore[arg-type]
        (AbOutcome("1", float("nan"), {"pnl": 1.0}), "unit"),  # type: ignore[arg-type]
        (AbOutcome("1", "u", {"pnl": pd.NA}), r"metrics\['pnl'\]"),  # type: ignore[dict-item]
        (AbOutcome("1", "u", {"pnl": "x"}), r"metrics\['pnl'\]"),  # type: ignore[dict-item]
        (AbOutcome("1", "u", {"pnl": 1.0}, observed_at=datetime(2026, 11, 1)), "observed_at"),  # noqa: DTZ001
        (AbOutcome("1", "u", {"pnl": float("nan")}), "pnl"),
    ]:
        with pytest.raises(errors.InvalidField, match=rf"outcomes\[1\].*{field}"):
            await client.record_ab_outcomes(name, [AbOutcome("0", "u", {"pnl": 1.0}), wrong])
    first = await client.record_ab_outcomes(name, [AbOutcome(7.0, "5", {"pnl": 1})])  # type: ignore[arg-type]
    again = await client.record_ab_outcomes(name, iter([AbOutcome("7", "5", {"pnl": 1.0})]))
    assert (first.recorded, again.recorded, again.repeated_ids) == (1, 0, 1)


Y = np.random.default_rng(0).normal(size=40)


def answers(versions: list[ModelVersion], ids: Any, field: str = "id") -> dict[Any, dict[str, Any]]:
    return {version: {field: ids, "prediction": Y + number} for number, version in enumerate(versions)}


@pytest.fixture
async def versions(client: AsyncClient, version: ModelVersion, tmp_path: Path) -> list[ModelVersion]:
    return [version, await client.register(version.model, tmp_path / "model.txt")]


@pytest.mark.parametrize("sent", [range(40), np.arange(40.0), [str(row) for row in range(40)], None], ids=repr)
async def test_comparison_joins_whole_numbers_in_any_form(
    client: AsyncClient, versions: list[ModelVersion], sent: Any
) -> None:
    predictions = answers(versions, np.arange(40) if sent is None else sent)
    found = await client.compare([], None, Y.reshape(-1, 1), ids=sent, predictions=predictions)
    assert found.rows == 40


async def test_comparison_refuses_what_cannot_be_joined(client: AsyncClient, versions: list[ModelVersion]) -> None:
    holes = pd.Series([None, *range(1, 40)], dtype="Int64")
    with pytest.raises(errors.InvalidField, match=r"ids\[0\]: is missing"):
        await client.compare([], None, Y, ids=holes, predictions=answers(versions, range(40)))
    with pytest.raises(errors.InvalidField, match=r"predictions\[.*/1\]\['id'\]\[0\]: is missing"):
        await client.compare([], None, Y, predictions=answers(versions, np.array([np.nan, *range(1, 40)])))
    for y, words in [
        (None, "y: is missing; give the labels"),
        (5, "y: is a int"),
        (np.ones((3, 2)), r"y: has shape \(3, 2\)"),
    ]:
        with pytest.raises(errors.InvalidField, match=words):
            await client.compare([], None, y, predictions=answers(versions, range(40)))


@pytest.mark.system
def test_server_joins_by_the_same_rule(server: RunningServer, tmp_path: Path) -> None:
    """What comes without the SDK, as from grpcurl: typed columns of their own kinds."""
    (tmp_path / "model.txt").write_text("weights")
    with Client(server.target) as client:
        made = [client.register(f"ids-{uuid4().hex}", tmp_path / "model.txt") for _ in range(2)]
        label = Column(name="label", doubles=DoubleValues(values=Y))
        data = table(Column(name="id", int64s=Int64Values(values=range(40))), label)
        request = pb.CompareModelsRequest(data=data, label="label", id="id")
        prediction = Column(name="prediction", doubles=DoubleValues(values=Y + 1))
        for version, ids in zip(made, [[float(row) for row in range(40)], [float("nan")] * 40], strict=True):
            sent = table(Column(name="id", doubles=DoubleValues(values=ids)), prediction)
            request.versions.append(ref_to_proto(version.ref))
            request.predictions.add(version=ref_to_proto(version.ref), data=sent)
        with pytest.raises(errors.InvalidField, match=r"predictions\[1\].data\['id'\]\[0\]: is missing"):
            list(client._receive(client._comparison.CompareModels, request))
        request.predictions[1].data.CopyFrom(request.predictions[0].data)
        [*_, last] = client._receive(client._comparison.CompareModels, request)
        assert last.comparison.rows == 40


def table(*columns: Column) -> Dataset:
    return Dataset(columns=ColumnTable(columns=columns))
