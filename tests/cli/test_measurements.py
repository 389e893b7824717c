"""Commands that take a table of data, and those about retraining."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from modelward import Client, OnPerformance
from tests.cli.conftest import Commands, columns

pytestmark = pytest.mark.system  # Each test fits and compares models by commands.


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """Data that have left the training data."""
    path = tmp_path / "live.parquet"
    parquet.write_table(pa.table(columns(200, shift=3.0)), path)
    return path


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    """Data with the truth."""
    path, data = tmp_path / "held-out.csv", columns(300)
    csv.write_csv(pa.table(data | {"up": data["momentum"] > 0.3}), path)
    return path


@pytest.fixture
def trading(tmp_path: Path) -> Path:
    """Data of 20 days and two symbols, with the truth, returns and weights."""
    path, data = tmp_path / "trading.csv", columns(40)
    keys = {"day": np.repeat(np.arange(20), 2), "symbol": ["a", "b"] * 20}
    money = {"return": data["momentum"] / 100, "share": np.full(40, 0.5)}
    csv.write_csv(pa.table(data | {"up": data["momentum"] > 0.3} | keys | money), path)
    return path


def test_drift_shows_each_feature(commands: Commands, trained: str, live: Path) -> None:
    said = commands.said("drift", f"{trained}/1", live, width=80)
    assert "live.parquet, 200 rows" in said
    rows = {line.split()[0]: line.split()[1] for line in said.splitlines() if line.startswith(("momentum", "volume"))}
    assert rows == {"momentum": "yes", "volume": "no"}


def test_drift_as_json_is_the_report_that_the_server_keeps(
    commands: Commands, trained: str, live: Path, sdk: Client
) -> None:
    found = commands.json("drift", f"{trained}/1", live, "--label", "this week")
    report = sdk.get_drift_report(found["report_id"])
    assert (found["drift_detected"], found["drivers"], found["label"]) == (True, ["momentum"], "this week")
    assert found["features"][0]["ks"] == report.features[0].ks


def test_reports_are_listed(commands: Commands, trained: str, live: Path) -> None:
    assert commands.said("reports", trained) == f"there is no drift report of {trained}\n"
    commands.said("drift", f"{trained}/1", live)
    [row] = commands.said("reports", trained).splitlines()[2:]
    assert row.split()[3:7] == [f"{trained}/1", "live.parquet", "200", "yes"]
    assert row.split()[-1] == "momentum"


def test_drift_is_drawn_into_a_file(commands: Commands, trained: str, live: Path, tmp_path: Path) -> None:
    picture, page = tmp_path / "drift.png", tmp_path / "drift.html"
    found = commands.json("drift", f"{trained}/1", live, "--save", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert commands.said("report", found["report_id"], "--save", page) == f"the report is in {page}\n"
    assert found["summary"] in page.read_text()


def test_report_is_opened_when_asked_or_when_nobody_says_where_to_save_it(
    commands: Commands, trained: str, live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr("click.launch", lambda url: opened.append(Path(url)))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    report_id = commands.json("drift", f"{trained}/1", live)["report_id"]
    commands.said("report", report_id)
    commands.said("report", report_id, "--save", tmp_path / "kept.png", "--open")
    assert opened == [tmp_path / f"modelward-{report_id}.html", tmp_path / "kept.png"]
    assert all(path.stat().st_size for path in opened)


def test_report_that_cannot_be_drawn_leaves_no_file(commands: Commands, tmp_path: Path) -> None:
    [line] = commands.refused("report", "absent", "--save", tmp_path / "drift.html")
    assert line.startswith("there is no report 'absent'")
    for file, said in (("drift.pdf", "must end in .html or .png"), ("no/drift.png", "there is no folder")):
        result = commands.run("report", "absent", "--save", tmp_path / file)
        assert result.exit_code == 2
        assert said in result.stderr
    assert not list(tmp_path.iterdir())


def test_drift_of_a_table_that_is_none_is_one_line(commands: Commands, trained: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_text("no table")
    [line] = commands.refused("drift", f"{trained}/1", broken)
    assert line.startswith(f"{broken} cannot be read: ")


def test_performance_is_listed_by_period(commands: Commands, trained: str, sdk: Client) -> None:
    version, noon = f"{trained}/1", datetime(2024, 3, 4, 12, tzinfo=UTC)
    assert commands.said("performance", version) == f"there is no prediction of {version}\n"
    times = [noon, noon, noon + timedelta(hours=2)]
    sdk.record_outcomes(version, ["a", "b", "c"], predictions=[1, 1, 0], labels=[1, 0, None], predicted_at=times)
    rows = commands.said("performance", version, "--period", "2h").splitlines()[2:]
    assert [row.split() for row in rows] == [
        ["2024-03-04", "14:00:00", "1", "1", "0%", "no", "no"],
        ["2024-03-04", "12:00:00", "2", "2", "100%", "no", "no", "accuracy=0.5"],
    ]
    [day] = commands.json("performance", version, "--limit", "1")
    assert (day["predictions"], day["labelled"], day["metrics"]) == (3, 2, {"accuracy": 0.5})
    result = commands.run("performance", version, "--period", "fortnight")
    assert (result.exit_code, "is not a duration" in result.stderr) == (2, True)


def test_compare_sets_versions_side_by_side(commands: Commands, trained: str, held_out: Path) -> None:
    versions = (f"{trained}/1", f"{trained}/2")
    lines = commands.said("compare", *versions, held_out, "--label", "up", "--primary", "accuracy").splitlines()
    [heading] = [line for line in lines if line.split() == [f"{trained}/2", f"{trained}/1"]]
    accuracy = next(line for line in lines[lines.index(heading) :] if line.startswith("accuracy"))
    better, worse = map(float, accuracy.split()[1:])
    assert better > worse
    assert any(line.startswith(f"{trained}/2 is better") for line in lines)


def test_compare_trades_on_returns_and_counts_trials(
    commands: Commands, trained: str, trading: Path, tmp_path: Path
) -> None:
    tried = tmp_path / "tried.csv"
    csv.write_csv(pa.table({f"c{i}": np.random.default_rng(i).normal(size=40) for i in range(3)}), tried)
    asked = ["compare", f"{trained}/1", f"{trained}/2", trading, "--label", "up", "--time", "day", "--group", "symbol"]
    asked += ["--returns", "return", "--cost-bps", "2", "--trials", tried]
    page = tmp_path / "page.html"
    found = commands.json(*asked, "--portfolio-weights", "share", "--save", page)
    assert found["overfitting"]["trials"] == 3
    assert len(found["results"][0]["cost_curve"]["points"]) == 11
    assert 'aria-label="Logits of the rank out of sample' in page.read_text()
    said = commands.said(*asked, "--ignore", "share", "--equal-risk", "5")
    assert "was chosen of 3 configurations" in said
    assert "break-even cost, bp" in said
    assert "equal risk: 10 of 40 rows have no position" in said


def test_compare_names_the_columns_that_there_are(commands: Commands, trained: str, held_out: Path) -> None:
    result = commands.run("compare", f"{trained}/1", f"{trained}/2", held_out, "--label", "down")
    assert result.exit_code == 2
    assert "momentum, volume, up" in result.stderr


def test_due_schedules_and_jobs_say_why(commands: Commands, in_production: str, sdk: Client) -> None:
    sdk.create_schedule(in_production, every=timedelta(days=7), drift=0.8)
    sdk.request_retraining(in_production, reason="after the split")
    said = commands.said("due")
    [row] = [line for line in said.splitlines() if line.startswith(in_production)]
    assert "after the split" in row
    schedule = commands.said("schedules", in_production)
    assert "7 days after the last training, or on drift with a score of at least 0.8" in schedule
    [job] = commands.json("jobs", in_production)
    assert (job["state"], job["version"]) == ("pending", 2)
    assert job["job_id"] in commands.said("jobs", in_production)


def test_schedules_are_made_looked_at_paused_and_resumed(commands: Commands, in_production: str) -> None:
    options = ["--id", in_production, "--calendar", "XNYS", "--after-close", "30m", "--cool-down", "1d"]
    options += ["--freeze", "2026-12-18/2027-01-04T14:00"]
    said = commands.said("schedule", "create", in_production, *options, "--below", "log_loss=0.5")
    assert f"{in_production} makes {in_production} due 0:30:00 after the close of XNYS (every)" in said
    assert "when log_loss is below 0.5" in said
    assert commands.said("schedule", "preview", in_production, "--limit", 3).count("America/New_York") == 3
    commands.said("schedule", "pause", in_production, "--reason", "year end")
    assert "year end" in commands.said("schedule", "list", in_production)
    assert "the schedule is paused: year end" in commands.said("schedule", "preview", in_production)
    assert "missed firings: once" in commands.said("schedule", "resume", in_production)
    [schedule] = commands.json("schedule", "list", in_production)
    assert schedule["policy"]["cool_down"] == 86_400.0
    [freeze] = schedule["policy"]["freezes"]
    assert (freeze["start"], freeze["end"]) == ("2026-12-18T00:00:00+00:00", "2027-01-04T14:00:00+00:00")
    [refused] = commands.refused("schedule", "create", in_production, "--calendar", "NYSE")
    assert "name the exchange by its MIC" in refused


def test_firings_say_what_became_of_them(commands: Commands, in_production: str, sdk: Client) -> None:
    assert "there is no firing" in commands.said("firings", in_production)
    sdk.create_schedule(in_production, performance=OnPerformance("accuracy", below=0.5))
    sdk.log_metrics(f"{in_production}/2", {"accuracy": 0.4})
    assert "newest data 0:0" in commands.said("due")
    job = sdk.lease_job(in_production, holder="trainer-1")
    said = commands.said("firings", in_production)
    assert "fired" in said
    assert job.job_id in said
    assert "accuracy is 0.4: below 0.5" in said


def test_benchmark_shows_each_version_at_each_size(commands: Commands, trained: str, held_out: Path) -> None:
    versions = [f"{trained}/1", f"{trained}/2"]
    sizes = ("--rows", "1", "--rows", "20", "--seconds", "0.1", "--label", "up")
    lines = commands.said("benchmark", *versions, held_out, *sizes).splitlines()
    shown = [line.split()[:2] for line in lines if line.strip().startswith(trained)]
    assert shown == [[version, rows] for version in versions for rows in ("1", "20")]


def test_compare_as_json_is_the_comparison_and_is_drawn_into_a_file(
    commands: Commands, trained: str, held_out: Path, tmp_path: Path
) -> None:
    drawn, again = tmp_path / "verdict.html", tmp_path / "verdict.png"
    found = commands.json("compare", f"{trained}/1", f"{trained}/2", held_out, "--label", "up", "--save", drawn)
    assert found["rows"] == 300
    assert found["conclusion"]["version"] == {"model": trained, "version": 2}
    assert found["results"][0]["latency"]["row_p50"] > 0
    assert f"{trained}/2" in drawn.read_text()
    commands.said("report", found["comparison_id"], "--save", again)
    assert again.read_bytes().startswith(b"\x89PNG")


def test_jobs_are_shown_and_tried_again(commands: Commands, in_production: str, sdk: Client) -> None:
    sdk.request_retraining(in_production, reason="new data vendor", queue="gpu", parameters={"depth": "3"})
    job = sdk.lease_job(in_production, holder="trainer-1")
    sdk.heartbeat_job(job, progress=0.4, message="fold 2 of 5")
    assert "leased by trainer-1, 40% fold 2 of 5" in commands.said("jobs", in_production)
    sdk.fail_job(job, "the vendor sent nothing", give_up=True)
    shown = commands.said("jobs", "show", job.job_id)
    for fact in ("new data vendor", "gpu", "depth", f"{in_production}/2", "trainer-1: the vendor sent nothing"):
        assert fact in shown
    assert commands.said("jobs", "retry", job.job_id) == f"{job.job_id} waits in the queue gpu for attempt 2\n"
    assert commands.refused("jobs", "retry", job.job_id) == [
        f"the job {job.job_id} is pending; only a permanently failed job can be retried"
    ]
    assert [found["job_id"] for found in commands.json("jobs", "--queue", "gpu", in_production)] == [job.job_id]
    said = commands.said("jobs", "request", in_production, "--reason", "new data", "--dry-run")
    assert said.startswith(f"a job of {in_production} would be pending in the queue gpu: ")
    assert "requested by" in said
