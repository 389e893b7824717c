"""Performance through the front door: labels that come later, periods, estimates, and alarms for a decline."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from sklearn import metrics

from modelward import (
    AsyncClient,
    AuditRecord,
    Client,
    Performance,
    PerformanceAlarm,
    PerformanceEvidence,
    RecordedOutcomes,
    errors,
)
from modelward.v1 import common_pb2
from modelward.v1 import drift_pb2 as pb
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from tests.support.clients import collect
from tests.support.outcomes import ids_of, watched_alarm
from tests.support.running_server import RunningServer

DAY = timedelta(days=1)
T0 = datetime(2024, 3, 4, tzinfo=UTC)


@pytest.fixture
async def version(client: AsyncClient, name: str, tmp_path: Path) -> str:
    (tmp_path / "model.bin").write_bytes(b"model")
    return str(await client.register(name, tmp_path / "model.bin"))


@pytest.mark.weekly
async def test_metrics_of_two_classes_are_those_of_sklearn(client: AsyncClient, version: str) -> None:
    random = np.random.default_rng(7)
    positive = random.uniform(size=500)
    labels = (random.uniform(size=500) < positive).astype(int)
    predictions, certainty = (positive > 0.5).astype(int), np.maximum(positive, 1 - positive)
    kept = await client.record_outcomes(
        version, ids_of(500), predictions=predictions, probabilities=certainty, labels=labels, predicted_at=T0
    )
    assert kept == RecordedOutcomes(predictions=500, labels=500, waiting=0)
    [found] = await collect(client.list_performance(version))
    assert (found.start, found.end, found.coverage, found.estimated) == (T0, T0 + DAY, 1.0, False)
    assert found.metrics == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(labels, predictions),
            "log_loss": metrics.log_loss(labels, positive),
            "brier": metrics.brier_score_loss(labels, positive),
            "roc_auc": metrics.roc_auc_score(labels, positive),
        }
    )
    assert found.calibration_error == pytest.approx(expected_calibration_error(certainty, predictions == labels))


def expected_calibration_error(certainty: Any, right: Any) -> float:
    inside = [(certainty >= low / 10) & (certainty < (low + 1) / 10) for low in range(10)]
    gaps = [rows.mean() * abs(right[rows].mean() - certainty[rows].mean()) for rows in inside if rows.any()]
    return float(sum(gaps))


async def test_metrics_of_numbers_are_those_of_sklearn(client: AsyncClient, version: str) -> None:
    random = np.random.default_rng(7)
    labels = random.normal(0, 0.01, 300)
    predictions = labels / 2 + random.normal(0, 0.005, 300)
    await client.record_outcomes(version, ids_of(300), predictions=predictions, labels=labels, predicted_at=T0)
    [found] = await collect(client.list_performance(version))
    assert found.metrics == pytest.approx(
        {
            "mae": metrics.mean_absolute_error(labels, predictions),
            "rmse": metrics.root_mean_squared_error(labels, predictions),
            "r2": metrics.r2_score(labels, predictions),
        }
    )
    assert found.calibration_error is None


async def test_several_classes_without_probabilities_have_an_accuracy_alone(client: AsyncClient, version: str) -> None:
    await client.record_outcomes(version, ids_of(4), predictions=[0, 1, 2, 2], labels=[0, 1, 2, 0], predicted_at=T0)
    [found] = await collect(client.list_performance(version))
    assert found.metrics == {"accuracy": 0.75}


async def test_labels_may_come_later_or_wait_for_their_prediction(client: AsyncClient, version: str) -> None:
    early = await client.record_outcomes(version, ["a", "b"], labels=[1, 0])
    assert early == RecordedOutcomes(predictions=0, labels=0, waiting=2)
    assert await collect(client.list_performance(version)) == []
    predicted = await client.record_outcomes(version, ["a", "c"], predictions=[1, 1], predicted_at=T0)
    assert predicted == RecordedOutcomes(predictions=2, labels=1, waiting=0)
    late = await client.record_outcomes(version, ["c"], labels=[0])
    assert late == RecordedOutcomes(predictions=0, labels=1, waiting=0)
    [found] = await collect(client.list_performance(version))
    assert (found.predictions, found.labelled, found.metrics) == (2, 2, {"accuracy": 0.5})


async def test_same_again_is_fine_and_other_values_keep_nothing_of_the_call(client: AsyncClient, version: str) -> None:
    await client.record_outcomes(version, ["a"], predictions=[1], probabilities=[0.8], labels=[1], predicted_at=T0)
    again = await client.record_outcomes(version, ["a"], predictions=[1], probabilities=[0.8], labels=[1])
    assert again == RecordedOutcomes(predictions=0, labels=0, waiting=0)
    for other in (
        {"predictions": [0], "probabilities": [0.8]},
        {"predictions": [1], "probabilities": [0.7]},
        {"predictions": [1]},
        {"predictions": [1], "probabilities": [0.8], "predicted_at": T0 + DAY},
        {"labels": [0]},
    ):
        columns: dict[str, Any] = {key: value if key == "predicted_at" else [1, *value] for key, value in other.items()}  # type: ignore[misc]
        if "probabilities" in columns:
            columns["probabilities"] = [0.5, *other["probabilities"]]  # type: ignore[misc]
        with pytest.raises(errors.InvalidField, match="was recorded with") as caught:
            await client.record_outcomes(version, ["new", "a"], **columns)
        assert [violation.field for violation in caught.value.violations] == ["outcomes[1].prediction_id"]
    [found] = await collect(client.list_performance(version))
    assert (found.predictions, found.metrics["accuracy"]) == (1, 1.0)


async def test_outcome_that_contradicts_itself_in_one_call_is_refused(client: AsyncClient, version: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.record_outcomes(version, ["a", "a"], predictions=[1, 2])
    assert [violation.field for violation in caught.value.violations] == ["outcomes[1].prediction_id"]
    assert await collect(client.list_performance(version)) == []


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({}, "outcomes[0]"),
        ({"labels": [1.0], "probabilities": [0.5]}, "outcomes[0].probability"),
        ({"labels": [float("inf")]}, "outcomes[0].label"),
        ({"predictions": [1e61]}, "outcomes[0].prediction"),
        ({"predictions": [1], "probabilities": [1.1]}, "outcomes[0].probability"),
        ({"predictions": [1], "predicted_at": datetime(1800, 1, 1, tzinfo=UTC)}, "outcomes[0].predicted_at"),
        ({"labels": [1], "period": timedelta(0)}, "period"),
        ({"labels": [1], "horizon": -DAY}, "horizon"),
        ({"labels": [1, 2]}, "labels"),
    ],
)
async def test_outcome_that_makes_no_sense_is_named(
    client: AsyncClient, version: str, columns: Any, field: str
) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.record_outcomes(version, ["a"], **columns)
    assert {violation.field for violation in caught.value.violations} == {field}


async def test_rows_that_a_model_did_not_answer_are_left_out(client: AsyncClient, version: str) -> None:
    nan, at = float("nan"), datetime(2026, 1, 5, tzinfo=UTC)
    kept = await client.record_outcomes(
        version,
        ["a", "b", "c", "d"],
        predictions=[1.0, nan, nan, None],
        probabilities=[0.7, 0.6, nan, 0.5],
        labels=[1, nan, 0, None],
        time=[at] * 4,
        group=["A", "B", "C", "D"],
    )
    assert kept == RecordedOutcomes(predictions=1, labels=1, waiting=1, left_out=2)
    late = await client.record_outcomes(version, ["b", "c"], predictions=[1.0, 1.0], time=[at] * 2, group=["B", "C"])
    assert late == RecordedOutcomes(predictions=2, labels=1, waiting=0)
    for _ in range(2):  # What was left out may be sent again.
        assert (await client.record_outcomes(version, ["e", "f"], predictions=[nan, 1])).left_out == 1
    with pytest.raises(errors.InvalidField, match="neither prediction nor label"):
        await client.record_outcomes(version, ["e", "f"], predictions=[nan, nan])


async def test_nan_on_the_wire_is_a_missing_value(server: RunningServer, version: str) -> None:
    ref = common_pb2.ModelVersionRef(model=version.partition("/")[0], version=1)
    nan = float("nan")
    sent = [
        pb.Outcome(prediction_id="a", prediction=nan, probability=0.5, group="A"),
        pb.Outcome(prediction_id="b", prediction=nan, label=1.0),
        pb.Outcome(prediction_id="c", prediction=1.0, probability=nan, label=nan),
    ]
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub: Any = DriftServiceStub(channel)
        kept = await stub.RecordOutcomes(pb.RecordOutcomesRequest(version=ref, outcomes=sent))
        assert (kept.predictions, kept.labels, kept.waiting, kept.left_out) == (1, 0, 1, 1)
        with pytest.raises(grpc.aio.AioRpcError, match="is NaN, and there is no other value"):
            await stub.RecordOutcomes(pb.RecordOutcomesRequest(version=ref, outcomes=sent[:1]))


async def test_ids_without_characters_or_with_a_nul_are_refused(client: AsyncClient, version: str) -> None:
    for bad, fix in (("", "at least one character"), ("a\0b", "no control characters")):
        with pytest.raises(errors.InvalidField, match=fix):
            await client.record_outcomes(version, [bad], labels=[1])


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_ten_thousand_mistakes_are_told_as_a_few(client: AsyncClient, version: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.record_outcomes(version, ids_of(10_000), predictions=[2e60] * 10_000)
    assert 5 <= len(caught.value.violations) <= 20
    with pytest.raises(errors.InvalidField) as caught:
        await client.record_outcomes(version, ids_of(10_000))
    assert 5 <= len(caught.value.violations) <= 20


async def test_unknown_versions_are_not_found(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.ModelNotFound):
        await client.record_outcomes(f"{name}/1", ["a"], labels=[1])
    with pytest.raises(errors.ModelNotFound):
        await collect(client.list_performance(f"{name}/1"))


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_more_rows_than_one_call_takes_are_split(client: AsyncClient, version: str) -> None:
    right = np.arange(25_000) % 4 > 0
    kept = await client.record_outcomes(
        version, ids_of(25_000), predictions=np.ones(25_000), labels=right, predicted_at=T0
    )
    assert (kept.predictions, kept.labels) == (25_000, 25_000)
    [found] = await collect(client.list_performance(version))
    assert (found.predictions, found.metrics) == (25_000, {"accuracy": 0.75})


async def test_periods_are_cut_at_the_epoch_newest_first_and_empty_ones_left_out(
    client: AsyncClient, version: str
) -> None:
    times = [T0, T0 + DAY - timedelta(microseconds=1), T0 + DAY, T0 + 40 * DAY, datetime(1969, 12, 31, tzinfo=UTC)]
    await client.record_outcomes(version, ids_of(5), predictions=[1.0] * 5, labels=[1.0] * 5, predicted_at=times)
    daily = await collect(client.list_performance(version))
    assert [(one.start, one.predictions) for one in daily] == [
        (T0 + 40 * DAY, 1),
        (T0 + DAY, 1),
        (T0, 2),
        (datetime(1969, 12, 31, tzinfo=UTC), 1),
    ]
    weekly = await collect(client.list_performance(version, period=7 * DAY))  # 1970 began on a Thursday.
    assert [one.start.weekday() for one in weekly] == [3, 3, 3]
    assert [one.predictions for one in weekly] == [1, 3, 1]


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_list_goes_on_over_many_pages_and_a_strange_token_is_refused(
    client: AsyncClient, version: str, server: RunningServer
) -> None:
    times = [T0 + i * DAY for i in range(120)]
    await client.record_outcomes(version, ids_of(120), predictions=[1] * 120, labels=[1] * 120, predicted_at=times)
    listed = await collect(client.list_performance(version))
    assert [one.start for one in listed] == times[::-1]
    request = pb.ListPerformanceRequest(page_token="x")
    request.version.model, request.version.version = version.partition("/")[0], 1
    with pytest.raises(errors.InvalidField) as caught:
        _by_hand(server, request)
    assert caught.value.violations[0].field == "page_token"


def _by_hand(server: RunningServer, request: pb.ListPerformanceRequest) -> None:
    with Client(server.target) as client:
        client._call(client._drift.ListPerformance, request)


async def test_only_rows_as_old_as_the_horizon_count(client: AsyncClient, version: str) -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(hours=30), now - timedelta(hours=30), now - timedelta(hours=1)]
    await client.record_outcomes(
        version, ["old", "unlabelled", "young"], predictions=[1, 1, 1], labels=[1, None, 0], predicted_at=times
    )
    [found] = await collect(client.list_performance(version, period=timedelta(days=36500), horizon=DAY))
    assert (found.predictions, found.matured, found.labelled, found.coverage) == (3, 2, 1, 0.5)
    assert found.metrics == {"accuracy": 1.0}
    [all_of_them] = await collect(client.list_performance(version, period=timedelta(days=36500)))
    assert (all_of_them.matured, all_of_them.metrics) == (3, {"accuracy": 0.5})


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_estimate_without_labels_is_near_what_the_labels_say_later(client: AsyncClient, version: str) -> None:
    """The model says too much, p where it is right in p squared; calibration must see through that."""
    random = np.random.default_rng(7)
    said = random.uniform(0.5, 1, 6000)
    right = random.uniform(size=6000) < said**2
    names = ids_of(6000)
    await client.record_outcomes(
        version, names[:4000], predictions=[1] * 4000, probabilities=said[:4000], labels=right[:4000], predicted_at=T0
    )
    await client.record_outcomes(
        version, names[4000:], predictions=[1] * 2000, probabilities=said[4000:], predicted_at=T0 + DAY
    )
    promised, _ = await collect(client.list_performance(version))
    assert (promised.estimated, promised.coverage, promised.calibration_error) == (True, 0.0, None)
    assert set(promised.metrics) == {"accuracy"}
    await client.record_outcomes(version, names[4000:], labels=right[4000:])
    real, _ = await collect(client.list_performance(version))
    assert not real.estimated
    # Four standard errors of the difference: 2000 rows of the period, and 4000 that calibrated.
    error = 4 * np.sqrt(0.25 * (1 / 2000 + 1 / 4000))
    assert promised.metrics["accuracy"] == pytest.approx(real.metrics["accuracy"], abs=error)
    assert abs(said[4000:].mean() - real.metrics["accuracy"]) > error  # What it said itself is further off.


async def test_nothing_is_estimated_from_few_labels_or_for_numbers(client: AsyncClient, version: str) -> None:
    await client.record_outcomes(
        version, ids_of(199), predictions=[1] * 199, probabilities=[0.6] * 199, labels=[1] * 199, predicted_at=T0
    )
    await client.record_outcomes(version, ["late"], predictions=[1], probabilities=[0.6], predicted_at=T0 + DAY)
    newest, _ = await collect(client.list_performance(version))
    assert (newest.estimated, newest.metrics) == (False, {})


async def _days(client: AsyncClient, version: str, accuracies: list[float], first: int = 0, rows: int = 200) -> None:
    """Record days of which exactly so many predictions are right."""
    for day, accuracy in enumerate(accuracies, first):
        labels = (np.arange(rows) < accuracy * rows).astype(int)
        await client.record_outcomes(
            version, ids_of(rows, day), predictions=[1] * rows, labels=labels, predicted_at=T0 + day * DAY
        )


CALM = [0.60, 0.62, 0.58, 0.61, 0.59, 0.60, 0.63, 0.57]


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_decline_is_an_alarm_once_in_the_audit_log_and_the_list(
    client: AsyncClient, version: str, server: RunningServer
) -> None:
    await _days(client, version, [*CALM, 0.40])
    alarm, late = await _alarms(client, version)
    assert late == []
    assert (alarm.metric, alarm.value, alarm.start, alarm.end) == ("accuracy", 0.40, T0 + 8 * DAY, T0 + 9 * DAY)
    assert alarm.baseline == pytest.approx(np.mean(CALM))
    assert 0 < alarm.p_value < 0.01
    await client.record_outcomes(version, [ids_of(200, 8)[0]], labels=[1])  # The same again.
    assert await _alarms(client, version) == (alarm, [])
    listed: list[Performance] = await collect(client.list_performance(version))
    assert [one.declined for one in listed] == [True] + [False] * 8


async def _alarms(client: AsyncClient, version: str) -> tuple[PerformanceAlarm, list[AuditRecord]]:
    """Return the first alarm that a watcher sees, and those after it."""
    model = version.partition("/")[0]
    records = [record for record in await collect(client.export_audit_log()) if record.model == model]
    first, *late = [record for record in records if record.kind == "performance_alarm"]
    assert (first.version, first.actor) == (1, "tester")
    return await watched_alarm(client, model, first.sequence), late


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_calm_days_and_better_days_raise_no_alarm(client: AsyncClient, version: str) -> None:
    await _days(client, version, [*CALM, 0.58, 0.9])
    assert [one.declined for one in await collect(client.list_performance(version))] == [False] * 10


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_a_day_is_judged_when_its_labels_are_there(client: AsyncClient, version: str) -> None:
    await _days(client, version, CALM)
    names = ids_of(200, 8)
    await client.record_outcomes(version, names, predictions=[1] * 200, predicted_at=T0 + 8 * DAY)
    await client.record_outcomes(version, names[:199], labels=[0] * 199)
    assert not (await collect(client.list_performance(version)))[0].declined
    await client.record_outcomes(version, names[199:], labels=[0])
    assert (await collect(client.list_performance(version)))[0].declined


@pytest.mark.system
async def test_labels_that_never_come_are_not_waited_for_once_later_ones_do(client: AsyncClient, version: str) -> None:
    await _days(client, version, CALM)
    names = ids_of(200, 8)
    await client.record_outcomes(version, names, predictions=[1] * 200, predicted_at=T0 + 8 * DAY)
    await client.record_outcomes(version, names[:150], labels=[0] * 150)
    await client.record_outcomes(version, ["next", "open"], predictions=[1, 1], predicted_at=T0 + 9 * DAY)
    assert not (await collect(client.list_performance(version)))[1].declined
    await client.record_outcomes(version, ["next"], labels=[1])
    assert [one.declined for one in (await collect(client.list_performance(version)))[:2]] == [False, True]


@pytest.mark.system
async def test_nothing_is_judged_before_it_is_as_old_as_the_horizon(client: AsyncClient, version: str) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for back, accuracy in zip(range(9, 0, -1), [*CALM, 0.3], strict=True):
        labels = (np.arange(100) < accuracy * 100).astype(int)
        await client.record_outcomes(
            version,
            ids_of(100, back),
            predictions=[1] * 100,
            labels=labels,
            predicted_at=today - back * DAY,
            horizon=30 * DAY,
        )
    assert not any(one.declined for one in await collect(client.list_performance(version)))
    await client.record_outcomes(version, ids_of(1, 1), labels=[1])  # With the horizon of at once.
    assert [one.declined for one in await collect(client.list_performance(version))] == [True] + [False] * 8


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_numbers_decline_too_and_a_model_becomes_due(client: AsyncClient, version: str) -> None:
    random = np.random.default_rng(7)
    model = version.partition("/")[0]
    await client.promote(version, to="staging")
    await client.promote(version, to="production", reason="it passed its tests")
    await client.create_schedule(model, performance=_rmse_above_a_million())
    for day, scale in enumerate([1.0, 1.1, 0.9, 1.05, 0.95, 4.0]):
        labels = random.normal(0, scale, 100)
        assert await collect(client.list_due(model)) == []
        await client.record_outcomes(
            version, ids_of(100, day), predictions=np.zeros(100), labels=labels, predicted_at=T0 + day * DAY
        )
    [due] = await collect(client.list_due(model))
    [reason] = due.reasons
    assert isinstance(reason.evidence, PerformanceEvidence)
    assert reason.evidence.metric == "rmse"
    assert reason.evidence.value == pytest.approx(np.sqrt(np.mean(labels**2)))
    assert 0.8 < reason.evidence.threshold < 1.2


def _rmse_above_a_million() -> Any:
    from modelward import OnPerformance

    return OnPerformance("rmse", above=1e6)


@pytest.mark.system
async def test_performance_does_not_depend_on_the_order_of_outcomes(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    random, rows = np.random.default_rng(3), 120
    days, symbols = np.arange("2024-01-01", "2024-01-31", dtype="M8[D]").repeat(4), np.array([*"ABCD"] * 30)
    truth = random.normal(size=rows)
    answers = truth + random.normal(size=rows)
    found = []
    for order in (np.arange(rows), random.permutation(rows), np.arange(rows)[::-1]):
        version = await client.register(name, tmp_path / "model.bin")
        await client.record_outcomes(
            version,
            order,
            predictions=answers[order],
            labels=truth[order],
            time=days[order],
            group=symbols[order],
        )
        found.append(list(await collect(client.list_performance(version, period=timedelta(days=7)))))
    assert found[1] == found[0]
    assert found[2] == found[0]


async def test_prediction_of_a_time_and_group_that_another_has_is_refused(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    version = await client.register(name, tmp_path / "model.bin")
    day: dict[str, Any] = {"time": ["2024-01-02"], "group": ["AAPL"]}
    await client.record_outcomes(version, ["a"], predictions=[1], **day)
    await client.record_outcomes(version, ["a"], predictions=[1], **day)  # The same prediction again.
    await client.record_outcomes(version, ["b"], predictions=[1], time=["2024-01-02"], group=["MSFT"])
    with pytest.raises(errors.InvalidField, match=r"'c' has the time 2024-01-02 .* of 'a'; each pair"):
        await client.record_outcomes(version, ["c"], predictions=[1], **day)
    twice: dict[str, Any] = {"time": ["2024-01-03", "2024-01-03T01:00+01:00"], "group": ["AAPL"] * 2}
    with pytest.raises(errors.InvalidField, match=r"'e' has the time 2024-01-03 .* of 'd'"):
        await client.record_outcomes(version, ["d", "e"], predictions=[1, 1], **twice)
    with pytest.raises(errors.InvalidField, match="'a' was recorded with group AAPL, now MSFT"):
        await client.record_outcomes(version, ["a"], predictions=[1], time=["2024-01-02"], group=["MSFT"])
    for time, why in (
        ({"time": [1]}, r"time\[0\]: is .*1.*, which is not a time; give dates"),
        ({"time": np.array(["NaT"], "M8[s]")}, "time: is missing in a row"),
        ({"time": ["2024-01-01"] * 2}, "has 2 values for 1 ids"),
        (
            {"time": ["2024-01-01"], "predicted_at": datetime(2024, 1, 1, tzinfo=UTC)},
            "time: is the time of each p",
        ),
        ({"group": [None]}, r"group\[0\]: is missing"),
    ):
        with pytest.raises(errors.InvalidField, match=why):
            await client.record_outcomes(version, ["f"], predictions=[1], **time)
