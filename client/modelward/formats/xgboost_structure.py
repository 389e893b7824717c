"""Check the structure of a file of XGBoost before it reaches a loader that is not safe against hostile files.

A tree is arrays with one value for each node: the children of a leaf are -1, and a node that pruning removed is a leaf
that nothing reaches. The loader and the prediction take indices and counts as they are written.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.formats.tree_structure import MAX_CLASSES, check_range, check_walk, refuse
from modelward.formats.xgboost_document import Document, count, floats, integers, member, read_document

TREE_BOOSTERS = ("gbtree", "dart")
MAX_FEATURES = 1_000_000
MAX_CATEGORY = 2**24
"""The library keeps categories as float32, which tells integers up to here apart."""
MAX_CATEGORY_BYTES = 256 << 20
"""For the sets of categories of all trees, which the library keeps as one bit for each category up to the greatest."""
NO_NODE = 2**31 - 1
"""The parent of the root, and the feature of a removed node."""
FEATURE_TYPES = {"int", "i", "float", "q", "c"}
FLOATS = ("base_weights", "loss_changes", "split_conditions", "sum_hessian")
INTEGERS = ("left_children", "right_children", "parents", "split_indices", "default_left", "split_type")
Nodes = dict[str, NDArray[Any]]


def check_structure(content: bytes) -> Document:
    """Check the counts, each tree, and the categories.

    Args:
        content: the file's.

    Returns:
        What it holds.

    Raises:
        InvalidField: the loader would trust a number that is wrong, or the model is not one that is read here.
    """
    document = read_document(content)
    learner = member(document, "learner", dict, "the file")
    version = integers(document, "version", "the file")
    if len(version) != 3 or version.min() < 0:
        refuse("the file has no version of three numbers")
    width, groups = _check_learner(learner)
    rounds = _check_booster(member(learner, "gradient_booster", dict, "the learner"), width, groups)
    _check_attributes(learner.get("attributes", {}), rounds)
    return document


def tree_model(booster: Document) -> Document:
    """Return what a booster's trees are in; dart keeps it in a booster of its own.

    Args:
        booster: the learner's.

    Raises:
        InvalidField: there is none.
    """
    holder = member(booster, "gbtree", dict, "the booster") if booster.get("name") == "dart" else booster
    model: Document = member(holder, "model", dict, "the booster")
    return model


def _check_learner(learner: Document) -> tuple[int, int]:
    """Check what is said of columns and outputs, and return how many there are of each."""
    parameters = member(learner, "learner_model_param", dict, "the learner")
    width, classes = (count(parameters, name, "the learner") for name in ("num_feature", "num_class"))
    targets = count(parameters, "num_target", "the learner") if "num_target" in parameters else 1
    if not 1 <= width <= MAX_FEATURES:
        refuse(f"the learner has {width} features")
    if max(classes, targets) > MAX_CLASSES or min(classes, targets) > 1:
        refuse(f"the learner has {classes} classes and {targets} targets")
    _check_base_score(member(parameters, "base_score", str, "the learner"), max(classes, targets, 1))
    _check_objective(member(learner, "objective", dict, "the learner"), classes)
    _check_texts(learner.get("feature_names", []), width, "feature_names")
    types = _check_texts(learner.get("feature_types", []), width, "feature_types")
    if unknown := set(types) - FEATURE_TYPES:
        refuse(f"the learner has the feature type {min(unknown)[:20]!r}")
    return width, max(classes, targets, 1)


def _check_texts(values: Any, width: int, name: str) -> Sequence[str]:
    if not isinstance(values, list) or len(values) not in {0, width} or not all(isinstance(v, str) for v in values):
        refuse(f"{name} is not a list of {width} texts, one for each feature")
    return values


def _check_base_score(text: str, groups: int) -> None:
    """Check the prediction of no tree: a number, or a list with one number for each output."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    values = found if isinstance(found, list) else [found]
    if len(values) not in {1, groups} or not all(type(value) in {int, float} for value in values):
        refuse(f"the learner has base_score={text[:40]!r} for {groups} outputs")


def _check_objective(objective: Document, classes: int) -> None:
    name = member(objective, "name", str, "the objective")
    if not name.startswith("multi:"):
        return
    parameters = member(objective, "softmax_multiclass_param", dict, "the objective")
    if count(parameters, "num_class", "the objective") != classes or not classes:
        refuse(f"the objective {name!r} has another number of classes than the learner, which has {classes}")


def _check_attributes(attributes: Any, rounds: int) -> None:
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        refuse("the attributes of the learner are not texts")
    if "best_iteration" in attributes:
        check_range(np.array([count(attributes, "best_iteration", "the learner")]), 0, rounds - 1, "best_iteration")


def _check_booster(booster: Document, width: int, groups: int) -> int:
    """Check the trees, and return the number of iterations."""
    name = member(booster, "name", str, "the booster")
    if name not in TREE_BOOSTERS:
        refuse(f"the booster is {name[:20]!r}; only boosters of trees are read: {' and '.join(TREE_BOOSTERS)}")
    model = tree_model(booster)
    trees = member(model, "trees", list, "the model")
    if name == "dart" and len(floats(booster, "weight_drop", "the booster")) != len(trees):
        refuse(f"the booster has more or fewer weights than its {len(trees)} trees")
    rounds = _check_counts(model, len(trees), groups)
    _check_trees(trees, width)
    if "cats" in model:
        _check_encodings(member(model, "cats", dict, "the model"), width)
    return rounds


def _check_counts(model: Document, trees: int, groups: int) -> int:
    """Check how the trees belong to iterations and outputs, and return the number of iterations."""
    parameters = member(model, "gbtree_model_param", dict, "the model")
    parallel, info = count(parameters, "num_parallel_tree", "the model"), integers(model, "tree_info", "the model")
    if not count(parameters, "num_trees", "the model") == trees == len(info) or not parallel:
        refuse(f"the model has {trees} trees, but num_trees, num_parallel_tree or tree_info has another count")
    check_range(info, 0, groups - 1, "tree_info")
    if "iteration_indptr" not in model:
        if parallel * groups > trees or trees % (parallel * groups):
            refuse("the model has trees of an iteration that is not complete")
        return trees // (parallel * groups)
    begins = integers(model, "iteration_indptr", "the model").astype(np.int64)
    if not len(begins) or begins[0] != 0 or begins[-1] != trees or (np.diff(begins) < 0).any():
        refuse(f"iteration_indptr does not go from 0 to the {trees} trees")
    return len(begins) - 1


def _check_trees(trees: list[Any], width: int) -> None:
    category_bytes = 0
    for number, tree in enumerate(trees):
        if not isinstance(tree, dict) or tree.get("id") != number or type(tree["id"]) is not int:
            refuse(f"tree {number} has another id")
        category_bytes += _check_tree(tree, f"tree {number}", width)
        if category_bytes > MAX_CATEGORY_BYTES:
            refuse(f"the sets of categories need more than {MAX_CATEGORY_BYTES >> 20} MiB")


def _check_tree(tree: Document, where: str, width: int) -> int:
    """Check one tree, and return the bytes that its sets of categories need."""
    parameters = member(tree, "tree_param", dict, where)
    nodes, removed = count(parameters, "num_nodes", where), count(parameters, "num_deleted", where)
    if count(parameters, "size_leaf_vector", where) > 1:
        refuse(f"{where} has leaves of several numbers; train with multi_strategy='one_output_per_tree'")
    if count(parameters, "num_feature", where) != width:
        refuse(f"{where} has num_feature={parameters['num_feature']}, but the learner has {width}")
    values = {name: integers(tree, name, where) for name in INTEGERS}
    lengths = {name: len(array) for name, array in (values | {n: floats(tree, n, where) for n in FLOATS}).items()}
    if wrong := [name for name, length in lengths.items() if length != nodes or not nodes]:
        refuse(f"{where} has {lengths[wrong[0]]} values of {wrong[0]} for num_nodes={nodes}")
    _check_nodes(values, nodes, removed, width, where)
    return _check_categories(tree, values["split_type"], where)


def _check_nodes(values: Nodes, nodes: int, removed: int, width: int, where: str) -> None:
    """Check that the nodes that are not removed are one tree, on features that there are."""
    left, right = (values[name].astype(np.int64) for name in ("left_children", "right_children"))
    check_range(values["left_children"], -1, nodes - 1, f"left_children of {where}")
    check_range(values["right_children"], -1, nodes - 1, f"right_children of {where}")
    (inner,) = np.nonzero(left >= 0)
    if not np.array_equal(left >= 0, right >= 0):
        refuse(f"{where} has a node with one child")
    if len(check_walk(left, right, where)) != 2 * (len(inner) + 1) or nodes != 2 * len(inner) + 1 + removed:
        refuse(f"{where} has nodes that are not reached, beside the {removed} that were removed")
    check_range(values["split_indices"][inner], 0, width - 1, f"split_indices of {where}")
    for name in ("default_left", "split_type"):
        check_range(values[name], 0, 1, f"{name} of {where}")
    _check_parents(values["parents"], left, right, inner, where)


def _check_parents(
    parents: NDArray[Any], left: NDArray[np.int64], right: NDArray[np.int64], inner: NDArray[Any], where: str
) -> None:
    allowed = parents[1:][parents[1:] != NO_NODE]
    check_range(allowed, 0, len(parents) - 1, f"parents of {where}")
    if parents[0] != NO_NODE or (parents[left[inner]] != inner).any() or (parents[right[inner]] != inner).any():
        refuse(f"{where} has parents that do not agree with the children")


def _check_categories(tree: Document, types: NDArray[Any], where: str) -> int:
    """Check that each split on categories has one set of them, and return the bytes that the sets need."""
    nodes, begins, sizes, categories = (
        integers(tree, name, where).astype(np.int64)
        for name in ("categories_nodes", "categories_segments", "categories_sizes", "categories")
    )
    if not np.array_equal(nodes, np.nonzero(types)[0]):
        refuse(f"{where} has categories_nodes that are not its splits on categories")
    check_range(categories, 0, MAX_CATEGORY - 1, f"categories of {where}")
    check_range(sizes, 1, len(categories), f"categories_sizes of {where}")
    ends = np.cumsum(sizes)
    if len(sizes) != len(nodes) or not np.array_equal(begins, ends - sizes) or sizes.sum() != len(categories):
        refuse(f"{where} has categories_segments that are not those of its {len(categories)} categories")
    greatest = np.maximum.reduceat(categories, begins) if len(begins) else categories
    return int((greatest // 8 + 4).sum())


def _check_encodings(cats: Document, width: int) -> None:
    """Check the categories of a data frame."""
    encodings = member(cats, "enc", list, "the categories")
    if len(encodings) not in {0, width}:
        refuse(f"the categories are of {len(encodings)} features instead of {width}")
    sizes = [_check_encoding(encoding) for encoding in encodings]
    begins, order = (integers(cats, name, "the categories") for name in ("feature_segments", "sorted_idx"))
    ends = np.cumsum([0, *sizes])
    if not np.array_equal(begins, ends) and (len(begins) or ends[-1]):
        refuse("the categories have feature_segments that are not theirs")
    expected = np.concatenate([np.empty(0, np.int64), *map(np.arange, sizes)])
    if len(order) and not (len(order) == len(expected) and _is_permuted(order, expected, sizes)):
        refuse("the categories have sorted_idx that is no order of each feature's")


def _is_permuted(order: NDArray[Any], expected: NDArray[Any], sizes: Sequence[int]) -> bool:
    """Return whether each feature's part has the same values as the expected one."""
    feature = np.repeat(np.arange(len(sizes)), sizes)
    return np.array_equal(order[np.lexsort((order, feature))], expected)


def _check_encoding(encoding: Any) -> int:
    """Check the categories of one feature, and return how many there are."""
    if not isinstance(encoding, dict):
        refuse("the categories of a feature are no object")
    values = integers(encoding, "values", "the categories")
    if "offsets" not in encoding:
        member(encoding, "type", int, "the categories")
        return len(values)
    offsets = integers(encoding, "offsets", "the categories").astype(np.int64)
    check_range(values, -128, 255, "the text of categories")
    if len(offsets) and (offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any()):
        refuse(f"the categories of a feature have offsets that do not divide their {len(values)} bytes of text")
    return max(len(offsets) - 1, 0)
