"""Models of CatBoost predict as the library does, and what their files may hold is checked before it reads them."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import catboost
import mlflow
import numpy as np
import pandas as pd
import pytest

from modelward import Client, TrialResult
from modelward.errors import InvalidField
from modelward.formats import formats
from modelward.formats.catboost_structure import NODES, SIZES, SPLITS, STARTS, TREES, check_structure
from modelward.formats.flatbuffer import Table
from modelward.signature import ColumnKind, Signature
from modelward_server.mlflow.mlmodel import describe_model
from tests.support.booster_models import catboost_model, frame_for, store
from tests.support.comparison_models import SKOPS
from tests.support.server_process import ServerProcess
from tests.support.waiting import eventually

ROWS, SEEN = frame_for("catboost"), frame_for("catboost", seed=8)
SCORE = SEEN["trend"].fillna(0.5) + (SEEN["venue"] == "lit")
FEW: dict[str, Any] = {"iterations": 6, "depth": 3, "verbose": False, "allow_writing_files": False, "thread_count": 1}
CATEGORIES = ["venue", "hour"]


def fitted(kind: Any, labels: Any, **options: Any) -> Any:
    return kind(**FEW, cat_features=CATEGORIES, **options).fit(SEEN, labels)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.where(SCORE > 0.6, "up", "down"), ("down", "up")),
        (np.where(SCORE > 0.6, 7, 3), (3, 7)),
        (np.asarray(SCORE > 0.6), (False, True)),
        (np.where(SCORE > 0.6, 1.5, 0.5), (0.5, 1.5)),
        (np.digitize(SCORE, [0.2, 0.9]) * 10, (0, 10, 20)),
        (np.array(["a", "b", "c"])[np.digitize(SCORE, [0.2, 0.9])], ("a", "b", "c")),
    ],
)
def test_classes_are_those_of_the_labels(labels: Any, classes: tuple[Any, ...], tmp_path: Path) -> None:
    model = fitted(catboost.CatBoostClassifier, labels)
    loaded = store(model, "catboost", tmp_path).predictor
    assert loaded.classes == classes
    assert [type(label) for label in loaded.classes] == [type(label) for label in classes]
    np.testing.assert_array_equal(loaded.predict(ROWS), model.predict(ROWS).ravel())
    np.testing.assert_array_equal(loaded.predict_proba(ROWS), model.predict_proba(ROWS))
    assert loaded.outputs(loaded.prepare(ROWS)).labels().tolist() == model.predict(ROWS).ravel().tolist()


@pytest.mark.parametrize("loss", ["MultiClassOneVsAll", "CrossEntropy", "Logloss"])
def test_a_classifier_of_each_loss_predicts_as_at_home(loss: str, tmp_path: Path) -> None:
    model = fitted(catboost.CatBoostClassifier, (SCORE > 0.6).astype(int), loss_function=loss)
    loaded = store(model, "catboost", tmp_path).predictor
    np.testing.assert_array_equal(loaded.predict(ROWS), model.predict(ROWS).ravel())
    np.testing.assert_array_equal(loaded.predict_proba(ROWS), model.predict_proba(ROWS))


@pytest.mark.parametrize("loss", ["Poisson", "Tweedie:variance_power=1.5", "Quantile:alpha=0.9", "MAE"])
def test_a_regressor_of_each_loss_predicts_as_at_home(loss: str, tmp_path: Path) -> None:
    model = fitted(catboost.CatBoostRegressor, np.exp(SCORE), loss_function=loss)
    np.testing.assert_array_equal(store(model, "catboost", tmp_path).predictor.predict(ROWS), model.predict(ROWS))


def test_the_threshold_of_a_classifier_is_kept(tmp_path: Path) -> None:
    model = fitted(catboost.CatBoostClassifier, np.where(SCORE > 0.6, "up", "down"))
    before = model.predict(ROWS)
    model.set_probability_threshold(0.97)
    assert not np.array_equal(model.predict(ROWS), before)
    np.testing.assert_array_equal(store(model, "catboost", tmp_path).predictor.predict(ROWS), model.predict(ROWS))


def test_a_plain_catboost_predicts_as_the_estimator_for_its_loss(tmp_path: Path) -> None:
    labels = np.where(SCORE > 0.6, "up", "down")
    model = catboost.CatBoost({**FEW, "cat_features": CATEGORIES, "loss_function": "Logloss"}).fit(SEEN, labels)
    stored = store(model, "catboost", tmp_path)
    assert stored.framework.endswith(", CatBoost")
    expected = fitted(catboost.CatBoostClassifier, labels)
    np.testing.assert_array_equal(stored.predictor.predict(ROWS), expected.predict(ROWS))


@pytest.mark.parametrize(("name", "several"), [("MultiRMSE", SCORE), ("MultiLogloss", (SCORE > 0.6).astype(int))])
def test_several_numbers_for_each_row_cannot_be_compared(name: str, several: Any, tmp_path: Path) -> None:
    kind = catboost.CatBoostClassifier if name == "MultiLogloss" else catboost.CatBoostRegressor
    model = fitted(kind, np.column_stack([several, several]), loss_function=name)
    loaded = store(model, "catboost", tmp_path).predictor
    np.testing.assert_array_equal(loaded.predict(ROWS), model.predict(ROWS))
    with pytest.raises(ValueError, match=r"expected one number per row"):
        loaded.outputs(loaded.prepare(ROWS))


def test_a_sum_of_models_predicts_raw_scores(tmp_path: Path) -> None:
    parts = [fitted(catboost.CatBoostRegressor, SCORE * factor) for factor in (1, 2)]
    summed = catboost.sum_models(parts)
    np.testing.assert_array_equal(store(summed, "catboost", tmp_path).predictor.predict(ROWS), summed.predict(ROWS))


@pytest.mark.parametrize("kind", [int, float, str, object, "category", "Int64", "uint8"])
def test_a_category_is_the_same_in_each_type(kind: Any, tmp_path: Path) -> None:
    model = fitted(catboost.CatBoostRegressor, SCORE + SEEN["hour"])
    loaded = store(model, "catboost", tmp_path).predictor
    table = ROWS.assign(hour=ROWS["hour"].astype(kind))
    np.testing.assert_array_equal(loaded.predict(table), model.predict(ROWS))
    np.testing.assert_array_equal(loaded.predict(table.astype(object).to_numpy()), model.predict(ROWS))


def test_numbers_alone_are_the_columns_in_order(tmp_path: Path) -> None:
    seen = np.column_stack([np.arange(200) % 5, np.linspace(0, 1, 200)])
    table = pd.DataFrame({"code": seen[:, 0].astype(int), "level": seen[:, 1]})
    model = catboost.CatBoostRegressor(**FEW, cat_features=["code"]).fit(table, seen.sum(axis=1))
    loaded = store(model, "catboost", tmp_path).predictor
    np.testing.assert_array_equal(loaded.predict(seen), model.predict(table))
    np.testing.assert_array_equal(loaded.predict(seen.tolist()), model.predict(table))


@pytest.mark.parametrize(
    ("column", "kind", "value", "why"),
    [
        ("venue", object, None, "data: has no 'venue' in row 4; CatBoost has no missing categories"),
        ("venue", "str", None, "data: has no 'venue' in row 4; CatBoost has no missing categories"),
        ("venue", "category", None, "data: has no 'venue' in row 4; CatBoost has no missing categories"),
        ("hour", "Int64", None, "data: has no 'hour' in row 4; CatBoost has no missing categories"),
        ("hour", float, np.nan, "data: has no 'hour' in row 4; CatBoost has no missing categories"),
        ("hour", float, 7.5, "data: has 7.5 in 'hour', but CatBoost takes text and integers as categories"),
        ("hour", float, np.inf, "data: has inf in 'hour', but CatBoost takes text and integers as categories"),
    ],
)
def test_what_is_no_category_is_refused_in_words(column: str, kind: Any, value: Any, why: str, tmp_path: Path) -> None:
    loaded = store(catboost_model("binary"), "catboost", tmp_path).predictor
    table = ROWS.assign(**{column: ROWS[column].astype(kind)})
    table.loc[4, column] = value
    with pytest.raises(InvalidField, match=why):
        loaded.predict(table)


def test_the_reference_says_of_which_kind_categories_are(tmp_path: Path) -> None:
    stored = store(catboost_model("binary"), "catboost", tmp_path)
    known = Signature.of(["venue", "hour"], kinds=[ColumnKind.CATEGORY, ColumnKind.NUMBER])
    loaded = formats()["catboost"].predictor(stored.predictor.raw, stored.signature.completed(known))
    kinds = {column.name: column.kind.value for column in loaded.signature.inputs}
    assert kinds == {"trend": "number", "volume": "number", "venue": "category", "hour": "number"}


@pytest.mark.system
@pytest.mark.filterwarnings("ignore")  # MLflow's own warnings.
def test_mlflow_gives_it_whole_floats_and_text_as_categories(tmp_path: Path) -> None:
    model = catboost_model("binary")
    stored = store(model, "catboost", tmp_path)
    known = Signature.of(CATEGORIES, kinds=[ColumnKind.CATEGORY, ColumnKind.NUMBER])
    signature = stored.signature.completed(known)
    version = replace(
        SKOPS, format="catboost", framework=stored.framework, model_file=stored.path.name, signature=signature
    )
    describe_model(version, tmp_path, "", "")
    loaded = mlflow.pyfunc.load_model(str(tmp_path))
    floats = ROWS.astype({"hour": float})  # MLflow takes no integers for the numbers of its schema.
    np.testing.assert_array_equal(loaded.predict(floats), model.predict(ROWS))


@pytest.mark.parametrize("kind", ["text", "embedding"])
def test_columns_of_texts_and_embeddings_are_refused_in_words(kind: str, tmp_path: Path) -> None:
    words = np.array(["rates rise", "rates fall", "flat"])[np.arange(300) % 3]
    vectors = list(np.random.default_rng(0).normal(size=(300, 3)))
    table = pd.DataFrame({"news": words if kind == "text" else vectors, "level": np.arange(300.0)})
    model = catboost.CatBoostClassifier(**FEW, **{f"{kind}_features": ["news"]}).fit(table, np.arange(300) % 2)
    with pytest.raises(InvalidField, match=f"it has columns of {kind}s, which are not supported"):
        formats()["catboost"].save(model, tmp_path / "model.cbm")


@pytest.mark.system
def test_prediction_writes_nothing_and_starts_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = store(catboost_model("regression"), "catboost", tmp_path).predictor
    (empty := tmp_path / "empty").mkdir()
    monkeypatch.chdir(empty)
    # Other threads of this process may begin meanwhile, but not each time.
    assert min(_threads_begun_by(lambda: loaded.predict(ROWS)) for _ in range(10)) <= 0
    assert list(empty.iterdir()) == []


def _threads_begun_by(call: Callable[[], object]) -> int:
    """Return how many threads more there are at most during calls, besides the one that counts them."""
    before, seen, ended = _threads(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.0005):
            seen.append(_threads())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(20):
        call()
    ended.set()
    watcher.join()
    assert max(seen) > 0
    return max(seen) - before - 1


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _trees(content: bytes) -> Table:
    core = memoryview(content)[8 : 8 + int.from_bytes(content[4:8], "little")]
    trees = Table.root(core).table(TREES)
    assert trees is not None
    return trees


def _with(field: int, dtype: Any, value: Any, at: int = 0) -> Callable[[bytes], bytes]:
    """Return a function that changes one number of a vector of the trees."""

    def change(content: bytes) -> bytes:
        vector = _trees(content).vector(field, dtype)
        begin = vector.__array_interface__["data"][0] - np.frombuffer(content, np.uint8).__array_interface__["data"][0]
        place = begin + at * vector.itemsize
        return content[:place] + np.array(value, vector.dtype).tobytes() + content[place + vector.itemsize :]

    return change


def _nested(content: bytes) -> bytes:
    begin = content.index(b'{"detailed_profile"')
    return content[:begin] + b"[" * 200 + content[begin + 200 :]


def _empty_bucket(content: bytes) -> bytes:
    return content.replace(b"\xff" * 8, b"\x01" * 8)


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        ("binary", lambda content: content[:-1], "is longer than the file"),
        ("binary", lambda content: content + b"\0", "has 1 bytes after its last part"),
        ("binary", lambda content: content[:100], "the file has 100 bytes, but says that"),
        ("binary", lambda content: content.replace(b"Model_v1", b"Model_v2"), "the file's format is"),
        ("binary", lambda content: content.replace(b"static_provider", b"another_provide"), "which are not checked"),
        ("binary", _with(SPLITS, "<i4", 1_000_000), "a split of the trees holds 1000000, which is not between 0 and"),
        ("binary", _with(SPLITS, "<i4", -1), "a split of the trees holds -1"),
        ("binary", _with(SIZES, "<i4", 31), "a size of the trees holds 31, which is not between 0 and 30"),
        ("binary", _with(SIZES, "<i4", 30), "the sizes of the trees are not those of their splits"),
        ("binary", _with(STARTS, "<i4", 5), "the sizes of the trees are not those of their splits"),
        ("regression", _with(NODES, [("left", "<u2"), ("right", "<u2")], (9999, 1)), "one that is not in its tree"),
        ("binary", _nested, "params in the file is nested deeper than 100 levels"),
        ("binary", _empty_bucket, "a table of statistics has no empty bucket"),
    ],
)
def test_a_file_of_catboost_with_a_wrong_number_is_refused(
    kind: str, change: Callable[[bytes], bytes], why: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.cbm"
    formats()["catboost"].save(catboost_model(kind), path)
    with pytest.raises(InvalidField, match=why):
        check_structure(change(path.read_bytes()))


UNCHECKED = """
import catboost
from modelward.formats.catboost import CatboostFormat

class Unchecked(CatboostFormat):
    name = "unchecked"

    def takes(self, model):
        return False

    def recognises(self, path):
        return path.read_bytes()[:4] == b"RAW1"

    def check(self, path):
        pass

    def load(self, path, trusted=()):
        return catboost.CatBoost().load_model(blob=b"CBM1" + path.read_bytes()[4:])

FORMAT = Unchecked()
"""


@pytest.fixture
def unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A format of CatBoost's files without the check, installed for this process."""
    (metadata := tmp_path / "site" / "unchecked-1.0.dist-info").mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: unchecked\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[modelward.formats]\nunchecked = unchecked_format:FORMAT\n")
    (metadata.parent / "unchecked_format.py").write_text(UNCHECKED)
    monkeypatch.syspath_prepend(metadata.parent)
    formats.cache_clear()
    yield metadata.parent
    formats.cache_clear()


@pytest.mark.system
def test_a_file_that_crashes_the_library_is_unusable_and_the_server_stays_up(unchecked: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.cbm"
    formats()["catboost"].save(catboost_model("binary"), path)
    content = path.read_bytes()
    hostile = _with(SPLITS, "<i4", 2**31 - 1)(content)
    env = {"PYTHONPATH": os.pathsep.join([str(unchecked), os.environ.get("PYTHONPATH", "")])}
    server = ServerProcess(tmp_path / "data", tmp_path / "log", env=env)
    with Client(server.target) as client:

        def tried(file: bytes) -> str:
            path.write_bytes(file)
            version = client.register("spx", path)
            eventually(lambda: (trial := client.get_version(version).trial) and trial.result is not TrialResult.PENDING)
            trial = client.get_version(version).trial
            assert trial is not None
            return f"{version.format} {trial.result}: {trial.reason}"

        assert tried(hostile).startswith("catboost unusable: raised InvalidField: model: a split of the trees holds")
        assert tried(b"RAW1" + hostile[4:]) == "unchecked unusable: crashed its process (SIGSEGV)"
        assert tried(b"RAW1" + content[4:]) == "unchecked usable: "
        assert tried(content) == "catboost usable: "
    server.kill()
