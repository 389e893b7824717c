"""Outcomes are the same whichever way their columns come: every type by every way in by how much is missing."""

import datetime as dt
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelward import AbOutcome, AsyncClient, errors
from modelward._coerce import AnyVersion
from modelward.comparison import ModelKind
from modelward.v1 import comparison_pb2, drift_pb2
from tests.support.column_kinds import (
    CATEGORY,
    COMPLETE,
    FRAMES,
    MISSING,
    NOON,
    NUMBER,
    ROWS,
    SPARSE,
    TYPES,
    Door,
    asked,
)

pytestmark = pytest.mark.system  # A grid of every type and every way of arrival.

NUMBERS = {
    "int8": [0.0, 1.0, 2.0],
    "uint64": [2.0**63, 2.0**63 + 4096, 2.0**63 + 8192],
    "float16": [0.0, 1.0, 2.0],
    "float32": [0.0, 1.0, 2.0],
    "float64": [0.0, 1.0, 2.0],
    "decimal": [0.0, 0.25, 0.5],
    "bool": [1.0, 0.0, 1.0],
}
"""What outcomes hold of the types that are taken."""
TEXTS = {
    **{name: ["0", "1", "2"] for name in ("int8", "float16", "float32", "float64")},
    "int64": [f"{2**60 + i}" for i in range(ROWS)],
    "uint64": [f"{2**63 + 4096 * i}" for i in range(ROWS)],
    **{name: ["x", "y", "z"] for name in ("string", "large_string", "string_view", "dictionary")},
    "digits": ["000", "001", "002"],
    **{name: [f"2026-01-02T12:0{i}:00" for i in range(ROWS)] for name in ("seconds", "zoned", "nanoseconds")},
    "date": ["2026-01-02T00:00:00"] * ROWS,
}
"""What ids are of the types that are taken."""


def column(way: str, name: str) -> Any:
    """Return a column as a frame of some kind has it."""
    return FRAMES[way](COMPLETE if name.endswith(" no") else SPARSE)[name]


@pytest.mark.parametrize("way", FRAMES)
def test_labels_and_predictions_of_every_type(door: Door, way: str) -> None:
    version = door.client.register("outcomes", door.model)
    for name in TYPES:
        for how, gone in MISSING.items():
            ids, values = [f"{name} {how} {row}" for row in range(ROWS)], column(way, f"{name} {how}")
            if how == "all":
                with pytest.raises(errors.InvalidField, match=r"outcomes\[0\]: has neither prediction nor label"):
                    door.client.record_outcomes(version, ids, predictions=values, labels=values)
            elif name in NUMBERS:
                door.client.record_outcomes(version, ids[gone:], predictions=values[gone:], labels=values[gone:])
                kept = door.client.record_outcomes(
                    version, ids, predictions=[1.0] * gone + NUMBERS[name][gone:], labels=values
                )
                assert (kept.predictions, kept.labels) == (gone, 0), "no value changed on its way"
            elif not (name == "int64" and gone and way == "pandas"):  # Whose whole numbers became floats.
                row = 1 if name == "int64" else gone
                with pytest.raises(errors.InvalidField, match=rf"^labels\[{row}\]: is .*give "):
                    door.client.record_outcomes(version, ids, labels=values)


@pytest.mark.parametrize("way", FRAMES)
def test_ids_of_every_type(door: Door, way: str) -> None:
    version, labels = door.client.register("outcomes", door.model), [1.0] * ROWS
    for name in TYPES:
        for how in ("one", "all"):
            with pytest.raises(errors.InvalidField, match=r"^ids\[0\]: is missing"):
                door.client.record_outcomes(version, column(way, f"{name} {how}"), labels=labels)
        if name in TEXTS:
            door.client.record_outcomes(version, column(way, f"{name} no"), labels=labels)
        else:
            with pytest.raises(errors.InvalidField, match=r"^ids\[[01]\]: is .*not an id; give text or a whole number"):
                door.client.record_outcomes(version, column(way, f"{name} no"), labels=labels)
    texts = sorted({text for texts in TEXTS.values() for text in texts})
    assert door.client.record_outcomes(version, texts, predictions=[1.0] * len(texts)).labels == len(texts)


@pytest.fixture
def test_name(door: Door) -> str:
    name = uuid4().hex
    door.client.create_ab_test(name, {"old": "kinds/1", "new": "kinds/2"}, primary_metric="pnl")
    return name


@pytest.mark.parametrize("way", FRAMES)
def test_metrics_of_every_type(door: Door, test_name: str, way: str) -> None:
    def rows(name: str) -> Iterator[AbOutcome]:
        for row, value in enumerate(column(way, name)):
            yield AbOutcome(f"{name} {row}", "unit", {"pnl": value}, {"pnl": value})

    taken = [outcome for name in (*NUMBERS, "int64") for outcome in rows(f"{name} no")]
    assert door.client.record_ab_outcomes(test_name, taken).recorded == len(taken)
    for name in TYPES:
        with pytest.raises(errors.InvalidField, match=r"^outcomes\[0\].metrics\['pnl'\]: is missing; leave it out"):
            door.client.record_ab_outcomes(test_name, rows(f"{name} one"))
        if name not in {*NUMBERS, "int64"}:
            with pytest.raises(errors.InvalidField, match=r"^outcomes\[0\].metrics\['pnl'\]: is .*give a number"):
                door.client.record_ab_outcomes(test_name, rows(f"{name} no"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_messages_without_a_number_are_refused(door: Door, test_name: str, value: float) -> None:
    label = drift_pb2.Outcome(prediction_id="a", label=value)
    request = drift_pb2.RecordOutcomesRequest(version=door.ref, outcomes=[label])
    with pytest.raises(errors.InvalidField, match=r"outcomes\[0\].label"):
        asked(door.client._drift.RecordOutcomes, request)
    pnl = comparison_pb2.AbOutcome(outcome_id="a", unit="b", metrics={"pnl": value})
    with pytest.raises(errors.InvalidField, match=r"outcomes\[0\].metrics"):
        asked(
            door.client._comparison.RecordAbOutcomes,
            comparison_pb2.RecordAbOutcomesRequest(test=test_name, outcomes=[pnl]),
        )


def test_times_of_outcomes_come_as_arrow_too(door: Door) -> None:
    version = door.client.register("outcomes", door.model)
    times = pa.array([NOON, None], pa.timestamp("us", "UTC"))
    kept = door.client.record_outcomes(version, ["a", "b"], predictions=pa.array([1, 2]), predicted_at=times)
    assert kept.predictions == 2
    [period] = [one for one in door.client.list_performance(version) if one.start.date() == NOON.date()]
    assert period.predictions == 1


REGRESSION = {"uint64", "float16", "float32", "float64", "decimal"}
BY_WAYS = [(name, way) for name in TYPES for way in ("typed columns", "Arrow IPC")]


@pytest.mark.parametrize(("name", "way"), [*BY_WAYS, ("decimal", "Parquet")])
def test_labels_of_comparisons_of_every_type(door: Door, name: str, way: str) -> None:
    def compared(values: pa.Array) -> Any:
        table = {"id": range(len(values)), "label": values, "when": [NOON] * len(values)}
        return door.compare(way, pa.table(table), pa.table({"id": table["id"], "prediction": values}))

    kind, values, feature = TYPES[name]
    if feature not in {NUMBER, CATEGORY}:
        with pytest.raises(errors.InvalidField, match=r"data\['label'\]: holds times"):
            compared(pa.array(values, kind))
        return
    found = compared(pa.array(values * 3, kind))
    wanted = ModelKind.REGRESSION if name in REGRESSION else ModelKind.CLASSIFICATION
    assert (found.kind, found.rows) == (wanted, 3 * ROWS)
    assert compared(pa.array([None, *values[1:], *values], kind)).rows == 2 * ROWS - 1  # The label may come later.
    with pytest.raises(errors.InvalidField, match="label"):
        compared(pa.array([None] * ROWS, kind))


async def test_predictions_are_found_in_files_of_the_server_by_whatever_has_the_same_ids(door: Door) -> None:
    days = [NOON.date() + dt.timedelta(days=i) for i in range(8)]
    label = [float(i % 3) + 0.5 for i in range(8)]
    path = door.folder / f"{uuid4().hex}.parquet"
    pq.write_table(pa.table({"day": days, "label": label}), path)
    midnights = pd.to_datetime(days).tz_localize("UTC").tz_convert("Asia/Tokyo")
    predictions: dict[AnyVersion, Any] = {
        "kinds/1": pa.table({"day": days, "prediction": label}),
        "kinds/2": pd.DataFrame({"id": midnights, "prediction": label}),
    }
    found = door.client.compare([], path.as_uri(), "label", ids="day", predictions=predictions)
    assert found.rows == 8
    assert not any("are excluded" in note for note in found.notes)
    async with AsyncClient(door.client.target) as client:
        again = await client.compare([], path.as_uri(), "label", ids="day", predictions=predictions)
        with pytest.raises(errors.InvalidField, match=r"^ids: is missing"):
            await client.compare([], path.as_uri(), "label", predictions=predictions)
        with pytest.raises(errors.InvalidField, match="is not a table"):
            await client.compare([], path.as_uri(), "label", ids="day", predictions={"kinds/1": label})
    assert again.results == found.results


def test_ids_of_tables_of_predictions_may_be_of_any_type(door: Door) -> None:
    ids: list[list[Any]] = [
        [UUID(int=i) for i in range(4)],
        [2**63 + i for i in range(4)],
        [NOON.replace(tzinfo=dt.UTC) + dt.timedelta(days=i) for i in range(4)],
        [np.datetime64(NOON) + i for i in range(4)],
    ]
    numbers = [0.5, 1.5, 2.5, 3.5]
    for names in ids:
        sent: dict[AnyVersion, Any] = {
            version: {"id": names, "prediction": numbers} for version in ("kinds/1", "kinds/2")
        }
        assert door.client.compare([], None, numbers, ids=names, predictions=sent).rows == 4
