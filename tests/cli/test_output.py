"""What tables look like: rules that hold for all commands."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

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
    Output(False).rows(
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
    Output(False).rows([move], ["note", "rows"], lambda m: [m.note, m.rows], prose=("why", lambda m: m.reason), none="")
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
