"""Registries to look at in the console: one in which everything is wrong at once, and one with many models."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import update

from modelward import AtSession, Client, LoadFailure, PromotionPolicy, RequiredApproval
from modelward._coerce import AnyVersion
from modelward.drift import DriftReport
from modelward.lifecycle import VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.drift.reports import keep_report
from modelward_server.storage.documents import TRIGGER
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.monitoring_tables import ObserverRow
from modelward_server.storage.retraining_tables import ScheduleRow
from modelward_server.storage.tables import VersionRow
from tests.support.abtest_traffic import outcomes
from tests.support.drift_reports import FEATURES, crisis, numbers, quarters
from tests.support.running_server import RunningServer

HOSTILE = "<script>alert(1)</script>\"'&\N{RIGHT-TO-LEFT OVERRIDE}日本 " + "x" * 90
WORST = "ndx-overnight-momentum"
"""The model of which everything is wrong that can be wrong of one model."""
LONGEST = "z" + "-eurex-bund-futures-intraday" * 4 + "-15-minute-bar"
"""A name that is as long as names may be, nearly."""
DAY = timedelta(days=1)
SHORT_LEASE = timedelta(seconds=1)
REGISTRY_PAGES = {
    "now": "/",
    "engines": "/engines",
    "retraining": "/retraining",
    "approvals": "/approvals",
    "findings": "/findings?state=any",
    "reviews": "/reviews",
    "drills": "/drills",
    "scores": "/scores",
    "audit": "/audit",
    "inventory": "/inventory",
    "system": "/system",
    "compare": "/compare",
    "halt-many": "/halt",
    "halt-many-shown": "/halt?all=on",
    "fault": "/models/nobody",
}
"""The addresses of the pages that every registry has, by name."""


def pages_of(model: str, version: int) -> dict[str, str]:
    """Return the addresses of the pages of a model and of a version of it, by name; a version of 0 is none."""
    home = f"/models/{model}"
    of_version = {
        "version": f"{home}/versions/{version}",
        "what-if": f"{home}/drift?version={version}&score=0.6&confidence=0.9",
        "promote": f"{home}/promote?version={version}&to=production",
        "request-approval": f"{home}/request-approval?version={version}&to=production",
    }
    return {
        "model": home,
        "model-as-of": f"{home}?as_of={datetime.now(UTC):%Y-%m-%dT%H:%M:%S}",
        "drift": f"{home}/drift",
        "performance": f"{home}/performance",
        "comparisons": f"{home}/comparisons",
        "compare-model": f"/compare?model={model}",
        "ab": f"{home}/ab",
        "audit-of-model": f"/audit?model={model}",
        "rollout": f"{home}/rollout",
        "halt": f"{home}/halt",
        "rollback": f"{home}/rollback",
        "retrain": f"{home}/retrain",
        "record-review": f"{home}/record-review",
        **(of_version if version else {}),
    }


class Wrong:
    """Fills a registry with models of which something is wrong.

    Args:
        running: the server, which has no models.
        client: a client of it that may do everything.
        folder: where the file of the models is made.
    """

    def __init__(self, running: RunningServer, client: Client, folder: Path) -> None:
        self._ledger: Ledger = running.app.ledger
        self._client = client
        self._file = folder / "model.bin"
        self._file.write_bytes(b"weights")
        self.pages: dict[str, str] = {}
        """The addresses of pages whose ids the server gave, by name."""
        self.reports: dict[str, str] = {}
        """The same of reports, in whose sandbox no script runs, such as axe."""

    def fill(self) -> None:
        """Make all of them."""
        self.in_production(WORST, versions=3)
        self.in_production("calm-trend")
        self.in_production(LONGEST)
        self._client.halt(LONGEST, reason=HOSTILE)
        self._unusable("dax-reversal")
        self._drift()
        self._performance()
        self._engines()
        self._jobs()
        self._schedules()
        self._comparison_and_tests()
        self._gates()
        self._governance()
        self._mlflow_behind()

    def in_production(self, name: str, versions: int = 2) -> None:
        """Register versions of a model, the newest in staging, and put those before it into production in turn."""
        self._client.create_model(name, description=HOSTILE, tags={"desk": "eu-equities", "owner": HOSTILE[:60]})
        for number in range(1, versions + 1):
            metrics = {"accuracy": 0.9 + number / 100, "log_loss": 0.61 - number / 100, "brier": 0.21}
            params = {"max_depth": "4", "learning_rate": "0.05", "note": HOSTILE}
            self._client.register(name, self._file, metrics=metrics, params=params, description=HOSTILE)
            self._client.promote(f"{name}/{number}", to="staging", reason="trained on the newest quarter")
        for number in range(1, max(versions, 2)):
            self._client.promote(f"{name}/{number}", to="production", reason=HOSTILE[:120])

    def _unusable(self, name: str) -> None:
        self.in_production(name)
        trial = {"trial_result": "unusable", "trial_reason": HOSTILE, "tried_at": datetime.now(UTC)}
        self._update(VersionRef(name, 1), trial)

    def _drift(self) -> None:
        ref, now = VersionRef(WORST, 2), datetime.now(UTC)
        features = [*FEATURES, numbers(HOSTILE[:60], 1, 1.5, 1.0)]
        reports: Sequence[DriftReport] = [*quarters(ref)[:-1], crisis(ref, features)]
        with self._ledger.writing() as session:
            for age, report in enumerate(reversed(reports)):
                at = now - timedelta(days=90 * age)
                named = replace(report, created_at=at, label=report.label if age else HOSTILE[:60])
                keep_report(session, named, ActorContext("monitor", at), observed=True)
            alarm = {"alarm_report": reports[-1].report_id, "alarm_score": 0.9, "alarm_since": now}
            sender = {"model": ref.model, "version": ref.version, "reference": "default", "sender": "ny4-07"}
            session.add(ObserverRow(**sender, **alarm))

    def _performance(self) -> None:
        begun, days = datetime.now(UTC) - timedelta(days=13), 12
        wrong = [10 + day % 2 for day in range(days - 1)] + [60]
        times = [begun + timedelta(days=day) for day in range(days) for _ in range(100)]
        predictions = [int(row < wrong[day]) for day in range(days) for row in range(100)]
        for rows in (slice(0, -100), slice(-100, None)):  # The last day is judged by those before.
            self._client.record_outcomes(
                f"{WORST}/2",
                list(range(100 * days))[rows],
                predictions=predictions[rows],
                labels=np.zeros(len(predictions[rows]), int),
                predicted_at=times[rows],
            )

    def _engines(self) -> None:
        self._update(VersionRef(WORST, 2), {"stage_since": datetime.now(UTC) - timedelta(minutes=9)})
        self._client.report_active(f"{WORST}/2", engine="ny4-07", silent_after=DAY)
        self._client.report_active(f"{WORST}/1", engine="ld4-01", silent_after=DAY)
        failure = LoadFailure(2, HOSTILE)
        self._client.report_active(f"{WORST}/1", engine=HOSTILE[:100], silent_after=DAY, failure=failure)
        self._client.report_active(f"{WORST}/2", engine="ty3-02", silent_after=timedelta(seconds=1))
        self._client.report_active("calm-trend/1", engine="ny4-07", silent_after=DAY)
        self._client.report_active(f"{LONGEST}/1", engine="ld4-01", silent_after=DAY)

    def _jobs(self) -> None:
        for name, queue in ((WORST, "gpu"), ("dax-reversal", "default"), ("calm-trend", "default")):
            self._client.request_retraining(name, reason=HOSTILE, queue=queue)
        self._client.fail_job(self._client.lease_job(WORST, holder=HOSTILE[:60]), HOSTILE, give_up=True)
        self._client.lease_job("dax-reversal", holder="trainer-7", lease=SHORT_LEASE)
        self._client.lease_job("calm-trend", holder="trainer-8")

    def _schedules(self) -> None:
        self._client.create_schedule("calm-trend", every=timedelta(days=30), cron="30 17 * * 1-5")
        broken = self._client.create_schedule("dax-reversal", session=AtSession("XNYS", after_close=timedelta(hours=1)))
        unknown = TRIGGER.dump_all(
            [AtSession("XMARS", after_close=timedelta(hours=1))]
        )  # As a server with a newer package keeps it.
        with self._ledger.writing() as session:
            kept = ScheduleRow.schedule_id == broken.schedule_id
            session.execute(update(ScheduleRow).where(kept).values(triggers=unknown))
        paused = self._client.create_schedule(LONGEST, every=timedelta(days=1))
        self._client.pause_schedule(paused.schedule_id, reason=HOSTILE)

    def _comparison_and_tests(self) -> None:
        labels = np.arange(240) % 2
        noisy = (labels + (np.arange(240) % 5 == 0)) % 2
        predictions: Mapping[AnyVersion, object] = {f"{WORST}/2": noisy, f"{WORST}/3": labels}
        compared = self._client.compare([], None, labels, predictions=predictions, primary="accuracy")
        self.pages["comparison"] = f"/comparisons/{compared.comparison_id}"
        self.reports["comparison-report"] = f"/reports/comparisons/{compared.comparison_id}"
        variants: Mapping[str, str] = {"champion": f"{WORST}/2", "challenger": f"{WORST}/3"}
        running = self._client.create_ab_test("momentum-v3", variants, primary_metric="pnl_bps", description=HOSTILE)
        self._client.record_ab_outcomes(running, outcomes(running, 600, lift=0.3))
        ended = self._client.create_ab_test("momentum-v2", variants, primary_metric="pnl_bps")
        self._client.record_ab_outcomes(ended, outcomes(ended, 200))
        self._client.conclude_ab_test(ended, winner="champion", action="none", reason=HOSTILE)

    def _gates(self) -> None:
        tags, approvals = ("owner", "approved by risk"), (RequiredApproval(("risk",)),)
        self._client.set_promotion_policy(
            PromotionPolicy("calm-trend", required_tags=tags, required_approvals=approvals)
        )
        self.pages["request-approval-form"] = "/models/calm-trend/request-approval?version=2&to=production"

    def _governance(self) -> None:
        rules = (RequiredApproval(("risk", "trading")),)
        self._client.set_promotion_policy(PromotionPolicy(LONGEST, required_approvals=rules))
        asked = self._client.request_approval(f"{LONGEST}/2", reason=HOSTILE, conditions=[HOSTILE, "half the size"])
        overdue = datetime.now(UTC).date() - DAY
        found = self._client.open_finding(
            LONGEST,
            title=HOSTILE,
            severity="critical",
            owner=HOSTILE[:60],
            version=2,
            description=f"{HOSTILE}\n" * 3,
            due=overdue,
        )
        self._client.update_finding(found.finding_id, owner="bob", remedy=HOSTILE)
        (drill,) = self._client.start_drill([LONGEST], reason=HOSTILE, timeout=timedelta(seconds=1))
        self.pages |= {"approval": f"/approvals/{asked.approval_id}", "finding": f"/findings/{found.finding_id}"}
        self.pages["drill"] = f"/drills/{drill.drill_id}"
        of_approval, of_finding = f"approval={asked.approval_id}", f"finding={found.finding_id}"
        home, worst = f"/models/{LONGEST}", f"/models/{WORST}"
        self.pages |= {
            "approve": f"{home}/approve?{of_approval}&function=risk",
            "reject": f"{home}/reject?{of_approval}&function=trading",
            "withdraw-approval": f"{home}/withdraw-approval?{of_approval}",
            "needs-approval": f"{home}/promote?version=2&to=production",
            "open-finding": f"{worst}/open-finding?version=3",
            "change-finding": f"{home}/change-finding?{of_finding}",
            "close-finding": f"{home}/close-finding?{of_finding}",
            "review-version": f"{worst}/record-review?version=3",
            "resume": f"{home}/resume",
            "conclude": f"{worst}/conclude?test=momentum-v3&winner=challenger&action=promote",
            "start-drill": f"{worst}/drill",
            "drill-all": "/drill",
        }
        self.reports["ab-report"] = "/reports/ab/momentum-v3"

    def _mlflow_behind(self) -> None:
        early = {"mirror_wanted": 9, "updated_at": datetime.now(UTC) - timedelta(hours=2)}
        self._update(VersionRef("calm-trend", 1), early)

    def _update(self, ref: VersionRef, values: Mapping[str, object]) -> None:
        with self._ledger.writing() as session:
            own = (VersionRow.model == ref.model, VersionRow.version == ref.version)
            session.execute(update(VersionRow).where(*own).values(**values))
