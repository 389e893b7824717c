"""`--time-zone`: times are shown and read in a zone."""

import csv
import io
import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from modelward import Client
from tests.cli.conftest import Commands

pytestmark = pytest.mark.system  # Takes seconds.

TOKYO = ZoneInfo("Asia/Tokyo")


def moved_at(sdk: Client, model: str) -> datetime:
    """Return the time of the newest stage transition."""
    return sdk.list_transitions(model)[0].moved_at


def test_times_are_shown_in_the_zone_that_the_heading_names(
    commands: Commands, sdk: Client, in_production: str
) -> None:
    moment = moved_at(sdk, in_production).replace(microsecond=0)
    heading, _, newest, *_ = commands.said("history", in_production, "--time-zone", "Asia/Tokyo").splitlines()
    assert heading.startswith("time (Asia/Tokyo)")
    assert newest.startswith(f"{moment.astimezone(TOKYO)}  ")
    shown = commands.said("show", f"{in_production}/2", "--time-zone", "Asia/Tokyo")
    assert re.search(rf"^since \(Asia/Tokyo\) +{re.escape(str(moment.astimezone(TOKYO)))}", shown, re.MULTILINE)
    assert commands.said("history", in_production).startswith("time (UTC)")


def test_the_zone_of_the_machine_is_local(
    commands: Commands, sdk: Client, in_production: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        heading, _, newest, *_ = commands.said("history", in_production, "--time-zone", "local").splitlines()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert heading.startswith("time (local)")
    assert newest.startswith(f"{moved_at(sdk, in_production).replace(microsecond=0).astimezone(TOKYO)}  ")


def test_the_variable_and_the_profile_set_the_zone(
    commands: Commands, in_production: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.toml"
    file.write_text('default_profile = "desk"\n[profiles.desk]\ntime_zone = "Asia/Tokyo"\n')
    assert commands.said("--config", file, "history", in_production).startswith("time (Asia/Tokyo)")
    monkeypatch.setenv("MODELWARD_TIME_ZONE", "Europe/Berlin")
    assert commands.said("--config", file, "history", in_production).startswith("time (Europe/Berlin)")
    assert commands.said("history", in_production, "--time-zone", "utc").startswith("time (UTC)")


def test_times_without_a_zone_are_read_in_it(commands: Commands, sdk: Client, in_production: str) -> None:
    before = (moved_at(sdk, in_production) - timedelta(microseconds=1)).astimezone(TOKYO)
    line = ("resolve", in_production, "--time-zone", "Asia/Tokyo", "--as-of")
    assert commands.json(*line, before.replace(tzinfo=None).isoformat())["version"] == 1
    assert commands.json(*line, before.astimezone(UTC).isoformat())["version"] == 1


def test_what_programs_read_is_in_utc(commands: Commands, sdk: Client, in_production: str) -> None:
    moment = moved_at(sdk, in_production)
    line = ("history", in_production, "--time-zone", "Asia/Tokyo", "--format")
    newest, *_ = csv.DictReader(io.StringIO(commands.said(*line, "csv"), newline=""))
    assert newest["time"] == json.loads(commands.said(*line, "json"))[0]["moved_at"] == moment.isoformat()
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "../etc/passwd", " "])
def test_no_zone_is_a_usage_error_that_names_it(commands: Commands, zone: str) -> None:
    result = commands.run("models", "--time-zone", zone)
    assert result.exit_code == 2
    assert f"{zone!r} is no time zone, such as Europe/Berlin, or local" in result.stderr
