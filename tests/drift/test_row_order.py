"""Rows with a time and a group are sorted by them: no result depends on the order in which they are sent."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelward import Client, DriftReport, ModelVersion, Reference, errors
from modelward._coerce import AnyVersion
from modelward.drift import TimeWindow
from modelward_server.drift import row_order
from tests.support.running_server import RunningServer
from tests.support.scale import examples

pytestmark = pytest.mark.system  # Many tables, and comparisons of them.

RANDOM = np.random.default_rng(12)
DAYS, SYMBOLS = 40, ("AAPL", "MSFT", "XOM")
ROWS = DAYS * len(SYMBOLS)
PANEL = pd.DataFrame(
    {
        "date": np.repeat(pd.date_range("2024-01-01", periods=DAYS), len(SYMBOLS)),
        "symbol": list(SYMBOLS) * DAYS,
        "ret": RANDOM.normal(size=ROWS).cumsum(),
        "venue": RANDOM.choice(["X", "Y"], ROWS).astype(object),
    }
)
LIVE = PANEL[:60].assign(ret=RANDOM.normal(2, 1, 60))
KEYS: dict[str, Any] = {"time": "date", "group": "symbol"}


@pytest.fixture(scope="session")
def database_url() -> str:
    """One database: that the times of a reference are kept on each is shown in `test_drift.py`."""
    return ""


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.target, actor="tester") as client:
        yield client


@pytest.fixture
def version(client: Client, name: str, tmp_path: Path) -> ModelVersion:
    (tmp_path / "model.bin").write_bytes(b"model")
    return client.register(name, tmp_path / "model.bin", reference=PANEL, **KEYS)


def plain(report: DriftReport) -> DriftReport:
    """Return a report without what differs each time."""
    return replace(report, report_id="", created_at=dt.datetime.min.replace(tzinfo=dt.UTC))


permutations = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).permutation(ROWS))


@settings(max_examples=examples(8), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=permutations)
def test_reference_and_report_do_not_depend_on_the_order_of_rows(
    client: Client, version: ModelVersion, order: np.ndarray[Any, Any]
) -> None:
    known = client.get_reference(version)
    shuffled = client.set_reference(version, PANEL.iloc[order], **KEYS)
    assert (shuffled.digest, shuffled.features, shuffled.window) == (known.digest, known.features, known.window)
    live = LIVE.iloc[order[order < len(LIVE)]]
    assert plain(client.detect_drift(version, live)) == plain(client.detect_drift(version, LIVE))


@settings(max_examples=examples(4), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(order=permutations)
def test_comparison_does_not_depend_on_the_order_of_rows(
    client: Client, version: ModelVersion, tmp_path_factory: pytest.TempPathFactory, order: np.ndarray[Any, Any]
) -> None:
    (tmp_path_factory.mktemp("model") / "model.bin").write_bytes(b"model")
    other = client.register(version.model, tmp_path_factory.getbasetemp() / "model0" / "model.bin")
    returns = PANEL["ret"].to_numpy() / 100
    predictions: dict[AnyVersion, Any] = {version: returns + 0.01, other: returns * 0.9 + RANDOM.normal(size=ROWS) / 50}

    def compared(rows: Any) -> Any:
        sent: dict[AnyVersion, Any] = {one: values[rows] for one, values in predictions.items()}
        found = client.compare(
            [],
            None,
            returns[rows],
            predictions=sent,
            returns=returns[rows],
            cost_bps=2,
            time=PANEL["date"][rows],
            group=PANEL["symbol"][rows],
        )
        return replace(found, comparison_id="", created_at=dt.datetime.min.replace(tzinfo=dt.UTC))

    assert compared(order) == compared(np.arange(ROWS))


def test_what_was_assumed_about_rows_without_a_time_is_said_once(client: Client, version: ModelVersion) -> None:
    features = PANEL[["ret", "venue"]]
    client.set_reference(version, features.assign(date=np.arange(ROWS)), name="timed", time="date")
    client.set_reference(version, features, name="untimed")
    said = {
        name: [caveat for caveat in client.detect_drift(version, features, reference=name).caveats if "order" in caveat]
        for name in ("timed", "untimed")
    }
    assert said == {"timed": [row_order.LIVE_ASSUMED], "untimed": [row_order.REFERENCE_ASSUMED]}


HOURS = pd.date_range("2024-03-31", periods=6, freq="h")
WAYS: dict[str, Callable[[list[int]], Any]] = {
    "numpy": lambda rows: HOURS.to_numpy()[rows],
    "pandas": lambda rows: pd.Series(HOURS.tz_localize("UTC").tz_convert("Europe/Berlin")[rows]),
    "polars": lambda rows: pl.Series(HOURS[rows].to_pydatetime().tolist()),
    "Arrow": lambda rows: pa.array(HOURS[rows].to_pydatetime().tolist(), pa.timestamp("s", "America/New_York")),
    "datetimes": lambda rows: HOURS[rows].tz_localize("UTC").to_pydatetime().tolist(),
    "text": lambda rows: [f"{time:%Y-%m-%dT%H:%M:%S}" for time in HOURS[rows]],
    "text in a zone": lambda rows: [f"{time + pd.Timedelta('2h'):%Y-%m-%dT%H:%M:%S}+02:00" for time in HOURS[rows]],
}


@pytest.mark.parametrize("way", WAYS)
def test_times_of_every_type_are_the_same_instants(client: Client, version: ModelVersion, way: str) -> None:
    rows = [3, 0, 5, 1, 4, 2]
    values = np.arange(6.0)
    sent = client.set_reference(version, {"x": values[rows]}, name=way.replace(" ", "-"), time=WAYS[way](rows))
    assert sent.window == TimeWindow("time", "", "2024-03-31", "2024-03-31T05:00Z", 6)
    assert sent.digest == client.set_reference(version, {"x": values}, name="sorted", time=HOURS).digest


def test_array_takes_its_times_as_integers_of_a_column(client: Client, version: ModelVersion) -> None:
    table = np.column_stack([[3.0, 1.0, 2.0], [7.0, 7.0, 7.0], [0.5, 0.1, 0.2]])
    found = client.set_reference(version, table, names=["day", "group", "x"], name="array", time="day", group="group")
    assert found.window == TimeWindow("day", "group", "1", "3", 3, 1)
    assert [feature.name for feature in found.features] == ["x"]


def test_column_that_is_a_feature_too_is_given_as_values(client: Client, version: ModelVersion) -> None:
    table = PANEL.rename(columns={"symbol": "group"})
    found = client.set_reference(version, table, name="both", time="date", group=table["group"])
    assert found.window is not None
    assert found.window.group_column == "_group"
    assert [feature.name for feature in found.features] == ["group", "ret", "venue"]


def test_parquet_and_streams_are_sorted_as_tables_are(
    client: Client, version: ModelVersion, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = inbox / uuid4().hex
    folder.mkdir()
    shuffled = LIVE.sample(frac=1, random_state=5)
    for number, part in enumerate((shuffled[:25], shuffled[25:])):
        pq.write_table(pa.Table.from_pandas(part, preserve_index=False), folder / f"{number}.parquet")
    expected = plain(client.detect_drift(version, LIVE))
    assert plain(client.detect_drift_uri(version, folder.as_uri())) == expected
    monkeypatch.setattr("modelward.data.INLINE_BYTES", 1)
    assert plain(client.detect_drift(version, shuffled)) == expected
    monkeypatch.setattr(row_order, "MAX_SORTED_BYTES", 1000)
    with pytest.raises(errors.InvalidField, match=r"time: is not in order: .* must be sorted"):
        client.detect_drift_uri(version, folder.as_uri())
    pq.write_table(pa.Table.from_pandas(LIVE, preserve_index=False), inbox / "sorted.parquet", row_group_size=9)
    assert plain(client.detect_drift_uri(version, (inbox / "sorted.parquet").as_uri())) == expected


REFUSED: dict[str, tuple[Any, str]] = {
    "a column that is not there": (
        {"time": "dat"},
        r"time: names 'dat', which is not in the data \(did you mean 'date",
    ),
    "a group without a time": ({"group": "symbol"}, "time: is missing; group has no effect without it"),
    "the same column twice": ({"time": "date", "group": "date"}, "group: names 'date', as time does"),
    "a missing time": ({"time": [pd.NaT, *HOURS[1:]]}, "time: 'time' is missing in 1 of 6 rows, first in 0"),
    "a missing group": (
        {"time": HOURS, "group": [*"abc", None, *"ef"]},
        "group: 'group' is missing in 1 of 6 rows, first in 3",
    ),
    "fractions as times": ({"time": np.arange(6) / 2}, "'time' holds numbers that are not integers; send dates"),
    "booleans as times": ({"time": [True] * 6}, "time: 'time' holds booleans"),
    "text that is no time": ({"time": [*"abcdef"]}, "time: 'time' holds text such as 'a'; send ISO 8601"),
    "times as groups": ({"time": HOURS, "group": HOURS}, "group: 'group' holds times; send text or integers"),
    "too few": ({"time": HOURS[:5]}, "time: has 5 values for 6 rows"),
    "a table": ({"time": PANEL}, "time: is a table"),
    "a time that repeats": (
        {"time": [0, 1, 2, 3, 4, 1]},
        "time: 'time' has 1 in rows 1 and 5; name the column that distinguishes them in group",
    ),
    "a pair that repeats": (
        {"time": HOURS[[0, 1, 2, 0, 1, 2]], "group": [*"abcdbc"]},
        "time: 'time' and 'group' have 2024-03-31T01:00Z and 'b' in rows 1 and 4; each pair may have one row",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_sorted_is_refused(client: Client, version: ModelVersion, what: str) -> None:
    keys, why = REFUSED[what]
    table = {"date": HOURS, "symbol": [*"abcdef"], "ret": np.arange(6.0)}
    with pytest.raises(errors.InvalidField, match=why):
        client.set_reference(version, table, name="refused", **keys)


def test_live_rows_have_the_keys_that_the_reference_needs(client: Client, version: ModelVersion) -> None:
    with pytest.raises(errors.InvalidField, match="time: of the reference names 'date', which is not in"):
        client.detect_drift(version, LIVE[["ret", "venue"]])
    with pytest.raises(errors.InvalidField, match="group: is missing, but the rows of reference 'default' have"):
        client.detect_drift(version, LIVE, time=np.arange(len(LIVE)))
    client.set_reference(version, PANEL, name="untimed", ignore=["symbol"])
    with pytest.raises(errors.InvalidField, match="group: is named, but the rows of reference 'untimed' have n"):
        client.detect_drift(version, LIVE, reference="untimed", **KEYS)


def test_reference_of_files_that_the_server_reads_is_sorted(
    client: Client, version: ModelVersion, inbox: Path, tmp_path: Path
) -> None:
    pq.write_table(pa.Table.from_pandas(PANEL[::-1], preserve_index=False), inbox / "panel.parquet")
    (tmp_path / "model.bin").write_bytes(b"model")
    uri = (inbox / "panel.parquet").as_uri()
    found: Reference = client.get_reference(
        client.register(version.model, tmp_path / "model.bin", reference=uri, **KEYS)
    )
    assert found.digest == client.get_reference(version).digest
    with pytest.raises(errors.InvalidField, match="time: must be the name of a column, because the server reads"):
        client.register(version.model, tmp_path / "model.bin", reference=uri, time=HOURS)
    with pytest.raises(errors.InvalidField, match="time: has no effect without reference"):
        client.register(version.model, tmp_path / "model.bin", time="date")
