"""What takes long is done before a change has the lock that all writers wait for, and checked when it has it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy.orm import Session

from modelward import AbTest, Client, PromotionPolicy, Stage
from modelward.errors import ConcurrentChange, GatesFailed, NotDue
from modelward_server.abtest import conclude, outcomes, readings
from modelward_server.actor_context import ActorContext
from modelward_server.drift import reports
from modelward_server.governance import promotion_evidence
from modelward_server.lifecycle import versions
from modelward_server.retraining import job_dispatch, schedules
from modelward_server.rpc import outcomes as performance
from modelward_server.runtime.executors import Executors
from modelward_server.statistics.sequential_detector import Detector
from modelward_server.storage import audit
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.unit_of_work import MAX_ATTEMPTS, UnitOfWork
from tests.support.abtest_traffic import outcomes as traffic
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS


class Held:
    """Stops whoever calls a function before it begins, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, function: str) -> None:
        self.reached, self.calls, self._free = threading.Event(), 0, threading.Event()
        self._original = getattr(owner, function)

        def called(*args: Any, **kwargs: Any) -> Any:  # A function, which also binds to the object of a method.
            return self._call(*args, **kwargs)

        monkeypatch.setattr(owner, function, called)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        self.reached.set()
        assert self._free.wait(PATIENCE_SECONDS)
        return self._original(*args, **kwargs)

    def let_go(self) -> None:
        self._free.set()


@pytest.fixture
def mw(server: RunningServer) -> Iterator[Client]:
    with Client(server.target, timeout=PATIENCE_SECONDS, actor="tester") as client:
        yield client


@pytest.fixture
def model(mw: Client, tmp_path: Path) -> str:
    """A model with one version in production and one in staging."""
    name = f"model-{uuid4().hex[:8]}"
    (tmp_path / "model.bin").write_bytes(b"model")
    for _ in range(2):
        mw.promote(mw.register(name, tmp_path / "model.bin"), to="staging")
    mw.promote(f"{name}/1", to="production", reason="it passed its tests")
    return name


@pytest.fixture
def other(mw: Client) -> str:
    """Another model, of which somebody writes meanwhile."""
    name = f"other-{uuid4().hex[:8]}"
    mw.create_model(name)
    return name


def start_test(mw: Client, model: str, **policy: Any) -> AbTest:
    """Start a test whose challenger is better, and let promotions ask for its verdict."""
    variants = {"champion": f"{model}/1", "challenger": f"{model}/2"}
    test = mw.create_ab_test(model, variants, primary_metric="pnl_bps")
    mw.record_ab_outcomes(test, traffic(test, 400, lift=1.0))
    mw.set_promotion_policy(PromotionPolicy(model, **policy))
    return test


@contextmanager
def stopped(held: Held, call: Callable[[], Any]) -> Iterator["Future[Any]"]:
    """Have a call stopped in the middle."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(call)
        try:
            assert held.reached.wait(PATIENCE_SECONDS), (
                running.exception() if running.done() else "it never came so far"
            )
            yield running
        finally:
            held.let_go()


def promote(mw: Client, model: str, _folder: Path) -> Callable[[], object]:
    start_test(mw, model, require_comparison=True)
    return lambda: mw.promote(f"{model}/2", to="production", reason="it passed its tests")


def conclude_by_rule(mw: Client, model: str, _folder: Path) -> Callable[[], object]:
    test = start_test(mw, model)
    return lambda: mw.conclude_ab_test(test, action="by-rule", reason="it was decided")


def record_ab_outcomes(mw: Client, model: str, _folder: Path) -> Callable[[], object]:
    test = start_test(mw, model)
    return lambda: mw.record_ab_outcomes(test, traffic(test, 500))


def observe(mw: Client, model: str, _folder: Path) -> Callable[[], object]:
    mw.set_reference(f"{model}/1", {"ret": np.arange(100.0)})
    observer = mw.observe(f"{model}/1", sender="engine-1", rows=50)
    return lambda: observer.add({"ret": np.arange(120.0)})


def record_outcomes(mw: Client, model: str, _folder: Path) -> Callable[[], object]:
    return lambda: mw.record_outcomes(f"{model}/1", ["a"], predictions=[1.0], labels=[1.0])


def lease(mw: Client, model: str, _folder: Path) -> Callable[[], object]:
    mw.create_schedule(model, every=timedelta(days=300))
    return lambda: mw.lease_job(model, holder="worker")


def register(mw: Client, model: str, folder: Path) -> Callable[[], object]:
    return lambda: mw.register(model, folder / "model.bin")


def create_schedule(mw: Client, model: str, _folder: Path) -> Callable[[], object]:
    return lambda: mw.create_schedule(model, cron="0 18 * * FRI")


SLOW: dict[str, tuple[Callable[[Client, str, Path], Callable[[], object]], Any, str]] = {
    "promotion": (promote, promotion_evidence, "recent_reading"),
    "conclusion": (conclude_by_rule, conclude, "read_test"),
    "outcomes of a test": (record_ab_outcomes, outcomes, "_assigned_row"),
    "live rows": (observe, Detector, "update"),
    "windows of live rows": (observe, reports, "make_report"),
    "performance": (record_outcomes, performance, "evaluate_newest_period"),
    "lease": (lease, job_dispatch, "evaluate_schedules"),
    "registration": (register, versions, "check_files"),
    "schedule": (create_schedule, schedules, "check_triggers"),
}
"""Calls, and what of each takes long."""


@pytest.mark.parametrize("slow", SLOW)
@pytest.mark.weekly("postgresql")
def test_what_takes_long_keeps_nobody_from_writing(
    mw: Client, model: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    arrange, owner, function = SLOW[slow]
    call = arrange(mw, model, tmp_path)
    held = Held(monkeypatch, owner, function)
    with stopped(held, call) as running:
        mw.update_model(other, description="changed meanwhile")
        assert not running.done()
    assert running.exception() is None or isinstance(running.exception(), NotDue)


def test_evidence_that_changes_before_the_promotion_is_read_again(
    mw: Client, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = start_test(mw, model, require_comparison=True)
    held = Held(monkeypatch, promotion_evidence, "_newest")  # When the verdict is known, and the lock not yet there.
    with stopped(held, lambda: mw.promote(f"{model}/2", to="production", reason="it passed its tests")) as running:
        worse = [replace(one, outcome_id=f"late-{one.outcome_id}") for one in traffic(test, 1500, lift=-2.0, seed=2)]
        mw.record_ab_outcomes(test, worse)
    refused = running.exception()
    assert isinstance(refused, GatesFailed)
    assert "inferior" in refused.gates[0].evidence
    assert mw.get_version(f"{model}/2").stage is Stage.STAGING


def test_version_that_went_into_production_meanwhile_is_what_the_candidate_is_held_against(
    mw: Client, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_test(mw, model, require_comparison=True)
    mw.promote(mw.register(model, tmp_path / "model.bin"), to="staging")
    held = Held(monkeypatch, promotion_evidence, "_newest")
    with stopped(held, lambda: mw.promote(f"{model}/2", to="production", reason="it passed its tests")) as running:
        mw.set_promotion_policy(PromotionPolicy(model))
        mw.promote(f"{model}/3", to="production", reason="it passed its tests")
        mw.set_promotion_policy(PromotionPolicy(model, require_comparison=True))
    refused = running.exception()
    assert isinstance(refused, GatesFailed)
    assert refused.gates[0].evidence == f"there is no comparison of {model}/2 with {model}/3"
    assert mw.get_model(model).production_version == 3


def test_outcomes_are_read_once_for_a_dry_run_and_its_promotion(
    mw: Client, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = start_test(mw, model, require_comparison=True)
    read: list[int] = []

    def counted(session: Session, test: AbTest, max_looks: int) -> readings.Reading:
        found = readings_read_test(session, test, max_looks)
        read.append(found.outcomes)
        return found

    readings_read_test = readings.read_test
    monkeypatch.setattr(readings, "read_test", counted)
    for _ in range(2):
        mw.promote(f"{model}/2", to="production", reason="it passed its tests", dry_run=True)
    assert read == [400]
    late = [replace(one, outcome_id=f"late-{one.outcome_id}") for one in traffic(test, 40, lift=1.0, seed=2)]
    mw.record_ab_outcomes(test, late)
    mw.promote(f"{model}/2", to="production", reason="it passed its tests")
    assert read == [400, 440]


def test_policy_without_such_a_gate_reads_no_evidence(mw: Client, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start_test(mw, model)
    for name in ("recent_reading", "list_ab_tests", "list_comparisons", "drift_alarm"):
        monkeypatch.setattr(promotion_evidence, name, None)
    mw.promote(f"{model}/2", to="production", reason="it passed its tests")
    assert mw.get_model(model).production_version == 2


def test_batch_of_live_rows_is_one_change_and_the_report_of_a_window_another(
    mw: Client, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = observe(mw, model, Path())
    changes: list[str] = []
    begin_change = audit.begin_change

    def counted(session: Session, actor: str) -> ActorContext:
        changes.append(actor)
        return begin_change(session, actor)

    monkeypatch.setattr(audit, "begin_change", counted)
    before = mw.verify_audit_log().records
    taken: Any = add()
    assert (len(taken.reports), len(changes)) == (2, 3)
    assert mw.verify_audit_log().records == before  # Neither the batch nor its reports are records.


def test_what_is_outdated_again_and_again_is_told_in_the_end(server: RunningServer) -> None:
    tried: list[int] = []

    def outdated(_session: Session, _caller: ActorContext, number: int) -> None:
        tried.append(number)
        raise Outdated

    unit = UnitOfWork(server.app.ledger, Executors(), lambda: None)
    with pytest.raises(ConcurrentChange, match="retry with the same request id"):
        asyncio.run(unit.run_prepared_as_system("tester", lambda _session: len(tried), outdated))
    assert tried == list(range(MAX_ATTEMPTS))
