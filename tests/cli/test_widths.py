"""Every command that lists, on terminals of every width: it never fails, and what must be copied is whole."""

import csv
import io
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from modelward import (
    AbOutcome,
    Client,
    Comparison,
    DriftReport,
    Job,
    ModelVersion,
    PromotionPolicy,
    RequiredApproval,
    Schedule,
    ValidationFold,
)
from modelward._coerce import AnyVersion
from modelward.cli import options
from modelward.cli.commands import MODULES
from tests.cli.conftest import Commands, columns
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Every list at every width.

WIDTHS = [40, 80, 200]


class Shown:
    """A model of which each list has something to show, with long texts where there may be some."""

    def __init__(self, sdk: Client, name: str, weights: Path) -> None:
        self.name = name
        folds = [ValidationFold("2023-Q4", {"log_loss": 0.125}, test_from="2023-10-02", test_until="2023-12-29")]
        metrics = {"log_loss": 0.1, "accuracy": 0.9}
        first, second = (sdk.register(name, weights, metrics=metrics, folds=folds) for _ in range(2))
        sdk.set_reference(first, columns())
        self.report: DriftReport = sdk.detect_drift(first, columns(shift=2), label="the first week of the quarter")
        truth = np.random.default_rng(0).normal(size=60)
        predictions: dict[AnyVersion, Any] = {first: truth + 1, second: truth * 2}
        self.comparison: Comparison = sdk.compare([], None, truth, predictions=predictions)
        self.test = f"{name}-test"
        sdk.create_ab_test(self.test, {"control": first, "challenger": second}, primary_metric="pnl_in_basis_points")
        sdk.record_ab_outcomes(self.test, [AbOutcome(str(i), str(i), {"pnl_in_basis_points": i}) for i in range(9)])
        self.schedule: Schedule = sdk.create_schedule(name, every=timedelta(days=90), drift=True, description="d " * 40)
        job = sdk.request_retraining(name, reason="the exchange has changed its fees, and so has everybody else")
        held = sdk.lease_job(name, holder="trainer-of-the-desk-7", lease=timedelta(minutes=5))
        sdk.heartbeat_job(held, progress=0.4, message="epoch 4 of 10, the loss still falls a little every time")
        self.job: Job = job
        sdk.record_outcomes(first, range(20), predictions=[1, 0] * 10, labels=[1, 1] * 10)
        sdk.report_active(first, engine="engine-of-new-york-4-07")
        for stage in ("staging", "production"):
            sdk.promote(first, to=stage, reason="it knows the market as it is now, which the one before it does not")

        self._govern(sdk, second)

    def _govern(self, sdk: Client, version: ModelVersion) -> None:
        self.finding = sdk.open_finding(self.name, title="costs are left out " * 5, severity="low", owner="ada")
        with Client(sdk.target, actor="reviewer", timeout=PATIENCE_SECONDS) as reviewer:  # Somebody else's model.
            self.review = reviewer.record_review(self.name, outcome="approved", comment="sound but for the costs")
        [self.drill] = sdk.start_drill(self.name, reason="the yearly test of the kill switch, for all desks")
        rule = RequiredApproval(("trading", "risk", "compliance", "validation"))
        sdk.set_promotion_policy(PromotionPolicy(self.name, required_approvals=(rule,)))
        self.approval = sdk.request_approval(version, reason="better than what trades now, by all that was tried")

    def commands(self) -> dict[str, list[str]]:
        """Return the commands that list, and what of each must be whole."""
        return {
            f"models --prefix {self.name}": [self.name],
            f"versions {self.name}": ["log_loss=0.1"],
            f"show {self.name}": [self.name],
            f"show {self.name}/1": [f"{self.name}/1"],
            f"history {self.name}": [f"{self.name}/1"],
            f"rollout {self.name}": ["engine-of-new-york-4-07"],
            f"rollout --prefix {self.name}": [self.name],
            f"inventory --prefix {self.name}": [self.name],
            f"engines {self.name}": ["engine-of-new-york-4-07"],
            f"reports {self.name}": [self.report.report_id, f"{self.name}/1"],
            f"comparisons {self.name}": [self.comparison.comparison_id, f"{self.name}/2"],
            f"folds {self.name}/1 {self.name}/2": ["2023-Q4", "0.125"],
            f"performance {self.name}/1": ["20"],
            f"ab list {self.name}": [self.test, f"{self.name}/1"],
            f"ab show {self.test}": ["challenger"],
            "due": [self.name],
            "status": [],
            "profiles": [],
            "settings": ["schedule_seconds"],
            "replicas": [],
            f"schedules {self.name}": [self.schedule.schedule_id],
            f"schedule list {self.name}": [self.schedule.schedule_id],
            f"schedule preview {self.schedule.schedule_id}": ["UTC"],
            f"firings {self.name}": [],
            f"jobs {self.name}": [self.job.job_id],
            f"jobs list {self.name}": [self.job.job_id],
            f"jobs show {self.job.job_id}": [self.job.job_id],
            f"approvals list {self.name}": [self.approval.approval_id],
            f"approvals show {self.approval.approval_id}": ["trading"],
            f"findings list {self.name}": [self.finding.finding_id],
            f"reviews list {self.name}": [self.review.review_id],
            f"drills list {self.name}": [self.drill.drill_id],
            f"drills show {self.drill.drill_id}": ["engine-of-new-york-4-07", self.drill.drill_id],
            "audit verify": [],
            f"reconcile {self.name} --dry-run": [],
        }


@pytest.fixture(scope="module")
def shown(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    weights = tmp_path_factory.mktemp("shown") / "model.bin"
    weights.write_bytes(b"weights")
    with Client(server.target, actor="somebody-with-a-long-name", timeout=PATIENCE_SECONDS) as client:
        return Shown(client, f"widths-{uuid4().hex}", weights)


@pytest.mark.parametrize("width", WIDTHS)
def test_list_is_shown_at_any_width_and_its_ids_are_whole(commands: Commands, shown: Shown, width: int) -> None:
    for command, whole in shown.commands().items():
        said = commands.said(*command.split(), width=width)
        assert [text for text in whole if text not in said] == [], f"{command} at {width}:\n{said}"


def test_list_is_shown_where_there_is_no_room_at_all(commands: Commands, shown: Shown) -> None:
    for command in shown.commands():
        commands.said(*command.split(), width=1)


def test_list_as_csv_has_named_columns_and_as_json_it_is_one_document(commands: Commands, shown: Shown) -> None:
    for command in shown.commands():
        said = commands.said(*command.split(), "--format", "csv", width=1)
        header, *rows = csv.reader(io.StringIO(said, newline=""), strict=True)
        assert len(set(header)) == len(header), command
        assert all(re.fullmatch(r"[\w./%-]+", name) for name in header), header
        assert {len(row) for row in rows} <= {len(header)}, said
        json.loads(commands.said(*command.split(), "--format", "json"))


def test_every_command_that_lists_is_tried(shown: Shown) -> None:
    tried = {command.split()[0] for command in shown.commands()}
    others = {"ab", "jobs", "history", "inventory", "rollout"}
    listing = {name for name in MODULES if name.endswith("s") and name != "jobs"} | others
    assert listing <= tried | {"mlflow", "scores"}  # This server does not score.


def test_ids_that_are_listed_are_those_that_are_drawn(commands: Commands, shown: Shown, tmp_path: Path) -> None:
    for name in (shown.report.report_id, shown.comparison.comparison_id):
        commands.said("report", name, "--save", tmp_path / "drawn.html")


def test_versions_of_no_model_fail(commands: Commands, sdk: Client, name: str) -> None:
    [line] = commands.refused("versions", name)
    assert name in line
    sdk.create_model(name)
    assert commands.said("versions", name) == f"{name} has no version yet\n"


def test_end_asks_for_a_reason_and_on_a_terminal_for_a_yes(
    commands: Commands, sdk: Client, name: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = sdk.register(name, weights)
    sdk.create_ab_test(name, {"a": version, "b": version}, primary_metric="pnl")
    without = commands.run("ab", "conclude", name)
    assert (without.exit_code, "--reason" in without.stderr) == (2, True)
    assert commands.run("prune", str(version)).exit_code == 2
    monkeypatch.setattr(options, "is_interactive", lambda: True)
    refused = commands.run("ab", "conclude", name, "--reason", "enough", typed="n\n")
    assert refused.exit_code == 1
    assert f"Conclude {name} permanently?" in refused.stderr
    assert sdk.get_ab_test(name).conclusion is None
    assert commands.run("ab", "conclude", name, typed="enough\ny\n").exit_code == 0
    conclusion = sdk.get_ab_test(name).conclusion
    assert conclusion is not None
    assert conclusion.reason == "enough"
    sdk.promote(version, to="archived")
    assert commands.run("prune", str(version), "--reason", "old", "--yes").exit_code == 0
    halted = commands.run("halt", name, "--reason", "an emergency waits for no question")
    assert halted.exit_code == 0
