"""Files of XGBoost: what is kept of a model, and what is refused before the library reads it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from modelward.errors import InvalidField
from modelward.formats import format_of_file, formats
from modelward.signature import Signature
from tests.support.booster_models import LABELS, SEEN, frame, store, xgboost_model

FRAME = frame()
MODEL = "learner.gradient_booster.model"
XGBOOST_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "dart": ("regression", {"booster": "dart", "rate_drop": 0.5}),
    "multi:softmax": ("multiclass", {"objective": "multi:softmax"}),
    "binary:hinge": ("binary", {"objective": "binary:hinge"}),
    "rank:pairwise": ("ranker", {"objective": "rank:pairwise"}),
    "forest": ("multiclass", {"num_parallel_tree": 3}),
}


@pytest.mark.parametrize("case", XGBOOST_KINDS)
def test_models_of_xgboost_of_all_kinds_predict_as_xgboost_does(case: str, tmp_path: Path) -> None:
    kind, options = XGBOOST_KINDS[case]
    model = xgboost_model(kind, **options)
    loaded = store(model, "xgboost", tmp_path).predictor
    np.testing.assert_array_equal(loaded.predict(FRAME), model.predict(FRAME))
    if kind in LABELS:
        np.testing.assert_allclose(loaded.predict_proba(FRAME), model.predict_proba(FRAME), rtol=1e-6)


def test_nodes_that_xgboost_removed_are_no_error(tmp_path: Path) -> None:
    model = xgboost.XGBRegressor(n_estimators=3, tree_method="exact", gamma=3).fit(SEEN[["trend"]], SEEN["volume"])
    assert b'"num_deleted":"0"' not in bytes(model.get_booster().save_raw("json"))
    loaded = store(model, "xgboost", tmp_path).predictor
    np.testing.assert_array_equal(loaded.predict(FRAME), model.predict(FRAME[["trend"]]))


def test_the_best_iteration_of_xgboost_is_used(tmp_path: Path) -> None:
    model = xgboost_model("regression")
    every = model.predict(FRAME)
    model.get_booster().best_iteration = 3
    assert not np.array_equal(model.predict(FRAME), every)
    np.testing.assert_array_equal(store(model, "xgboost", tmp_path).predictor.predict(FRAME), model.predict(FRAME))


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_the_classes_of_xgboost_are_those_of_the_signature(kind: str, tmp_path: Path) -> None:
    model = xgboost_model(kind)
    known, own = formats()["xgboost"], store(model, "xgboost", tmp_path).predictor
    loaded = known.predictor(own.raw, Signature.of(classes=LABELS[kind].tolist()))
    np.testing.assert_array_equal(loaded.predict(FRAME), LABELS[kind][model.predict(FRAME)])


def test_a_json_file_of_xgboost_predicts_as_a_ubj_file(tmp_path: Path) -> None:
    model, known = xgboost_model("multiclass"), formats()["xgboost"]
    path = tmp_path / "champion"
    path.write_bytes(model.get_booster().save_raw("json"))
    assert format_of_file(path) is known
    known.check(path)
    np.testing.assert_array_equal(known.predictor(known.load(path), None).predict(FRAME), model.predict(FRAME))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"booster": "gblinear", "enable_categorical": False}, "the booster is 'gblinear'"),
        ({"multi_strategy": "multi_output_tree"}, "tree 0 has leaves of several numbers"),
        ({"missing": -1}, "its file does not keep missing=-1"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*are not used")
def test_what_a_file_of_xgboost_cannot_hold_is_refused(tmp_path: Path, options: dict[str, Any], why: str) -> None:
    model = xgboost.XGBRegressor(n_estimators=2, **options)
    seen = SEEN[["volume", "hour"]]
    with pytest.raises((InvalidField, ValueError), match=why):
        store(model.fit(seen, seen if "multi_strategy" in options else seen["hour"]), "xgboost", tmp_path)


def test_a_slice_of_a_booster_which_has_no_categories_is_refused(tmp_path: Path) -> None:
    booster = xgboost_model("regression").get_booster()[:3]
    with pytest.raises(ValueError, match="does not keep the categories of column 2, but takes their codes"):
        store(booster, "xgboost", tmp_path)


def test_codes_of_categories_are_taken_as_numbers(tmp_path: Path) -> None:
    codes, seen = (table.assign(venue=table["venue"].cat.codes.clip(0)) for table in (FRAME, SEEN))
    model = xgboost_model("regression", seen, feature_types=["float", "float", "c", "int"])
    loaded = store(model, "xgboost", tmp_path).predictor
    np.testing.assert_array_equal(loaded.predict(codes), model.predict(codes))
    with pytest.raises(InvalidField, match="has text in the column 'venue', where the model takes numbers"):
        loaded.predict(FRAME)


def test_a_booster_without_names_takes_those_of_the_reference(tmp_path: Path) -> None:
    matrix = SEEN[["trend", "volume"]].to_numpy()
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(matrix, SEEN["hour"]), 5)
    own = store(booster, "xgboost", tmp_path).predictor
    expected = booster.predict(xgboost.DMatrix(matrix))
    np.testing.assert_array_equal(own.predict(matrix), expected)
    loaded = formats()["xgboost"].predictor(own.raw, Signature.of(["a", "b"]))
    np.testing.assert_array_equal(loaded.predict({"b": matrix[:, 1], "a": matrix[:, 0]}), expected)


@cache
def saved(kind: str) -> bytes:
    """Return a file with categories and three classes."""
    return bytes(xgboost_model("multiclass").get_booster().save_raw(kind))


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (f"{MODEL}.trees.0.left_children.0", 0, "reached twice"),
        (f"{MODEL}.trees.0.left_children.0", 900, "left_children of tree 0 holds 900"),
        (f"{MODEL}.trees.0.right_children.0", -1, "tree 0 has a node with one child"),
        (f"{MODEL}.trees.0.right_children.0", -2, "right_children of tree 0 holds -2"),
        (f"{MODEL}.trees.0.split_indices.0", 4, "split_indices of tree 0 holds 4, which is not between 0 and 3"),
        (f"{MODEL}.trees.0.parents.1", 2, "parents that do not agree"),
        (f"{MODEL}.trees.0.parents.1", -5, "parents of tree 0 holds -5"),
        (f"{MODEL}.trees.0.split_type.0", 1, "categories_nodes that are not its splits"),
        (f"{MODEL}.trees.0.default_left.0", 3, "default_left of tree 0 holds 3"),
        (f"{MODEL}.trees.0.default_left.0", 0.5, "default_left with something that is no number of its kind"),
        (f"{MODEL}.trees.0.categories.0", 2**30, "categories of tree 0 holds"),
        (f"{MODEL}.trees.0.categories_sizes.0", 2**40, "categories_sizes of tree 0 holds"),
        (f"{MODEL}.trees.0.categories_segments.0", 7, "categories_segments that are not those"),
        (f"{MODEL}.trees.0.base_weights", [1.0], "1 values of base_weights for num_nodes="),
        (f"{MODEL}.trees.0.tree_param.num_nodes", "900000", "for num_nodes=900000"),
        (f"{MODEL}.trees.0.tree_param.num_deleted", "2", "nodes that are not reached"),
        (f"{MODEL}.trees.0.tree_param.num_feature", "9", "num_feature=9, but the learner has 4"),
        (f"{MODEL}.trees.0.id", 1, "tree 0 has another id"),
        (f"{MODEL}.tree_info.0", 3, "tree_info holds 3"),
        (f"{MODEL}.gbtree_model_param.num_trees", "99", "the model has 24 trees"),
        (f"{MODEL}.iteration_indptr.1", 25, "iteration_indptr does not go from 0 to the 24 trees"),
        (f"{MODEL}.cats.enc.2.offsets.1", 99, "offsets that do not divide"),
        (f"{MODEL}.cats.feature_segments.3", 99, "feature_segments that are not theirs"),
        (f"{MODEL}.cats.sorted_idx.0", 99, "sorted_idx that is no order"),
        ("learner.learner_model_param.num_class", "2", "base_score=.* for 2 outputs"),
        ("learner.learner_model_param.num_feature", "999999999", "the learner has 999999999 features"),
        ("learner.learner_model_param.base_score", "[1, 2]", "base_score='.1, 2.' for 3 outputs"),
        ("learner.objective.softmax_multiclass_param.num_class", "9", "another number of classes"),
        ("learner.feature_names.0", 7, "feature_names is not a list of 4 texts"),
        ("learner.feature_types.0", "text", "the feature type 'text'"),
        ("learner.attributes.best_iteration", "8", "best_iteration holds 8"),
        ("learner.attributes.other", [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]], "objects in more than 16 levels"),
    ],
)
def test_a_file_of_xgboost_with_a_wrong_number_is_refused(tmp_path: Path, place: str, value: Any, why: str) -> None:
    document = holder = json.loads(saved("json"))
    *way, last = [int(step) if step.isdigit() else step for step in place.split(".")]
    for step in way:
        holder = holder[step]
    holder[last] = value
    path = tmp_path / "model"
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidField, match=why):
        formats()["xgboost"].check(path)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"learner_model_param{", b"learner_model_param[", "an array without a length"),
        (b"parents[$l#L" + bytes(7), b"parents[$l#L\x7f" + bytes(6), "beyond its end"),
        (b"parents[$l#L", b"parents[$Q#L", "has the kind b'Q'"),
        (b"default_left", b"left_childre", "has no default_left"),
        (b"attributes{}", b"attributes{" + b"L" + bytes(8) + b"[#L" + bytes(7) + b"\1" * 1, "kind|beyond|cut off"),
        (b"feature_types", b"feature_names", "has 'feature_names' twice in one object"),
    ],
)
def test_a_ubj_file_that_is_read_differently_is_refused(tmp_path: Path, old: bytes, new: bytes, why: str) -> None:
    path, content = tmp_path / "model", saved("ubj")
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(InvalidField, match=why):
        formats()["xgboost"].check(path)
