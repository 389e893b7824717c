"""Comparisons, through both clients: models registered, run in the server, and judged."""

import asyncio
import os
import pickle
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
from pydantic import ValidationError
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from modelward import (
    AsyncClient,
    Client,
    Comparison,
    ComparisonProgress,
    Metric,
    ModelKind,
    Verdict,
    VersionRef,
    errors,
)
from modelward.v1 import comparison_pb2 as pb
from modelward.v1.comparison_pb2_grpc import ComparisonServiceStub
from modelward_server.sandbox.sandbox_process import close_fork_servers
from modelward_server.settings import Settings
from tests.support.clients import as_async, collect
from tests.support.comparison_models import crashing, endless, features
from tests.support.documents import ROOT
from tests.support.own_steps import Doubled
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Runs models in processes.

TRAIN, TEST = pd.DataFrame(features(400, 3)), pd.DataFrame(features(300, 3, seed=1))


def direction(data: pd.DataFrame, noise: float = 0.3) -> Any:
    return (data["x0"] + noise * np.random.default_rng(2).normal(size=len(data)) > 0).astype(int)


def good() -> RandomForestClassifier:
    return RandomForestClassifier(30, random_state=0).fit(TRAIN, direction(TRAIN))


def blind() -> LogisticRegression:
    """Return a model that has only seen what tells nothing."""
    return LogisticRegression().fit(TRAIN[["x1", "x2"]], direction(TRAIN))


async def test_the_better_model_is_superior_and_all_figures_are_scikit_learns(client: AsyncClient, name: str) -> None:
    models = {1: blind(), 2: good()}
    versions = [await client.register(name, model) for model in models.values()]
    await client.promote(versions[0], to="staging")
    await client.promote(versions[0], to="production", reason="it passed its tests")
    told: list[ComparisonProgress] = []
    found = await client.compare([versions[1], versions[0]], TEST, direction(TEST), on_progress=told.append)
    assert isinstance(found, Comparison)
    assert (found.kind, found.rows, found.primary_metric) == (ModelKind.CLASSIFICATION, 300, Metric.ACCURACY)
    assert (found.best, found.baseline) == (VersionRef(name, 2), VersionRef(name, 1))  # The champion is the baseline.
    assert found.conclusion.verdict is Verdict.SUPERIOR
    assert found.summary.startswith(
        f"{name}/2 is better than the baseline {name}/1; the difference is statistically significant"
    )
    predicted = models[2].predict(TEST)
    assert found.result(f"{name}/2")["accuracy"] == pytest.approx(accuracy_score(direction(TEST), predicted))
    expected = log_loss(direction(TEST), models[2].predict_proba(TEST))
    assert found.result(versions[1].ref)["log_loss"] == pytest.approx(expected)
    for estimate in found.results[0].metrics:
        assert estimate.low <= estimate.value <= estimate.high
    latency = found.results[0].latency
    assert latency is not None
    assert timedelta(0) < latency.row_p50 <= latency.row_p99
    assert latency.batch_rows == 300
    assert [step.fraction for step in told] == [1 / 3, 2 / 3, 1.0]
    assert told[0].message == f"ran {name}/2 on 300 rows"
    assert found == await client.get_comparison(found.comparison_id)
    assert await collect(client.list_comparisons(name)) == [found]


@pytest.fixture
async def solo(server: RunningServer) -> AsyncIterator[AsyncClient]:
    """One client, where the kind of client makes no difference and running models takes seconds."""
    async with AsyncClient(server.target, actor="tester") as client:
        yield as_async(client)


async def test_regressors_of_two_models_are_compared_by_what_is_asked(solo: AsyncClient, name: str) -> None:
    target = TEST["x0"] + 0.1 * TEST["x1"]
    await solo.register(name, LinearRegression().fit(TRAIN.to_numpy(), TRAIN["x0"]))
    await solo.register(f"{name}-b", LinearRegression().fit(TRAIN.to_numpy(), TRAIN["x0"] + 0.1 * TRAIN["x1"]))
    found = await solo.compare(
        [f"{name}/1", f"{name}-b/1"],
        TEST.to_numpy(),
        target,
        metrics=["mae", "hit_rate"],
        primary="r2",
        baseline=f"{name}-b/1",
        confidence_level=0.9,
        seed=7,
    )
    assert [estimate.metric for estimate in found.results[0].metrics] == [Metric.R2, Metric.MAE, Metric.HIT_RATE]
    assert (found.best, found.baseline) == (VersionRef(f"{name}-b", 1), VersionRef(f"{name}-b", 1))
    assert found.result(f"{name}/1").verdict is Verdict.INFERIOR
    assert found.result(f"{name}-b/1")["r2"] == pytest.approx(1.0)
    assert (found.resampling.seed, found.resampling.confidence_level) == (7, 0.9)
    assert [one.comparison_id for one in await collect(solo.list_comparisons(f"{name}-b"))] == [found.comparison_id]


async def test_a_model_that_crashes_is_a_row_of_its_own_and_the_others_are_compared(
    solo: AsyncClient, name: str
) -> None:
    for model in (blind(), good()):
        await solo.register(name, model)
    await solo.register(name, crashing(3))
    data = TEST[["x0", "x1", "x2"]]
    found = await solo.compare([f"{name}/{number}" for number in (1, 2)], data, direction(TEST))
    assert found.results[-1].failure == ""
    with_crash = await solo.compare([f"{name}/1", f"{name}/3", f"{name}/2"], data, direction(TEST))
    failed = with_crash.results[-1]
    assert (failed.version, failed.metrics, failed.verdict) == (VersionRef(name, 3), (), None)
    assert failed.failure == f"{name}/3 crashed its process (SIGSEGV)"
    assert with_crash.result(f"{name}/2").metrics == found.result(f"{name}/2").metrics


async def test_with_fewer_than_two_that_answer_there_is_nothing_to_compare(solo: AsyncClient, name: str) -> None:
    await solo.register(name, good())
    await solo.register(name, crashing(3))
    with pytest.raises(errors.ModelFailed, match=rf"fewer than two models answered.*{name}/2 crashed"):
        await solo.compare([f"{name}/1", f"{name}/2"], TEST, direction(TEST))
    assert await collect(solo.list_comparisons(name)) == []


async def test_a_format_that_would_run_its_authors_code_is_not_run(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x02cos\nsystem\n(S'true'\ntR.")
    await client.register(name, tmp_path / "model.pkl")
    await client.register(name, good())
    with pytest.raises(errors.FormatNotExecutable, match="is stored as pickle") as caught:
        await client.compare([f"{name}/1", f"{name}/2"], TEST, direction(TEST))
    assert caught.value.metadata == {"model": name, "version": "1", "format": "pickle"}


async def test_pickle_is_run_where_the_operator_allows_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(good()))
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data", allow_pickle=True))
    async with AsyncClient(running.target) as client:
        versions = [await client.register(name, model) for model in (tmp_path / "model.pkl", good())]
        found = await client.compare(versions, TEST, direction(TEST))
    assert found.results[0].metrics == found.results[1].metrics
    await asyncio.to_thread(running.stop)


@pytest.mark.weekly
async def test_a_type_is_run_where_the_operator_trusts_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    close_fork_servers()  # Another one finds the module.
    doubled, trusted = make_pipeline(Doubled(), good()), "tests.support.own_steps.Doubled"
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data", trusted_types=(trusted,)))
    async with AsyncClient(running.target) as client:
        with pytest.warns(errors.UntrustedTypesWarning):
            versions = [await client.register(name, model) for model in (doubled.fit(TRAIN, direction(TRAIN)), good())]
        found = await client.compare(versions, TEST, direction(TEST))
        assert found.result(versions[0].ref)["accuracy"] > 0.8
        assert not any(one.failure for one in await client.benchmark(versions, TEST, seconds=0.1))
        unknown = make_pipeline(FunctionTransformer(np.copy), good()).fit(TRAIN, direction(TRAIN))
        with pytest.warns(errors.UntrustedTypesWarning):
            versions.append(await client.register(name, unknown))
        found = await client.compare(versions, TEST, direction(TEST))
        assert found.result(versions[2].ref).failure.endswith("does not trust: numpy.copy")
    await asyncio.to_thread(running.stop)
    close_fork_servers()


@pytest.mark.parametrize("value", ["my_package", "my_package.*", "my_package.", "my package.Step"])
def test_a_trusted_type_has_a_complete_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWARD_TRUSTED_TYPES", f"my_package.MyStep, {value}")
    with pytest.raises(ValidationError, match=r"is not the complete name of a type, such as my_package\.MyStep"):
        Settings()
    monkeypatch.setenv("MODELWARD_TRUSTED_TYPES", "my_package.MyStep, other.part.Step")
    assert Settings().trusted_types == ("my_package.MyStep", "other.part.Step")


async def _register_two(client: AsyncClient, name: str) -> list[str]:
    return [str(await client.register(name, model)) for model in (good(), good())]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"X": TEST[:0], "y": []}, "X"),
        ({"y": [1, 0]}, "y"),
        ({"y": np.full(300, np.nan)}, "y"),
        ({"metrics": ["sharpness"]}, "metrics[0]"),
        ({"baseline": "other/1"}, "baseline"),
        ({"margin": float("nan")}, "margin"),
        ({"margin": -0.1}, "margin"),
        ({"confidence_level": 0.3}, "confidence_level"),
        ({"confidence_level": float("nan")}, "confidence_level"),
        ({"block_rows": 0.5}, "block_rows"),
        ({"seed": -1}, "seed"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
async def test_a_question_that_makes_no_sense_is_refused_by_its_field(
    client: AsyncClient, name: str, changes: dict[str, Any], field: str
) -> None:
    await _register_two(client, name)
    assert await _refused(client, name, **changes) == {field}


async def test_what_does_not_fit_the_models_is_refused_by_its_field(solo: AsyncClient, name: str) -> None:
    await _register_two(solo, name)
    assert await _refused(solo, name, X=TEST[["x0", "x1"]]) == {"X"}
    assert await _refused(solo, name, metrics=["accuracy", "mse"]) == {"metrics[1]"}
    assert await collect(solo.list_comparisons(name)) == []


async def _refused(client: AsyncClient, name: str, **changes: Any) -> set[str]:
    question = {"X": TEST, "y": direction(TEST)} | changes
    with pytest.raises(errors.InvalidField) as caught:
        await client.compare([f"{name}/1", f"{name}/2"], **question)
    return {violation.field for violation in caught.value.violations}


async def test_one_version_fifty_one_or_one_twice_are_refused(client: AsyncClient, name: str) -> None:
    for versions in ([f"{name}/1"], [f"{name}/{number}" for number in range(1, 52)], [f"{name}/1"] * 2, []):
        with pytest.raises(errors.InvalidField) as caught:
            await client.compare(versions, TEST, direction(TEST))
        assert [violation.field for violation in caught.value.violations] == ["versions"]
    with pytest.raises(errors.InvalidField, match="'nonsense' is not of the form 'model/3'"):
        await client.compare(["nonsense", f"{name}/1"], TEST, direction(TEST))


async def test_versions_and_comparisons_that_do_not_exist_are_named(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.ModelNotFound):
        await client.compare([f"{name}/1", f"{name}/2"], TEST, direction(TEST))
    await client.register(name, good())
    with pytest.raises(errors.VersionNotFound) as caught:
        await client.compare([f"{name}/1", f"{name}/2"], TEST, direction(TEST))
    assert caught.value.metadata == {"model": name, "version": "2"}
    with pytest.raises(errors.ComparisonNotFound) as missing:
        await client.get_comparison("comparison-nobody-made")
    assert missing.value.metadata == {"comparison_id": "comparison-nobody-made"}
    with pytest.raises(errors.ModelNotFound):
        await collect(client.list_comparisons("nobody-made-this"))


def test_a_label_that_is_not_among_the_columns_is_named(server: RunningServer, name: str) -> None:
    with grpc.insecure_channel(server.target) as channel:
        with pytest.raises(grpc.RpcError, match="'label' is not a column; there are 'x'") as caught:
            list(ComparisonServiceStub(channel).CompareModels(_typed_question(server, name, "x")))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def _typed_question(server: RunningServer, name: str, column: str) -> pb.CompareModelsRequest:
    with Client(server.target) as client:
        for model in (good(), good()):
            client.register(name, model)
    request = pb.CompareModelsRequest()
    for number in (1, 2):
        request.versions.add(model=name, version=number)
    request.data.columns.columns.add(name=column).doubles.values.extend([1.0, 2.0])
    return request


async def test_a_parquet_file_serves_as_the_test_set(
    server: RunningServer, solo: AsyncClient, name: str, inbox: Path
) -> None:
    await _register_two(solo, name)
    pq.write_table(pa.Table.from_pandas(TEST.assign(up=direction(TEST))), inbox / f"{name}.parquet")
    request = pb.CompareModelsRequest(label="up")
    for number in (1, 2):
        request.versions.add(model=name, version=number)
    request.data.uri = f"file://{inbox}/{name}.parquet"

    def ask() -> list[pb.CompareModelsResponse]:
        with grpc.insecure_channel(server.target) as channel:
            return list(ComparisonServiceStub(channel).CompareModels(request))

    answers = await asyncio.to_thread(ask)
    assert answers[-1].comparison.rows == 300
    assert answers[-1].comparison.label == "up"


async def test_the_same_request_id_is_answered_without_running_anything_again(
    server: RunningServer, solo: AsyncClient, name: str
) -> None:
    await _register_two(solo, name)
    request = pb.CompareModelsRequest(request_id=str(uuid4()))
    for number in (1, 2):
        request.versions.add(model=name, version=number)
    for column in TEST:
        request.data.columns.columns.add(name=column).doubles.values.extend(TEST[column])
    request.data.columns.columns.add(name="label").int64s.values.extend(direction(TEST))

    def ask() -> list[pb.CompareModelsResponse]:
        with grpc.insecure_channel(server.target) as channel:
            return list(ComparisonServiceStub(channel).CompareModels(request))

    first = await asyncio.to_thread(ask)
    assert await asyncio.to_thread(ask) == first[-1:]
    assert len(await collect(solo.list_comparisons(name))) == 1


async def test_a_model_that_never_ends_costs_its_time_limit_and_no_more(tmp_path: Path, name: str) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data", sandbox_seconds=12)
    running = await asyncio.to_thread(RunningServer, settings)
    skops.io.dump(endless(3), tmp_path / "model.skops")
    async with AsyncClient(running.target, actor="tester") as client:
        for model in (good(), good(), tmp_path / "model.skops"):
            await client.register(name, model)
        begin = datetime.now(UTC)
        asking = asyncio.create_task(
            client.compare([f"{name}/{number}" for number in (1, 2, 3)], TEST, direction(TEST))
        )
        while not asking.done():  # Meanwhile the server goes on answering.
            assert (await client.get_model(name)).latest_version == 3
            await asyncio.sleep(0.5)
        found = await asking
    await asyncio.to_thread(running.stop)
    assert found.results[-1].failure == f"{name}/3 was stopped after 12 s, the time limit"
    assert datetime.now(UTC) - begin < timedelta(seconds=PATIENCE_SECONDS)
