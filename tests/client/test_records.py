"""What a result looks like: a repr of a line, JSON, a pandas frame, a table in a notebook."""

import dataclasses
import inspect
import json
import math
import re
import sys
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

import modelward
from modelward import Cron, Every, ModelVersion, VersionRef, errors
from modelward._record import Record, TableRecord, brief
from modelward._tables import _plain_columns, flattened
from modelward.shared.json_values import to_json
from tests.client.test_converters import MODEL, REPORT, TRANSITION, VERSION
from tests.support.record_samples import HOSTILE, MANY, NOON, sample

PUBLIC = [getattr(modelward, name) for name in modelward.__all__]
RECORDS = [*(one for one in PUBLIC if inspect.isclass(one) and dataclasses.is_dataclass(one)), errors.FieldViolation]
TABLES = [one for one in RECORDS if issubclass(one, TableRecord)]
MAX_REPR = 200


def test_every_public_dataclass_is_a_record() -> None:
    assert len(RECORDS) > 70
    assert [one.__name__ for one in RECORDS if not issubclass(one, Record)] == []


@pytest.mark.parametrize("cls", RECORDS)
def test_repr_is_one_short_line_that_names_the_class(cls: type[Any]) -> None:
    shown = repr(sample(cls))
    assert len(shown) <= MAX_REPR
    assert shown.startswith(f"{cls.__name__}(")
    assert shown.isprintable()


@pytest.mark.system
@pytest.mark.parametrize("cls", RECORDS)
def test_dictionary_is_json_that_keeps_every_field(cls: type[Any]) -> None:
    record = sample(cls)
    document = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    assert list(document) == [field.name for field in dataclasses.fields(cls)]


@pytest.mark.parametrize("cls", TABLES)
def test_notebook_shows_the_first_rows_with_all_text_escaped(cls: type[Any]) -> None:
    html = sample(cls)._repr_html_()
    assert "<script" not in html
    assert html.count("<tr>") <= 1 + 20
    assert html.endswith("more</p></div>")
    assert re.findall(r"style=|color", html) == []


@pytest.mark.parametrize("cls", TABLES)
def test_notebook_says_where_columns_were_left_out(cls: type[Any]) -> None:
    html = sample(cls)._repr_html_()
    left_out = re.search(r"to_pandas\(\) has all (\d+) columns", html)
    assert left_out is None or int(left_out[1]) > html.count("<th>")
    assert (left_out is None) == (len(to_columns(sample(cls))) <= html.count("<th>"))


def to_columns(result: Any) -> list[str]:
    """Return the columns of a table of which a row has a plain value."""
    return _plain_columns([dict(flattened(row)) for row in result._rows()[:20]])


@pytest.mark.parametrize("cls", TABLES)
def test_frame_has_a_line_for_each_row(cls: type[Any]) -> None:
    frame = sample(cls).to_pandas()
    assert len(frame) == len(sample(cls)._rows()) >= MANY
    assert not frame.columns.has_duplicates


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (VersionRef("spx", 3), "VersionRef('spx', 3)"),
        (MODEL, "Model('spx-direction', 3 versions, 2 in production, halted)"),
        (VERSION, "ModelVersion('spx-direction/3': staging, skops, 1 file)"),
        (TRANSITION, "Transition('spx-direction/3': staging to production, by 'bob')"),
        (REPORT, "DriftReport('spx-direction/3': drift, 1 of 1 feature, 63 rows, id 'id')"),
        (Cron("30 17 * * FRI"), "Cron(expression='30 17 * * FRI')"),
        (Every(timedelta(days=7)), "Every(span=7 days, 0:00:00)"),
    ],
)
def test_repr_says_what_it_is_and_what_it_found(record: Record, shown: str) -> None:
    assert repr(record) == shown


def test_repr_counts_what_is_long_and_never_shows_arrays_or_bytes() -> None:
    shown = [brief(value) for value in (tuple(range(9)), (1, 2), {"a": 1.5}, np.zeros(9), b"secret", (b"x",))]
    assert shown == ["<9 items>", "[1, 2]", "{'a': 1.5}", "<ndarray>", "<bytes>", "<1 item>"]


def test_json_has_times_with_their_offset_durations_in_seconds_and_no_number_for_nan() -> None:
    values = [
        NOON,
        timedelta(minutes=1.5),
        math.nan,
        -math.inf,
        np.float64("nan"),
        np.int64(3),
        np.array([1.0, np.nan]),
    ]
    assert to_json(values) == ["2026-03-02T12:00:00+00:00", 90.0, None, None, None, 3, [1.0, None]]
    assert to_json({VERSION.stage: {"a"}}) == {"staging": ["a"]}
    with pytest.raises(TypeError, match="a object has no form in JSON"):
        to_json(object())


def test_dictionary_is_that_of_the_commands() -> None:
    document = VERSION.to_dict()
    assert document["stage"] == "staging"
    assert datetime.fromisoformat(document["created_at"]) == VERSION.created_at
    assert document["files"] == [{"path": "data/vocab.txt", "size_bytes": 10, "sha256": "a" * 64}]


def test_frame_of_a_report_has_one_line_for_each_feature() -> None:
    frame = REPORT.to_pandas()
    assert list(frame.name) == [feature.name for feature in REPORT.features]
    assert frame.ks[0] == REPORT.features[0].ks
    assert frame.kind[0] == "category"


def test_frame_without_pandas_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'modelward[pandas]'")):
        REPORT.to_pandas()


def test_text_of_users_is_escaped_in_every_cell() -> None:
    report = dataclasses.replace(
        REPORT,
        report_id=HOSTILE,
        features=tuple(dataclasses.replace(one, name="<b>&") for one in REPORT.features),
    )
    html = report._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert "&lt;script&gt;" in html
    assert re.findall(r"<(?!/?(?:div|p|table|thead|tbody|tr|th|td)>)", html) == []


def test_records_still_compare_and_hash_by_their_fields() -> None:
    assert dataclasses.replace(VERSION) == VERSION
    assert {VERSION: 1}[dataclasses.replace(VERSION)] == 1
    assert isinstance(VERSION, ModelVersion)
