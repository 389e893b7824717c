"""Packs of a past time: the version, its model, policy, approvals and findings as they were then."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sklearn.linear_model import LinearRegression

from modelward import AbOutcome, PromotionPolicy, RequiredApproval, errors
from modelward.cli.commands import cli
from modelward.evidence.verify import verify_pack
from modelward_server.settings import Settings
from tests.evidence.test_pack import LABEL, ROWS, names_of, read
from tests.support.desk import Desk
from tests.support.running_server import RunningServer
from tests.support.values import present
from tests.support.waiting import eventually

pytestmark = pytest.mark.system  # Takes seconds.

NAME = "spx"
STATES = ("version", "model", "policy", "approvals", "findings", "transitions", "engines", "reviews", "policies")


class Past:
    """A desk that has changed everything about a version after a time, and packs of then and of now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = RunningServer(Settings(port=0, data_dir=folder / "data", auth=True))
        self.desk = Desk(self.running)
        self.before()
        self.then = datetime.now(UTC)
        self.complete = self.export("complete")
        self.after()
        self.past, self.now = self.export("past", self.then), self.export("now")

    def export(self, name: str, at: datetime | None = None) -> Path:
        to = self.folder / f"{name}.zip"
        return self.desk.founder.export_evidence(f"{NAME}/1", to, as_of=at, without_files=True)

    def before(self) -> None:
        desk = self.desk
        model = LinearRegression().fit(ROWS, LABEL)
        desk.quant.register(NAME, model, reference=ROWS, metrics={"ic": 0.1}, tags={"desk": "old"})
        desk.quant.register(NAME, model)
        eventually(lambda: present(desk.quant.get_version(f"{NAME}/1").trial).result == "usable")
        desk.trader.update_model(NAME, description="before", inventory={"owners": ["ada"]})
        policy = PromotionPolicy(NAME, required_approvals=(RequiredApproval(("risk",)),))
        desk.founder.set_promotion_policy(policy)
        desk.trader.promote(f"{NAME}/1", to="staging")
        self.request = desk.quant.request_approval(f"{NAME}/1", reason="better")
        self.finding = desk.risk.open_finding(NAME, title="no stress test", severity="low", owner="quant")
        self.test = desk.trader.create_ab_test("ab", {"a": f"{NAME}/1", "b": f"{NAME}/2"}, primary_metric="pnl_bps")
        desk.quant.report_active(f"{NAME}/1", engine="ny4")
        day = datetime.now(UTC) - timedelta(days=3)
        desk.quant.record_outcomes(f"{NAME}/1", ["a", "b"], predictions=[1.0, 2.5], predicted_at=day)
        desk.quant.record_outcomes(f"{NAME}/1", ["a"], labels=[1.5], labelled_at=day)

    def after(self) -> None:
        desk = self.desk
        desk.risk.approve(self.request.approval_id)
        desk.trader.promote(f"{NAME}/1", to="production", reason="approved")
        desk.quant.update_version(f"{NAME}/1", tags={"desk": "new"}, description="after")
        desk.trader.update_model(NAME, description="after", inventory={"owners": ["bob"]})
        desk.founder.set_promotion_policy(PromotionPolicy(NAME, required_tags=("desk",)))
        desk.risk.update_finding(self.finding.finding_id, severity="high")
        desk.quant.register(NAME, Path(__file__))
        desk.quant.report_active(f"{NAME}/2", engine="ny4")
        desk.quant.record_outcomes(f"{NAME}/1", ["b"], labels=[2.5])
        desk.quant.record_outcomes(f"{NAME}/1", ["c"], predictions=[3.0])
        desk.quant.record_ab_outcomes(self.test, [AbOutcome("1", "u1", {"pnl_bps": 1.0}, variant="a")])
        desk.trader.conclude_ab_test(self.test, winner="a", reason="cheaper")
        desk.trader.halt(NAME, reason="outage")


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    made = Past(tmp_path_factory.mktemp("past"))
    yield made
    for client in made.desk.clients.values():
        client.close()
    made.running.stop()


def said(pack: Path, name: str) -> Any:
    """Return a file without etags, which nothing of a past time has, and without the place in MLflow, which follows."""
    found = read(pack, f"versions/{NAME}/1/{name}.json")
    for one in found if isinstance(found, list) else [found]:
        for field in ("etag", "run_id", "mlflow_version"):
            one.pop(field, None)
    return found


@pytest.mark.parametrize("name", STATES)
def test_a_past_time_has_what_a_pack_of_that_time_has(past: Past, name: str) -> None:
    assert said(past.past, name) == said(past.complete, name)
    assert verify_pack(past.past).intact


def test_what_has_changed_since_is_not_in_it(past: Past) -> None:
    for name in STATES[:5]:
        assert said(past.past, name) != said(past.now, name)
    assert said(past.past, "version")["stage"] == "STAGE_STAGING"
    assert said(past.past, "version")["tags"] == {"desk": "old"}
    assert said(past.past, "version")["trial"]["result"] == "TRIAL_RESULT_USABLE"
    assert said(past.past, "model")["inventory"]["owners"] == ["ada"]
    assert (said(past.past, "model").get("production_version"), said(past.past, "model").get("halt")) == (None, None)
    assert (said(past.now, "model")["production_version"], "halt" in said(past.now, "model")) == (1, True)
    assert said(past.past, "model")["latest_version"] == 2
    [approval] = said(past.past, "approvals")
    assert (approval["state"], "decisions" in approval) == ("APPROVAL_STATE_PENDING", False)
    assert said(past.past, "findings")[0]["severity"] == "FINDING_SEVERITY_LOW"
    [period] = said(past.past, "engines")
    assert "ended_at" not in period
    assert "ended_at" in said(past.now, "engines")[0]


def test_labels_and_predictions_of_later_are_not_in_it(past: Past) -> None:
    name = "performance/86400-seconds"
    [then] = said(past.past, name)
    assert (int(then["predictions"]), int(then["labelled"]), then["metrics"]["mae"]) == (2, 1, 0.5)
    assert said(past.complete, name) == [then]
    assert [int(period["predictions"]) for period in said(past.now, name)] == [1, 2]
    assert f"versions/{NAME}/1/{name}.html" in names_of(past.past)


def test_a_test_that_was_running_is_told_without_its_result(past: Past) -> None:
    assert "conclusion" not in said(past.past, "ab-tests/ab")
    assert said(past.past, "ab-tests/ab") == said(past.complete, "ab-tests/ab")
    assert "outcomes were recorded after this time" in said(past.past, "ab-tests/ab-result")["not_reconstructed"]
    assert said(past.now, "ab-tests/ab")["conclusion"]["winner"] == "a"
    assert "as_of" in said(past.now, "ab-tests/ab-result")


def test_what_did_not_exist_is_not_exported(past: Past, tmp_path: Path) -> None:
    with pytest.raises(errors.VersionNotFound, match=r"spx/3 did not exist at "):
        past.desk.founder.export_evidence(f"{NAME}/3", tmp_path / "none.zip", as_of=past.then)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_nobody_described_had_no_description(past: Past, tmp_path: Path) -> None:
    desk = past.desk
    desk.quant.register("plain", Path(__file__))
    then = datetime.now(UTC)
    desk.trader.update_model("plain", description="after", tags={"a": "b"})
    pack = desk.founder.export_evidence("plain/1", tmp_path / "plain.zip", as_of=then)
    model = read(pack, "versions/plain/1/model.json")
    assert ("description" in model, "tags" in model, model["latest_version"]) == (False, False, 1)


def test_a_pack_of_nothing_in_production_says_so(past: Past, tmp_path: Path) -> None:
    pack = past.desk.founder.export_evidence(None, tmp_path / "all.zip", as_of=past.then)
    seen = CliRunner().invoke(cli, ["evidence", "verify", str(pack)])
    assert (seen.exit_code, seen.output.startswith("no version: 1 file and 0 records")) == (0, True)
