"""Boosters predict as their own library does, from tables of any kind, and their files say what they need."""

import importlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import pyarrow as pa
import pytest
import xgboost
from sklearn.linear_model import LinearRegression

from modelward import Client
from modelward.errors import InvalidField
from modelward.formats import format_of_file, format_of_object, formats
from modelward.lifecycle import ModelVersion
from modelward.signature import ColumnKind, Signature
from modelward_server.mlflow.mlmodel import describe_model
from tests.support.booster_models import KINDS, LABELS, MODELS, frame, frame_for, lightgbm_model, store, target
from tests.support.comparison_models import SKOPS
from tests.support.forked_server import ForkedServer
from tests.support.hostile_files import changed, sized
from tests.support.scale import FULL
from tests.support.waiting import eventually

FRAME = frame()
FRAMES = {name: frame_for(name) for name in MODELS}
NUMBERED = {"xgboost"}
"""Libraries whose classes are 0, 1, 2, ..."""


@pytest.fixture(params=MODELS)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_a_booster_predicts_as_its_library_does(library: str, kind: str, tmp_path: Path) -> None:
    rows = FRAMES[library]
    model = MODELS[library](kind)
    loaded = store(model, library, tmp_path).predictor
    expected = np.asarray(model.predict(rows)).ravel()
    np.testing.assert_array_equal(loaded.predict(rows), expected)
    np.testing.assert_array_equal(loaded.predict(pa.Table.from_pandas(rows)), expected)
    columns = {name: rows[name].astype(object).tolist() for name in ("venue", "hour", "trend", "volume")}
    np.testing.assert_array_equal(loaded.predict(columns | {"note": ["unused"] * len(rows)}), expected)
    np.testing.assert_array_equal(loaded.predict(rows[:1]), expected[:1])
    assert hasattr(loaded, "predict_proba") == (kind in {"binary", "multiclass"})
    if hasattr(loaded, "predict_proba"):
        np.testing.assert_array_equal(loaded.predict_proba(rows), model.predict_proba(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_a_booster_gives_the_outputs_that_are_compared(library: str, kind: str, tmp_path: Path) -> None:
    rows = FRAMES[library]
    model = MODELS[library](kind)
    loaded = store(model, library, tmp_path).predictor
    found = loaded.outputs(loaded.prepare(pa.Table.from_pandas(rows)))
    np.testing.assert_array_equal(found.labels(), np.asarray(model.predict(rows)).ravel())
    assert (found.classes is None) == (kind not in {"binary", "multiclass"})


def test_the_signature_has_columns_and_classes(library: str, tmp_path: Path) -> None:
    rows = FRAMES[library]
    stored = store(MODELS[library]("binary"), library, tmp_path)
    assert stored.signature.names == ("trend", "volume", "venue", "hour")
    assert stored.predictor.signature.inputs[2].kind is ColumnKind.CATEGORY
    assert stored.signature.classes == stored.predictor.classes == ((0, 1) if library in NUMBERED else ("down", "up"))
    assert stored.framework.startswith(f"{library} ")
    with pytest.raises(InvalidField, match="has no column 'venue'"):
        stored.predictor.predict(rows.drop(columns="venue"))


def test_a_booster_and_its_file_are_recognised(library: str, tmp_path: Path) -> None:
    model = MODELS[library]("regression")
    stored = store(model, library, tmp_path)
    assert format_of_object(model) is format_of_object(stored.predictor.raw) is formats()[library]
    assert format_of_object(LinearRegression()) is formats()["skops"]
    renamed = stored.path.rename(tmp_path / "champion.bin")
    assert format_of_file(renamed) is formats()[library]


CHANGED = 150 if FULL else 30


def test_what_the_loader_would_trust_is_checked(library: str, tmp_path: Path) -> None:
    stored = store(MODELS[library]("binary"), library, tmp_path)
    content, known = stored.path.read_bytes(), formats()[library]
    refused = 0
    for seed in range(CHANGED):
        stored.path.write_bytes(changed(content, seed))
        try:
            known.check(stored.path)
        except (InvalidField, ValueError):
            refused += 1
    assert refused > CHANGED / 3


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("left_child", "0 -1 -2 -3 -4 -5 -6 -7", "does not reach|reached twice"),
        ("right_child", "1 2 3 4 5 6 7 90", "right_child of tree 0 holds 90"),
        ("split_feature", "0 1 2 3 4 0 1 2", "split_feature of tree 0 holds 4.0, which is not between 0 and 3"),
        ("num_leaves", "900000", "tree 0 has 8 values of .* instead of 899999"),
        ("num_cat", "1000000", "values of cat_boundaries for num_cat=1000000"),
        ("leaf_value", "1 2 3", "tree 0 has 3 values of leaf_value instead of 9"),
        ("num_class", "3", "the header has 3 classes and 1 trees in each iteration"),
        ("feature_names", "a b", "the header has 2 feature names"),
        ("objective", "multiclass num_class:50", "but the header has 1 classes"),
    ],
)
def test_a_file_of_lightgbm_with_a_wrong_number_is_refused(tmp_path: Path, name: str, value: str, why: str) -> None:
    path = store(lightgbm_model("binary"), "lightgbm", tmp_path).path
    text = re.sub(rf"\n{name}=.*", f"\n{name}={value}", path.read_text(), count=1)
    path.write_bytes(sized(text.encode()))
    with pytest.raises(InvalidField, match=why):
        formats()["lightgbm"].check(path)


def test_mlflow_loads_a_booster_by_its_own_flavor(library: str, tmp_path: Path) -> None:
    rows = FRAMES[library]
    model = MODELS[library]("regression")
    stored = store(model, library, tmp_path)
    described = replace(SKOPS, format=library, framework=stored.framework, model_file=stored.path.name)
    describe_model(described, tmp_path, "", "")
    native = importlib.import_module(f"mlflow.{library}").load_model(str(tmp_path))
    table = xgboost.DMatrix(rows, enable_categorical=True) if library == "xgboost" else rows
    np.testing.assert_array_equal(native.predict(table), model.predict(rows))


def test_an_array_in_order_is_taken_as_it_is(library: str, tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).normal(size=(300, 3))
    matrix[::5, 1] = np.nan
    labels = np.nan_to_num(matrix).sum(axis=1)
    plain: dict[str, Any] = {
        "catboost": catboost.CatBoostRegressor(iterations=5, verbose=False, allow_writing_files=False),
        "lightgbm": lightgbm.LGBMRegressor(n_estimators=5, verbose=-1),
        "xgboost": xgboost.XGBRegressor(n_estimators=5),
    }
    model = plain[library].fit(matrix, labels)
    loaded = store(model, library, tmp_path).predictor
    np.testing.assert_array_equal(loaded.predict(matrix), model.predict(matrix))
    np.testing.assert_array_equal(loaded.predict(matrix.tolist()[:1]), model.predict(matrix[:1]))
    assert not loaded.signature.names or loaded.signature.names == ("0", "1", "2")


def test_the_best_iteration_of_lightgbm_is_kept(tmp_path: Path) -> None:
    seen = np.random.default_rng(1).normal(size=(400, 4))
    model = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(seen, seen[:, 0]), 9)
    every = np.asarray(model.predict(seen))
    model.best_iteration = 4
    assert not np.array_equal(np.asarray(model.predict(seen)), every)
    np.testing.assert_array_equal(store(model, "lightgbm", tmp_path).predictor.predict(seen), model.predict(seen))


def test_a_booster_of_lightgbm_without_classes_has_those_of_its_file(tmp_path: Path) -> None:
    booster = lightgbm_model("multiclass").booster_
    loaded = store(booster, "lightgbm", tmp_path).predictor
    np.testing.assert_array_equal(loaded.predict_proba(FRAME), booster.predict(FRAME))
    assert set(loaded.predict(FRAME)) == {0, 1, 2}
    with pytest.raises(ValueError, match="its signature has 2 classes, but the model has 3"):
        formats()["lightgbm"].predictor(booster, Signature.of(classes=("a", "b")))


def test_the_columns_of_a_booster_without_names_are_those_of_the_reference(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).normal(size=(300, 2))
    booster = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(matrix, matrix[:, 0]), 3)
    loaded = formats()["lightgbm"].predictor(booster, Signature.of(["a", "b"]))
    expected = booster.predict(matrix)
    np.testing.assert_array_equal(loaded.predict({"b": matrix[:, 1], "a": matrix[:, 0]}), expected)


@pytest.mark.system
def test_a_server_runs_boosters_in_its_sandbox(tmp_path: Path) -> None:
    server = ForkedServer(tmp_path / "data", tmp_path / "log")
    labels = target("binary", FRAME)
    with Client(server.target) as client:
        for name, make in MODELS.items():
            model, rows = make("binary"), FRAMES[name]
            given = Signature.of(classes=("down", "up")) if name in NUMBERED else None
            first, again = (client.register(name, model, signature=given) for _ in range(2))
            assert first.format == name
            assert first.signature is not None
            assert first.signature.classes == ("down", "up")
            expected = LABELS["binary"][model.predict(rows)] if name in NUMBERED else model.predict(rows)
            np.testing.assert_array_equal(client.load(first).predict(rows), expected)
            _promote(client, first)  # Which the gate `usable` allows.
            with client.follow(name, cache=tmp_path / name) as live:
                _promote(client, again)
                eventually(lambda: live.current.version.version == again.version)  # noqa: B023  # called at once
                np.testing.assert_array_equal(live.current.model.predict(rows), expected)
            compared = client.compare([first, again], rows, labels, metrics=["accuracy"])
            accuracy = float(np.mean(expected == labels))
            assert [result["accuracy"] for result in compared.results] == [pytest.approx(accuracy)] * 2
            (timed,) = client.benchmark([first], rows, seconds=0.2)
            assert (timed.failure, timed[1000].batch_rows) == ("", 1000)
    server.kill()


def _promote(client: Client, version: ModelVersion) -> None:
    client.promote(version, to="staging")
    client.promote(version, to="production", reason="it passed its tests")
