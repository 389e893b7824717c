"""The inventory report: a known history of some years, and what a report says of one of them."""

import csv
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from modelward import Client, Inventory, InventoryScope, PromotionPolicy, RequiredApproval, errors
from modelward.caller import Role
from modelward_server.lifecycle.model_years.report_period import first_day
from modelward_server.reports.inventory.csv_files import EVENT_COLUMNS, MODEL_COLUMNS
from modelward_server.security import grants
from modelward_server.security.admin_session import admin_session
from modelward_server.settings import Settings
from tests.reports.test_drift_report import Page
from tests.support.desk import FILE, Desk
from tests.support.running_server import RunningServer
from tests.support.server_clock import ServerClock, server_clock
from tests.support.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.weekly("postgresql")]  # Takes seconds.
YEAR_END = date(2025, 12, 31)
WHY = "it passed its tests"
FORMULA = "=HYPERLINK(1)"
MARKUP = "<script>alert(1)</script>"
INVENTORY = Inventory(
    owners=("index desk", "quant"),
    accountable_manager="Grace Hopper",
    purpose="Direction of the S&P 500.",
    tier=1,
    scope=InventoryScope(regions=("US",), desks=("index",)),
    limits=("gross exposure 5 million USD",),
    weaknesses=("Slow after a change of regime.",),
)


EVENTS = """
03-03T09:00 promotion_policy | founder | the promotion policy was set for the first time |
03-03T09:00 approval | quant | approval-ID for version 2 to production: requested of trading, risk | better after costs
03-03T15:00 approval | trader | approval-ID for version 2 to production: trading approved |
03-03T15:00 approval | risk | approval-ID for version 2 to production: risk approved | limits are set
03-04T09:00 promotion | trader | version 2 entered production, approved by approval-ID | approved
03-04T09:00 approval | trader | approval-ID for version 2 to production: used | limits are set
04-01T10:00 rollback | trader | rolled back to version 1 | rollback: it loses
04-15T09:00 promotion_policy | founder | the promotion policy was changed: min coverage, required approvals |
05-05T10:00 halt | trader | the model was halted | exchange outage
05-05T12:30 resume | trader | the model was resumed | the exchange is back
06-01T09:00 finding | risk | finding-ID, high, was opened: no costs |
06-01T09:00 finding | risk | finding-ID, low, was opened: no tests |
07-01T09:00 finding | risk | finding-ID, medium, was changed: no tests |
08-01T09:00 inventory | quant | the inventory was changed: tier |
10-10T09:00 review | risk | review-ID: approved | sound
11-03T09:00 drill | trader | drill-ID of 2 engines: started | yearly
11-03T09:10 drill | modelward | drill-ID of 2 engines: 1 proven, 1 not proven | yearly
"""
"""What happened to the model spx in the year: time, kind, actor, what and reason."""


class History:
    """What happened on a desk from 2024 to 2026, at the times that stand before each act."""

    def __init__(self, desk: Desk, clock: ServerClock) -> None:
        self.desk, self._set = desk, clock.set
        self._before_the_year()
        self._in_the_year()
        self._after_the_year()

    def _before_the_year(self) -> None:
        desk = self.desk
        self._set("2024-06-01T09:00")
        desk.quant.create_model("spx", inventory=INVENTORY)
        for name in ("spx", "gone", "until-new-year", "last-moment", "too-late", "nasty"):
            desk.trader.promote(desk.quant.register(name, FILE), to="staging")
        desk.quant.register("never", FILE)
        self._set("2024-07-01T09:00")
        for name in ("spx", "gone", "until-new-year"):
            desk.trader.promote(f"{name}/1", to="production", reason=WHY)
        desk.risk.open_finding("spx", title="closed before", severity="low", owner="quant")
        desk.risk.close_finding(next(iter(desk.risk.list_findings("spx"))).finding_id, remedy="done")
        self._set("2024-12-31T23:59:59.999999")
        desk.trader.promote("gone/1", to="archived", reason="retired")

    def _in_the_year(self) -> None:
        desk = self.desk
        self._set("2025-01-01T00:00")
        desk.trader.promote("until-new-year/1", to="archived", reason="retired")
        self._set("2025-03-03T09:00")
        rules = (RequiredApproval(("trading", "risk")),)
        desk.founder.set_promotion_policy(PromotionPolicy("spx", required_approvals=rules))
        self._approved_promotion()
        self._set("2025-04-01T10:00")
        desk.trader.rollback("spx", reason="it loses")
        self._set("2025-04-15T09:00")
        desk.founder.set_promotion_policy(PromotionPolicy("spx", min_coverage=0.9))
        self._set("2025-05-05T10:00")
        desk.trader.halt("spx", reason="exchange outage")
        self._set("2025-05-05T12:30")
        desk.trader.resume("spx", reason="the exchange is back")
        self._finding()
        self._set("2025-08-01T09:00")
        desk.quant.update_model("spx", inventory={"tier": 2})
        self._set("2025-10-10T09:00")
        desk.risk.record_review("spx", outcome="approved", comment="sound", next_review=date(2025, 12, 31))
        self._drill()
        self._set("2025-12-24T09:00")
        self._drift()
        self._set("2025-12-31T23:59:59.999999")
        desk.trader.promote("last-moment/1", to="production", reason=WHY)
        desk.quant.update_model("nasty", inventory={"owners": [FORMULA], "purpose": f"{MARKUP}\n@sum"})
        desk.trader.promote("nasty/1", to="production", reason=f"{FORMULA} {MARKUP}")

    def _approved_promotion(self) -> None:
        desk = self.desk
        desk.trader.promote(desk.quant.register("spx", FILE), to="staging")
        request = desk.quant.request_approval("spx/2", reason="better after costs")
        self._set("2025-03-03T15:00")
        desk.trader.approve(request.approval_id, function="trading")
        desk.risk.approve(request.approval_id, function="risk", comment="limits are set")
        self._set("2025-03-04T09:00")
        desk.trader.promote("spx/2", to="production", reason="approved")

    def _finding(self) -> None:
        risk = self.desk.risk
        self._set("2025-06-01T09:00")
        due = date(2025, 9, 30)
        self.finding = risk.open_finding("spx", title="no costs", severity="high", owner="quant", due=due)
        other = risk.open_finding("spx", title="no tests", severity="low", owner="quant", due=YEAR_END)
        self._set("2025-07-01T09:00")
        risk.update_finding(other.finding_id, severity="medium")

    def _drill(self) -> None:
        desk = self.desk
        self._set("2025-11-03T09:00")
        desk.quant.report_active("spx/1", engine="ny4-01")
        desk.quant.report_active("spx/1", engine="ny4-02")
        [drill] = desk.trader.start_drill("spx", reason="yearly")
        desk.trader.start_drill("nasty", reason="no engine runs it")
        self._set("2025-11-03T09:00:00.250")
        desk.quant.answer_drill(drill.drill_id, engine="ny4-01")
        self._set("2025-11-03T09:10")
        eventually(lambda: desk.quant.get_drill(drill.drill_id).ended_at)

    def _drift(self) -> None:
        random = np.random.default_rng(22)
        self.desk.quant.set_reference("spx/1", {"x": random.normal(size=1000)})
        observer = self.desk.quant.observe("spx/1", sender="engine", rows=100, alarm_after=1, alarm_of=1)
        assert observer.add({"x": random.normal(4.0, 3.0, size=100)}).alarm
        self.desk.quant.request_retraining("spx", reason="drift")

    def _after_the_year(self) -> None:
        desk = self.desk
        self._set("2026-01-01T00:00")
        desk.trader.promote("too-late/1", to="production", reason=WHY)
        desk.quant.update_model("spx", inventory={"tier": 4, "owners": ["nobody"]})
        desk.risk.close_finding(self.finding.finding_id, remedy="costs are charged")
        desk.trader.halt("spx", reason="after the year")
        desk.founder.set_promotion_policy(PromotionPolicy("spx", review_interval=timedelta(days=1)))
        desk.risk.record_review("spx", outcome="rejected", comment="after the year")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Iterator[History]:
    settings = Settings(port=0, data_dir=tmp_path_factory.mktemp("data"), database_url=database_url, auth=True)
    with server_clock("2024-01-01T00:00") as clock:
        running = RunningServer(settings)
        desk = Desk(running)
        yield History(desk, clock)
        for client in desk.clients.values():
            client.close()
        running.stop()


Format = Literal["html", "csv", "events"]


def rendered(history: History, folder: Path, form: Format, as_of: date = YEAR_END, **wanted: Any) -> str:
    client: Client = wanted.pop("client", history.desk.compliance)
    file = client.inventory_report(folder / "report", as_of=as_of, format=form, **wanted)
    return file.read_bytes().decode()


def rows(history: History, folder: Path, form: Format = "csv", **wanted: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(rendered(history, folder, form, **wanted).splitlines(keepends=True)))


def names(history: History, folder: Path, **wanted: Any) -> list[str]:
    return [row["model"] for row in rows(history, folder, **wanted)]


def without_ids(text: str) -> str:
    return re.sub(r"\b(approval|finding|review|drill)-[0-9a-f]{16}", r"\1-ID", text)


def test_it_has_every_model_that_was_in_production_at_any_time_of_the_year(history: History, tmp_path: Path) -> None:
    assert names(history, tmp_path) == ["last-moment", "nasty", "spx", "until-new-year"]
    assert names(history, tmp_path, as_of=date(2024, 12, 31)) == ["gone", "spx", "until-new-year"]
    assert names(history, tmp_path, as_of=date(2026, 1, 1), since=date(2026, 1, 1)) == [
        "last-moment",
        "nasty",
        "spx",
        "too-late",
    ]
    assert names(history, tmp_path, as_of=date(2023, 12, 31)) == []


def test_a_row_says_what_was_on_record_on_the_day_and_nothing_that_came_later(history: History, tmp_path: Path) -> None:
    [row] = [row for row in rows(history, tmp_path) if row["model"] == "spx"]
    found = {name: value for name, value in row.items() if value}
    assert found == {
        "model": "spx",
        "since": "2025-01-01",
        "as_of": "2025-12-31",
        "tier": "2",
        "owners": "index desk; quant",
        "accountable_manager": "Grace Hopper",
        "purpose": "Direction of the S&P 500.",
        "regions": "US",
        "desks": "index",
        "limits": "gross exposure 5 million USD",
        "weaknesses": "Slow after a change of regime.",
        "inventory_recorded": "true",
        "version_in_production": "1",
        "versions": "1 from 2024-07-01T09:00:00+00:00 until 2025-03-04T09:00:00+00:00 by trader; "
        "2 from 2025-03-04T09:00:00+00:00 until 2025-04-01T10:00:00+00:00 by trader; "
        "1 from 2025-04-01T10:00:00+00:00 until end by trader",
        "promotions": "1",
        "promotions_without_approval": "0",
        "rollbacks": "1",
        "policy_changes": "2",
        "inventory_changes": "1",
        "halts": "1",
        "halted_seconds": "9000",
        "halted_at_end": "false",
        "findings_opened": "2",
        "findings_closed": "0",
        "findings_open": "2",
        "findings_overdue": "1",
        "worst_open_finding": "high",
        "reviews": "1",
        "last_reviewed_at": "2025-10-10T09:00:00+00:00",
        "next_review": "2025-12-31",
        "review_due": "true",
        "review_overdue": "true",
        "review_reasons": "live data drifted (version 1); the review of 2025-12-31 was set for that day",
        "drills": "1",
        "last_drill_at": "2025-11-03T09:00:00+00:00",
        "last_drill_proven": "1",
        "last_drill_not_proven": "1",
        "longest_drill_seconds": "0.25",
        "drift_alarms": "1",
        "performance_alarms": "0",
        "retraining_jobs": "1",
    }


def test_events_are_in_the_order_of_their_records_with_what_needs_a_look_afterwards(
    history: History, tmp_path: Path
) -> None:
    found = [row for row in rows(history, tmp_path, "events") if row["model"] == "spx"]
    numbers = [int(row["record"]) for row in found]
    assert numbers == sorted(numbers)
    columns = ("kind", "actor", "what", "reason")
    lines = [f"{row['time'][5:16]} {' | '.join(row[name] for name in columns)}".rstrip() for row in found]
    assert without_ids("\n".join(lines)) == EVENTS.strip()
    assert [row["kind"] for row in found if row["exception"]] == ["rollback", "halt"]
    others = [row for row in rows(history, tmp_path, "events") if row["model"] == "last-moment"]
    assert [row["exception"] for row in others] == ["entered production without an approval"]


def test_the_state_is_that_of_the_day(history: History, tmp_path: Path) -> None:
    def on(day: date) -> dict[str, str]:
        return next(row for row in rows(history, tmp_path, as_of=day) if row["model"] == "spx")

    halted, closed, first = on(date(2025, 5, 4)), on(date(2026, 1, 1)), on(date(2024, 7, 1))
    assert (halted["version_in_production"], halted["halts"], halted["tier"]) == ("1", "0", "1")
    assert (halted["review_overdue"], halted["last_reviewed_at"]) == ("false", "")
    assert (closed["findings_open"], closed["findings_closed"], closed["halted_at_end"]) == ("1", "1", "true")
    assert (closed["owners"], closed["next_review"]) == ("nobody", "2026-01-02")
    assert (first["findings_opened"], first["findings_closed"]) == ("1", "1")
    day_before = on(date(2025, 12, 30))
    assert (day_before["review_overdue"], day_before["findings_overdue"]) == ("false", "1")


def test_the_filters_ask_for_the_inventory_of_the_day(history: History, tmp_path: Path) -> None:
    assert names(history, tmp_path, tier=2) == ["spx"]
    assert names(history, tmp_path, tier=4) == []
    assert names(history, tmp_path, tier=4, as_of=date(2026, 1, 1)) == ["spx"]
    assert names(history, tmp_path, owner="quant", desk="index") == ["spx"]
    assert names(history, tmp_path, owner="nobody") == []


def test_the_page_says_it_all_and_that_it_is_only_a_base(history: History, tmp_path: Path) -> None:
    page = Page(rendered(history, tmp_path, "html").encode())
    assert "It is no self-assessment by itself, and no legal advice" in page.text
    assert "as of the end of 2025-12-31 UTC" in page.text
    assert "Models 4 3 in production at the end" in page.text
    assert "tier 2: 1, not assessed: 3" in page.text
    assert "3 of 4 models had no drill of the halt with a running engine in these days" in page.text
    assert "3 of 4 models lack a field that the rules ask for" in page.text
    assert "Not stated: owners, accountable manager, purpose, tier, scope, limits, weaknesses." in page.text
    assert "overdue since 2025-09-30" in page.text
    assert "2:30:00" in page.text  # The duration of the halt.
    assert "after the year" not in page.text
    links = {str(given["href"]).removeprefix("#") for tag, given in page.elements if tag == "a"}
    assert links <= {given.get("id") for _, given in page.elements}
    assert page.count("script") == 0
    assert MARKUP in page.text


def test_a_spreadsheet_runs_no_cell(history: History, tmp_path: Path) -> None:
    [row] = [row for row in rows(history, tmp_path) if row["model"] == "nasty"]
    assert (row["owners"], row["purpose"]) == (f"'{FORMULA}", f"{MARKUP}\n@sum")
    [event] = [
        row for row in rows(history, tmp_path, "events") if row["kind"] == "promotion" and row["model"] == "nasty"
    ]
    assert event["reason"] == f"'{FORMULA} {MARKUP}"


def test_a_client_that_is_limited_to_some_models_gets_those(history: History, tmp_path: Path) -> None:
    with admin_session(history.desk.running.settings) as (session, caller):
        token = grants.create_token(session, "tenant", Role.VIEWER, ("last-",), None, caller)
    with Client(history.desk.running.target, token=token) as tenant:
        assert names(history, tmp_path, client=tenant) == ["last-moment"]
        assert {row["model"] for row in rows(history, tmp_path, "events", client=tenant)} == {"last-moment"}
        page = rendered(history, tmp_path, "html", client=tenant)
    assert "Only models whose names begin with last-" in page
    assert "spx" not in page


def test_a_day_must_have_begun_and_a_year_must_not_end_before_it_begins(history: History, tmp_path: Path) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    with pytest.raises(errors.InvalidField, match=r"as_of: .* is in the future"):
        rendered(history, tmp_path, "html", as_of=tomorrow)
    with pytest.raises(errors.InvalidField, match=r"since: .* is later than the last day"):
        rendered(history, tmp_path, "html", since=date(2026, 1, 1))
    with pytest.raises(errors.InvalidField, match="as_of: 0001-06-30 is in the first year that there is"):
        rendered(history, tmp_path, "html", as_of=date(1, 6, 30))
    with pytest.raises(errors.InvalidField, match=r"format: 'pdf' is not one of html, csv, events"):
        rendered(history, tmp_path, "pdf")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    today = Page(rendered(history, tmp_path, "html", as_of=datetime.now(UTC).date()).encode())
    assert "its last day had not ended" in today.text


@pytest.mark.parametrize(
    ("as_of", "first", "days"),
    [
        (date(2026, 10, 31), date(2025, 11, 1), 365),
        (date(2024, 12, 31), date(2024, 1, 1), 366),
        (date(2024, 2, 29), date(2023, 3, 1), 366),
        (date(2025, 2, 28), date(2024, 2, 29), 366),
        (date(2023, 2, 28), date(2022, 3, 1), 365),
    ],
)
def test_a_year_ends_with_its_last_day(as_of: date, first: date, days: int) -> None:
    assert first_day(as_of) == first
    assert (as_of - first).days + 1 == days


def test_an_empty_registry_has_an_empty_report(tmp_path: Path) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    with Client(running.target, actor="ada") as client:
        page = Page(client.inventory_report(tmp_path / "report.html", as_of=YEAR_END).read_bytes())
        table = client.inventory_report(tmp_path / "report.csv", as_of=YEAR_END, format="csv").read_text()
    running.stop()
    assert "No model was in production." in page.text
    assert len(table.splitlines()) == 1


def test_every_column_is_documented() -> None:
    text = Path("docs/governance.md").read_text()
    assert [name for name in (*MODEL_COLUMNS, *EVENT_COLUMNS) if f"`{name}`" not in text] == []
