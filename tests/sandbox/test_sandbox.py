"""Models in their worker process: what they answer, and what becomes of those that go wild."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from modelward.comparison import ModelKind
from modelward.errors import InvalidField, ModelFailed
from modelward.lifecycle import ModelVersion
from modelward_server.sandbox.sandbox import Limits, Run, run_model
from tests.support.comparison_models import ONNX, SKOPS, crashing, endless, features, greedy, labels, saved
from tests.support.onnx_files import linear_model, one_input_each
from tests.support.waiting import PATIENCE_SECONDS

GENEROUS = Limits(seconds=60, memory_mb=1024)
DATA = features()
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps RLIMIT_DATA and has /proc")
MATRIX = np.column_stack(list(DATA.values()))


async def run(model: Path, columns: Any = DATA, version: ModelVersion = SKOPS, limits: Limits = GENEROUS) -> Run:
    return await run_model(version, model, columns, limits)


@pytest.mark.system
@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(5, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=lambda model: type(model).__name__,
)
async def test_a_classifier_answers_as_it_does_at_home(model: Any, tmp_path: Path) -> None:
    model.fit(MATRIX, labels(DATA))
    found = await run(saved(model, tmp_path))
    assert (found.kind, found.classes) == (ModelKind.CLASSIFICATION, (0, 1))
    assert found.predicted.tolist() == model.predict(MATRIX).tolist()
    np.testing.assert_array_equal(found.probabilities, model.predict_proba(MATRIX))


async def test_a_regressor_answers_as_it_does_at_home_and_is_timed(tmp_path: Path) -> None:
    model = HistGradientBoostingRegressor(max_iter=5).fit(MATRIX, DATA["x0"])
    found = await run(saved(model, tmp_path))
    assert (found.kind, found.probabilities) == (ModelKind.REGRESSION, None)
    np.testing.assert_array_equal(found.predicted, model.predict(MATRIX))
    assert found.latency is not None
    assert 0 < found.latency.row_p50.total_seconds() <= found.latency.row_p99.total_seconds() < 1
    assert (found.latency.batch_rows, found.latency.batch_calls) == (200, 20)


@pytest.mark.system
async def test_columns_are_found_by_the_names_that_the_model_was_trained_with(tmp_path: Path) -> None:
    model = LogisticRegression().fit(pd.DataFrame(DATA), labels(DATA))
    shuffled = {"unused": DATA["x0"], "x1": DATA["x1"], "x0": DATA["x0"]}
    found = await run(saved(model, tmp_path), shuffled)
    assert found.predicted.tolist() == model.predict(pd.DataFrame(DATA)).tolist()


@pytest.mark.system
async def test_text_features_reach_the_model(tmp_path: Path) -> None:
    columns = {"venue": np.array(["NYSE", "CME"] * 50, object), "x": np.arange(100.0)}
    frame = pd.DataFrame(columns)
    encode = make_column_transformer((OneHotEncoder(), ["venue"]), remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression()).fit(frame, (frame["venue"] == "CME").astype(int))
    assert (await run(saved(model, tmp_path), columns)).predicted.tolist() == [0, 1] * 50


async def test_a_missing_column_is_named(tmp_path: Path) -> None:
    model = LogisticRegression().fit(pd.DataFrame(DATA), labels(DATA))
    with pytest.raises(InvalidField, match=r"data: has no column 'x1', .* \(spx/3\)"):
        await run(saved(model, tmp_path), {"x0": DATA["x0"]})


async def test_a_wrong_number_of_columns_is_told_where_the_model_has_no_names(tmp_path: Path) -> None:
    model = LogisticRegression().fit(MATRIX, labels(DATA))
    with pytest.raises(InvalidField, match="has 1 feature columns, but the model takes 2"):
        await run(saved(model, tmp_path), {"x0": DATA["x0"]})


@pytest.mark.system
async def test_an_onnx_model_of_one_matrix_runs(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear_model([2.0, -1.0], 0.5))
    found = await run(tmp_path / "model.onnx", version=ONNX)
    np.testing.assert_allclose(found.predicted, 2 * DATA["x0"] - DATA["x1"] + 0.5, atol=1e-6)


@pytest.mark.system
async def test_an_onnx_model_of_named_inputs_takes_its_columns_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(one_input_each(["x1", "x0"]))
    found = await run(tmp_path / "model.onnx", {**DATA, "unused": DATA["x0"]}, ONNX)
    np.testing.assert_allclose(found.predicted, DATA["x0"] + DATA["x1"], atol=1e-6)
    with pytest.raises(InvalidField, match="has no column 'x1'"):
        await run(tmp_path / "model.onnx", {"x0": DATA["x0"]}, ONNX)


@pytest.mark.system  # Takes seconds.
async def test_a_model_that_never_ends_is_stopped_at_the_time_limit(tmp_path: Path) -> None:
    begin = monotonic()
    with pytest.raises(ModelFailed, match=r"spx/3 was stopped after 4 s, the time limit"):
        await run(saved(endless(), tmp_path), limits=Limits(seconds=4, memory_mb=1024))
    assert monotonic() - begin < PATIENCE_SECONDS  # It would never end by itself.


@LINUX
async def test_a_model_that_takes_too_much_memory_is_told_the_limit(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match="needed more than 512 MiB, the memory limit"):
        await run(saved(greedy(), tmp_path), features(200, 40), limits=Limits(seconds=60, memory_mb=512))


async def test_a_model_that_crashes_its_process_is_told_the_signal(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match=r"spx/3 crashed its process \(SIGSEGV\)"):
        await run(saved(crashing(), tmp_path))


async def test_a_model_that_raises_is_told_what(tmp_path: Path) -> None:
    model = LogisticRegression().fit(MATRIX, labels(DATA))
    with pytest.raises(ModelFailed, match="raised ValueError: Input X contains NaN"):
        await run(saved(model, tmp_path), {**DATA, "x1": np.full(200, np.nan)})


async def test_a_type_that_the_server_does_not_trust_is_not_built(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    touch = FunctionTransformer(os.mkdir, kw_args={}, check_inverse=False)
    model = make_pipeline(touch, LogisticRegression())
    with pytest.raises(ModelFailed, match=r"does not trust: posix\.mkdir"):
        await run(saved(model, tmp_path), {str(mark): DATA["x0"]})
    assert not mark.exists()


async def test_a_file_that_is_no_model_fails_as_the_model_does(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(b"not a model")
    with pytest.raises(ModelFailed, match="raised BadZipFile"):
        await run(tmp_path / "model.skops")
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelFailed, match="spx/3 raised"):
        await run(tmp_path / "model.onnx", version=ONNX)


async def test_predictions_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = LinearRegression().fit(MATRIX, DATA["x0"])
    model.coef_[0] = np.inf
    with pytest.raises(ModelFailed, match=r"predicted infinity or more than 1e\+150 in 200 of 200 rows"):
        await run(saved(model, tmp_path))


@LINUX
async def test_cancelling_ends_the_process(tmp_path: Path) -> None:
    running = asyncio.create_task(run(saved(endless(), tmp_path)))
    while not (models := _models()):  # noqa: ASYNC110 - the system gives no event for it
        await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not models & _models()


def _models() -> set[str]:
    """Return the processes of models that this process asked for: a fork server forks keepers, those fork models."""
    keepers = (keeper for fork_server in _fork_servers(os.getpid()) for keeper in _children(fork_server))
    return {model for keeper in keepers for model in _children(keeper)}


def _fork_servers(parent: int | str) -> list[str]:
    """Return the fork_servers below a process, which may be inside bubblewrap."""
    found = []
    for child in _children(parent):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # It has ended since.
        if b"modelward_server.sandbox.fork_server" in words:
            found += _fork_servers(child) if words[0].endswith(b"bwrap") else [child]
    return found


def _children(parent: int | str) -> list[str]:
    """Return the processes that any thread of a process has started; none of one that has ended."""
    found: list[str] = []
    for told in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):
            found += told.read_text().split()
    return found


@pytest.mark.system  # Takes seconds.
@LINUX
async def test_models_run_on_when_what_they_are_forked_from_was_killed(tmp_path: Path) -> None:
    model = LinearRegression().fit(MATRIX, DATA["x0"])
    await run(saved(model, tmp_path))
    for fork_server in _fork_servers(os.getpid()):
        os.kill(int(fork_server), signal.SIGKILL)
    assert (await run(saved(model, tmp_path))).predicted.shape == (200,)
