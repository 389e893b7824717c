"""What tables look like: rules that hold for all commands."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.text import Text

from modelward.cli.cells import Cell
from modelward.cli.output import Output
from modelward.shared.json_values import to_json

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
REASON = "no difference is proven, and it knows the market as it is now, which the one before it does not"


@dataclass(frozen=True)
class Move:
    name: str
    note: str
    at: datetime
    rows: int
    reason: str


def shown(moves: list[Move], width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    Output().rows(
        moves,
        ["name", "note", "at (UTC)", "rows"],
        lambda m: [m.name, m.note, m.at, m.rows],
        prose=("why", lambda m: m.reason),
        none="nothing",
    )
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int, monkeypatch: Any, capsys: Any) -> None:
    moves = [Move("spx-direction/1", "a note " * 20, NOON, 7, REASON), Move("a" * 30, "", NOON, 12345, "")]
    said = shown(moves, width, monkeypatch, capsys)
    assert max(map(len, said.splitlines())) <= width


@pytest.mark.parametrize("width", [1, 10, 40, 80, 120, 200])
def test_what_is_to_be_copied_is_never_cut(width: int, monkeypatch: Any, capsys: Any) -> None:
    name = "a" * 60 + "/1"
    said = shown([Move(name, "a note " * 20, NOON, 12345, REASON)], width, monkeypatch, capsys)
    assert name in said
    assert "12345" in said
    assert ("…" in said) == (width in {120, 200})


def test_a_sentence_stands_in_its_column_where_there_is_room(monkeypatch: Any, capsys: Any) -> None:
    _, _, row = shown([Move("spx", "new", NOON, 7, REASON)], 160, monkeypatch, capsys).splitlines()
    assert row == f"spx   new   2026-03-02 12:00:00     7  {REASON}"


def test_a_sentence_stands_below_its_row_where_there_is_none(monkeypatch: Any, capsys: Any) -> None:
    lines = shown([Move("spx", "new", NOON, 7, REASON), Move("dax", "old", NOON, 8, "")], 60, monkeypatch, capsys)
    row, *below, last = lines.splitlines()[2:]
    assert row.split() == ["spx", "new", "2026-03-02", "12:00:00", "7"]
    assert " ".join(" ".join(below).split()) == REASON
    assert last.startswith("dax")


def test_empty_columns_go_where_there_is_no_room(monkeypatch: Any, capsys: Any) -> None:
    move = Move("spx-direction/1", "", NOON, 7, "")
    assert "note" in shown([move], 80, monkeypatch, capsys)
    narrow = shown([move], 45, monkeypatch, capsys)
    assert "note" not in narrow
    assert "2026-03-02 12:00:00" in narrow


def test_what_goes_to_a_program_is_neither_cut_nor_wrapped(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    move = Move("spx", "note " * 60, NOON, 7, REASON)
    Output().rows([move], ["note", "rows"], lambda m: [m.note, m.rows], prose=("why", lambda m: m.reason), none="")
    [row] = capsys.readouterr().out.splitlines()[2:]
    assert row.split() == [*["note"] * 60, "7", *REASON.split()]


def test_others_texts_drive_neither_the_terminal_nor_the_markup(monkeypatch: Any, capsys: Any) -> None:
    said = shown([Move("[/red]", "\x1b[2J\nnote", NOON, 7, "\x1b]0;title\x07")], 120, monkeypatch, capsys)
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "[/red]" in said
    assert len(said.splitlines()) == 3


def test_numbers_are_set_to_the_right(monkeypatch: Any, capsys: Any) -> None:
    said = shown([Move("a", "x", NOON, rows, "") for rows in (7, 12345)], 80, monkeypatch, capsys)
    ends = [len(line.rstrip()) for line in said.splitlines() if line.startswith("a")]
    assert all(one == other for one, other in pairwise(ends))


def test_json_holds_times_as_iso_spans_as_seconds_and_no_nan() -> None:
    found = {"at": NOON, "span": timedelta(minutes=1), "values": (1.5, float("nan"), float("inf"))}
    assert to_json(found) == {"at": "2026-03-02T12:00:00+00:00", "span": 60.0, "values": [1.5, None, None]}


def as_csv(rows: list[list[Any]], headings: list[str], capfdbinary: Any) -> bytes:
    Output("csv").rows(rows, headings, lambda row: row, none="nothing")
    said: bytes = capfdbinary.readouterr().out
    return said


def test_csv_has_exact_numbers_times_in_utc_and_quoted_texts(capfdbinary: Any) -> None:
    here = NOON.astimezone(ZoneInfo("Asia/Tokyo"))
    row = [here, timedelta(minutes=1), -1 / 3, 12345678, True, 'a "b",\nc', Cell(0.99999, ">99.9%"), {"desk": "a"}]
    headings = ["time (UTC)", "lease", "share", "rows", "drift", "a note", "confidence", "tags"]
    assert as_csv([row], headings, capfdbinary) == (
        b"time,lease,share,rows,drift,a_note,confidence,tags\r\n2026-03-02T12:00:00+00:00,60.0,-0.3333333333333333,"
        b'12345678,true,"a ""b"",\nc",0.99999,"{""desk"": ""a""}"\r\n'
    )


def test_csv_of_nothing_is_its_header(capfdbinary: Any) -> None:
    assert as_csv([], ["KS", "limit", "KL", "limit"], capfdbinary) == b"KS,KS_limit,KL,KL_limit\r\n"
    assert as_csv([[None, float("nan"), {}, ""]], list("abcd"), capfdbinary) == b"a,b,c,d\r\n,,,\r\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
def test_csv_has_no_formula(text: str, capfdbinary: Any) -> None:
    assert as_csv([[text, Text(text)]], ["a", "b"], capfdbinary) == f"a,b\r\n'{text},'{text}\r\n".encode()


def test_csv_has_no_colours_and_no_hidden_characters(capfdbinary: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert as_csv([[Text("a", "bold red"), "\x1b[2J"]], ["a", "b"], capfdbinary) == b"a,b\r\na,\\x1b[2J\r\n"
