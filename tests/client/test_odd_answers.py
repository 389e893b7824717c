"""Whatever a server answers, what a client raises is one of our errors, and every call ends."""

import asyncio
import atexit
import math
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice, repeat
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from modelward import (
    AbOutcome,
    AsyncClient,
    Client,
    DriftPolicy,
    DriftThresholds,
    Job,
    JobState,
    Pager,
    PromotionPolicy,
    RetrainingPolicy,
    errors,
)
from modelward.shared.convert.abtest import ab_test_from_proto
from modelward.shared.retry import MAX_RETRY_SECONDS, Backoff, pause_before_watching
from modelward.v1 import comparison_pb2, drift_pb2
from modelward.v1 import lifecycle_pb2 as pb
from tests.support.clients import collect
from tests.support.fuzz_requests import Known, RequestFuzzer
from tests.support.misbehaving_server import METHODS, MisbehavingServer
from tests.support.scale import FULL

pytestmark = pytest.mark.system  # Tries every call with every answer.

SEEDS = range(200 if FULL else 8)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
KNOWN = Known({"path": ["f"], "next_page_token": [""], "resume_token": ["7"]}, [b"", b"content"])
TABLE = {"x": np.arange(3.0)}
BIG = {"x": np.zeros(300_000)}
JOB = Job("j", "m", 1, JobState.LEASED, (), "w", None, 1, 3, NOON, (), 0, "a", NOON, NOON, None)

FOLDER = Path(mkdtemp(prefix="modelward-odd-"))
atexit.register(rmtree, FOLDER)


def odd_file(suffix: str) -> Path:
    """Return the path of a file that a call may write; all of them are removed with their folder at the end."""
    return FOLDER / f"{uuid4().hex}{suffix}"


CALLS: dict[str, Callable[[Any], Any]] = {
    "create_model": lambda c: c.create_model("m"),
    "get_model": lambda c: c.get_model("m"),
    "list_models": lambda c: c.list_models(),
    "update_model": lambda c: c.update_model("m", description="d"),
    "register": lambda c: c.register("m", Path(__file__)),
    "register_files": lambda c: c.register_files("m", Path(__file__)),
    "register_uri": lambda c: c.register_uri("m", "file:///f"),
    "get_version": lambda c: c.get_version("m/1"),
    "list_versions": lambda c: c.list_versions("m"),
    "update_version": lambda c: c.update_version("m/1", description="d"),
    "delete_artifact": lambda c: c.delete_artifact("m/1", reason="r"),
    "log_metrics": lambda c: c.log_metrics("m/1", {"a": 1.0}),
    "load": lambda c: c.load("m/1"),
    "promote": lambda c: c.promote("m/1", to="staging"),
    "rollback": lambda c: c.rollback("m", reason="it lost money"),
    "halt": lambda c: c.halt("m", reason="r"),
    "halt_many": lambda c: c.halt_many(prefix="m", reason="r"),
    "resume": lambda c: c.resume("m"),
    "get_promotion_policy": lambda c: c.get_promotion_policy("m"),
    "set_promotion_policy": lambda c: c.set_promotion_policy(PromotionPolicy("m")),
    "resolve": lambda c: c.resolve("m"),
    "list_transitions": lambda c: c.list_transitions("m"),
    "verify_audit_log": lambda c: c.verify_audit_log(),
    "export_audit_log": lambda c: c.export_audit_log(),
    "watch": lambda c: c.watch(["m"]),
    "report_active": lambda c: c.report_active("m/1", engine="e"),
    "list_engine_periods": lambda c: c.list_engine_periods("m"),
    "get_overview": lambda c: c.get_overview(),
    "get_rollout": lambda c: c.get_rollout("m"),
    "list_rollouts": lambda c: c.list_rollouts(),
    "list_production_versions": lambda c: c.list_production_versions(),
    "set_reference": lambda c: c.set_reference("m/1", TABLE),
    "get_reference": lambda c: c.get_reference("m/1"),
    "detect_drift": lambda c: c.detect_drift("m/1", TABLE),
    "detect_drift of much": lambda c: c.detect_drift("m/1", BIG),
    "detect_drift_uri": lambda c: c.detect_drift_uri("m/1", "file:///f"),
    "get_drift_report": lambda c: c.get_drift_report("r"),
    "list_drift_reports": lambda c: c.list_drift_reports("m"),
    "render_drift_report": lambda c: c.render_drift_report("r"),
    "get_drift_policy": lambda c: c.get_drift_policy("m"),
    "set_drift_policy": lambda c: c.set_drift_policy(DriftPolicy("m", DriftThresholds())),
    "observe": lambda c: c.observe("m/1", sender="s", rows=9),
    "record_outcomes": lambda c: c.record_outcomes("m/1", ["1"], predictions=[1.0]),
    "list_performance": lambda c: c.list_performance("m/1"),
    "compare": lambda c: c.compare(["m/1", "m/2"], TABLE, [0, 1, 0]),
    "benchmark": lambda c: c.benchmark(["m/1"], TABLE),
    "compare_folds": lambda c: c.compare_folds(["m/1", "m/2"]),
    "score": lambda c: c.score("m", TABLE),
    "score_versions": lambda c: c.score_versions("m", TABLE, [1]),
    "score_stream": lambda c: c.score_stream("m", [TABLE]),
    "list_scores": lambda c: c.list_scores("m"),
    "get_comparison": lambda c: c.get_comparison("c"),
    "render_comparison": lambda c: c.render_comparison("c"),
    "list_comparisons": lambda c: c.list_comparisons(),
    "create_ab_test": lambda c: c.create_ab_test("t", {"a": "m/1", "b": "m/2"}, primary_metric="p"),
    "get_ab_test": lambda c: c.get_ab_test("t"),
    "list_ab_tests": lambda c: c.list_ab_tests(),
    "assign_variant": lambda c: c.assign_variant("t", "u"),
    "record_ab_outcomes": lambda c: c.record_ab_outcomes("t", [AbOutcome("o", "u", {"p": 1.0})]),
    "ab_test_result": lambda c: c.ab_test_result("t"),
    "render_ab_test": lambda c: c.render_ab_test("t"),
    "conclude_ab_test": lambda c: c.conclude_ab_test("t", action="by-rule", reason="it was decided"),
    "request_approval": lambda c: c.request_approval("m/1", reason="r"),
    "approve": lambda c: c.approve("a", function="risk"),
    "reject": lambda c: c.reject("a", comment="c"),
    "withdraw_approval": lambda c: c.withdraw_approval("a"),
    "get_approval": lambda c: c.get_approval("a"),
    "list_approvals": lambda c: c.list_approvals("m"),
    "log_head": lambda c: c.log_head(),
    "export_evidence": lambda c: c.export_evidence("m/1", odd_file(".zip")),
    "open_finding": lambda c: c.open_finding("m", title="t", severity="low", owner="a"),
    "update_finding": lambda c: c.update_finding("f", remedy="r"),
    "close_finding": lambda c: c.close_finding("f", remedy="r"),
    "get_finding": lambda c: c.get_finding("f"),
    "list_findings": lambda c: c.list_findings(),
    "record_review": lambda c: c.record_review("m", outcome="approved", comment="c"),
    "list_reviews": lambda c: c.list_reviews(),
    "list_due_reviews": lambda c: c.list_due_reviews(),
    "start_drill": lambda c: c.start_drill("m", reason="r"),
    "answer_drill": lambda c: c.answer_drill("d", engine="e"),
    "get_drill": lambda c: c.get_drill("d"),
    "list_drills": lambda c: c.list_drills(),
    "inventory_report": lambda c: c.inventory_report(odd_file(".html"), as_of=NOON.date()),
    "create_schedule": lambda c: c.create_schedule("m", every=timedelta(days=1)),
    "get_schedule": lambda c: c.get_schedule("s"),
    "list_schedules": lambda c: c.list_schedules(),
    "update_schedule": lambda c: c.update_schedule("s", every=timedelta(days=1)),
    "pause_schedule": lambda c: c.pause_schedule("s"),
    "resume_schedule": lambda c: c.resume_schedule("s"),
    "preview_schedule": lambda c: c.preview_schedule("s"),
    "preview_triggers": lambda c: c.preview_triggers(every=timedelta(days=1)),
    "list_firings": lambda c: c.list_firings("m"),
    "delete_schedule": lambda c: c.delete_schedule("s"),
    "list_due": lambda c: c.list_due(),
    "request_retraining": lambda c: c.request_retraining("m"),
    "lease_job": lambda c: c.lease_job("m", holder="w"),
    "lease_jobs": lambda c: c.lease_jobs(holder="w", max_jobs=2),
    "heartbeat_job": lambda c: c.heartbeat_job(JOB),
    "complete_job": lambda c: c.complete_job(JOB, 1),
    "fail_job": lambda c: c.fail_job(JOB, "r"),
    "retry_job": lambda c: c.retry_job("j"),
    "get_job": lambda c: c.get_job("j"),
    "list_jobs": lambda c: c.list_jobs(),
    "get_retraining_policy": lambda c: c.get_retraining_policy("m"),
    "set_retraining_policy": lambda c: c.set_retraining_policy(RetrainingPolicy("m")),
    "reconcile_mlflow": lambda c: c.reconcile_mlflow(),
    "import_mlflow": lambda c: c.import_mlflow(),
    "get_caller": lambda c: c.get_caller(),
    "get_health": lambda c: c.get_health(),
    "get_system": lambda c: c.get_system(),
}
"""Every call that reaches the server, with arguments that are right."""
ELSEWHERE = {"assign", "close", "download", "follow", "follow_many"}


def test_every_method_of_the_client_is_tried() -> None:
    methods = {name for name in dir(Client) if not name.startswith("_") and callable(getattr(Client, name))}
    assert methods - ELSEWHERE == {call.partition(" ")[0] for call in CALLS}


def at_random(name: str, hostile: RequestFuzzer) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
    """Return answers of the right kind with something wrong in them, or bytes that are no message."""
    method = METHODS[name]

    def answer(request: Any, _: grpc.ServicerContext) -> Iterator[Any]:
        if method.client_streaming:
            list(request)
        for _answer in range(1 + hostile.count(2)):
            made = hostile.message(method.output_type)
            yield hostile.broken(made) if hostile.chance(0.2) else made

    return answer


def answer_at_random(odd: MisbehavingServer, seed: int) -> None:
    odd.answers = {name: at_random(name, RequestFuzzer(seed, KNOWN)) for name in METHODS}


def collected(found: Any) -> Any:
    """Return what a call gives; of what it iterates over the beginning, as some have no end."""
    return list(islice(found, 3)) if isinstance(found, Iterator | Pager) else found


async def settled(found: Any) -> Any:
    """The same of the async client's."""
    return [item async for item in _first(aiter(found))] if isinstance(found, AsyncIterable) else await found


async def _first(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    for _ in range(3):
        try:
            yield await anext(items)
        except StopAsyncIteration:
            return


def try_each(client: Client) -> None:
    for call in CALLS.values():
        with suppress(errors.ModelwardError):
            collected(call(client))


async def try_each_async(client: AsyncClient) -> None:
    for call in CALLS.values():
        with suppress(errors.ModelwardError):
            await settled(call(client))


@pytest.mark.parametrize("seed", SEEDS)
async def test_answers_at_random_are_values_or_errors_of_ours(odd: MisbehavingServer, seed: int) -> None:
    answer_at_random(odd, seed)
    with Client(odd.target, timeout=1) as client:
        await asyncio.to_thread(try_each, client)
    async with AsyncClient(odd.target, timeout=1) as client:
        await try_each_async(client)


@pytest.mark.parametrize("seed", SEEDS)
def test_assignment_by_a_test_at_random_is_one_or_an_error_of_ours(seed: int) -> None:
    hostile = RequestFuzzer(seed, KNOWN)
    with Client("127.0.0.1:1", timeout=1) as client:
        for _ in range(20):
            message: Any = hostile.message(comparison_pb2.AbTest.DESCRIPTOR)
            with suppress(errors.ModelwardError):
                client.assign(ab_test_from_proto(message), "unit")


def failing(details: bytes) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
    def answer(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.set_trailing_metadata((("grpc-status-details-bin", details), ("other-bin", b"\xff")))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "\x1b[2J")
        yield

    return answer


def packed(*details: Any) -> bytes:
    status = Status(code=8)
    for detail in details:
        status.details.add().Pack(detail)
    return bytes(status.SerializeToString())


INFO = ErrorInfo(domain="modelward", reason="LIMIT_REACHED")
BROKEN = AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
NAMES = dict.fromkeys(["message", "retry_seconds", "self", "violations", "gates"], "odd")


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff",
        b"",
        Status(
            details=[AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")]
        ).SerializeToString(),
        packed(INFO, RetryInfo(retry_delay=Duration(seconds=-(2**62)))),
        packed(INFO, RetryInfo(retry_delay=Duration(seconds=2**62, nanos=-5))),
        *(
            packed(ErrorInfo(domain="modelward", reason=reason, metadata=NAMES))
            for reason in ("LIMIT_REACHED", "INVALID_FIELD", "GATES_FAILED", "MODEL_HALTED", "UNHEARD_OF", "")
        ),
    ],
)
async def test_odd_details_of_an_error_are_an_error_of_ours(
    odd: MisbehavingServer, asking: AsyncClient, details: bytes
) -> None:
    odd.answers["GetModel"] = failing(details)
    with pytest.raises(errors.ModelwardError) as caught:
        await asking.get_model("m")
    assert caught.value.message == "\x1b[2J"


@pytest.mark.parametrize("seconds", [-1e300, math.inf, 1e300])
def test_watch_is_not_told_to_wait_for_ever(seconds: float) -> None:
    error = errors.LimitReached("later", max(seconds, 0.0))
    assert 0 <= pause_before_watching(error, Backoff(), started=True) < MAX_RETRY_SECONDS + 1


async def test_call_that_the_deadline_cuts_off_tells_what_failed_before(odd: MisbehavingServer) -> None:
    def away_and_then_silent(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        if len(odd.asked) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the database is away")
        odd.left.wait()
        yield pb.GetModelResponse()

    odd.answers["GetModel"] = away_and_then_silent
    async with AsyncClient(odd.target, timeout=2) as client:
        with pytest.raises(errors.DeadlineExceeded, match=r"before failed: .*the database is away"):
            await client.get_model("m")


async def test_list_without_an_end_ends(odd: MisbehavingServer, hasty: AsyncClient) -> None:
    odd.answers["ListModels"] = lambda *_: [pb.ListModelsResponse(next_page_token="more")]
    begun = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded, match="makes no progress"):
        await collect(hasty.list_models())
    assert time.monotonic() - begun < 60


async def test_answers_to_live_data_without_an_end_are_not_collected(
    odd: MisbehavingServer, asking: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("_async", "_sync"):
        monkeypatch.setattr(f"modelward.{module}.connection.MAX_EXCHANGED_BYTES", 1 << 20)
    odd.answers["Observe"] = lambda *_: repeat(drift_pb2.ObserveResponse())
    with pytest.raises(errors.UnexpectedError, match="exceed 1 MiB without an end"):
        await asking.observe("m/1", sender="s", rows=9)
    odd.answers["Observe"] = lambda *_: repeat(drift_pb2.ObserveResponse(acknowledged=1), 1000)
    assert (await asking.observe("m/1", sender="s", rows=9)).acknowledged == 1


async def test_comparison_that_tells_nothing_ends(
    odd: MisbehavingServer, hasty: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("_async", "_sync"):
        monkeypatch.setattr(f"modelward.{module}.comparison.MAX_IDLE_SECONDS", 0.5)
    odd.answers["CompareModels"] = lambda *_: odd.silence()
    with pytest.raises(errors.DeadlineExceeded, match=r"sent nothing for 0\.5 s"):
        await hasty.compare(["m/1", "m/2"], TABLE, [0, 1, 0])


async def test_audit_log_that_stops_coming_ends_and_a_slow_reader_does_not_end_it(
    odd: MisbehavingServer, hasty: AsyncClient
) -> None:
    odd.answers["ExportAuditLog"] = lambda *_: odd.silence()
    with pytest.raises(errors.DeadlineExceeded, match="sent nothing for 1 s"):
        await collect(hasty.export_audit_log())
    record = pb.AuditRecord(sequence=1)
    odd.answers["ExportAuditLog"] = lambda *_: [pb.ExportAuditLogResponse(records=[record])] * 2
    with Client(odd.target, timeout=0.2) as client:
        records = client.export_audit_log()
        assert next(records).sequence == 1
        await asyncio.to_thread(time.sleep, 0.5)
        assert len(list(records)) == 1


@pytest.mark.parametrize("actor", ["a\nb", "\x1b"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_name_that_no_header_takes_is_refused(actor: str, kind: type[Any]) -> None:
    with pytest.raises(errors.InvalidField, match="actor: contains a character"):
        kind("127.0.0.1:1", actor=actor)
