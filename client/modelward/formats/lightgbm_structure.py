"""Check the structure of a LightGBM text file before it reaches a loader that is not safe against hostile files.

The header is lines of `name=value`, and `tree_sizes` has the length of each tree's text in bytes. A tree is lines of
`name=value` up to an empty line: arrays of one value for each inner node or for each leaf. Children are indices of
inner nodes, or `-1 - index` of leaves. The loader takes each count as it is written.
"""

import json
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modelward.formats.tree_structure import MAX_CLASSES, check_range, check_walk, refuse

HEADS = (b"tree\nversion=", b"tree\r\nversion=")
END = b"end of trees"
CATEGORIES = b"pandas_categorical:"
HEADER = {
    b"version",
    b"num_class",
    b"num_tree_per_iteration",
    b"label_index",
    b"max_feature_idx",
    b"objective",
    b"average_output",
    b"feature_names",
    b"monotone_constraints",
    b"feature_infos",
    b"tree_sizes",
    b"tree",
}
"""The names that a header may have."""
INNER = {b"left_child", b"right_child", b"split_feature", b"decision_type", b"internal_count"}
"""Arrays of integers with one for each inner node."""
INNER_FLOATS = {b"threshold", b"split_gain", b"internal_value", b"internal_weight"}
LEAVES = {b"leaf_count", b"num_features"}
LEAF_FLOATS = {b"leaf_value", b"leaf_weight", b"leaf_const"}
OTHERS = {b"cat_boundaries", b"cat_threshold", b"leaf_features", b"leaf_coeff"}
COUNTS = {b"num_leaves", b"num_cat", b"is_linear", b"shrinkage"}
NEEDED = {b"num_leaves", b"num_cat", b"leaf_value"}
NEEDED_INSIDE = {b"left_child", b"right_child", b"split_feature", b"threshold", b"decision_type"}
FLOATS = INNER_FLOATS | LEAF_FLOATS | {b"leaf_coeff", b"shrinkage"}
INTEGER, FLOAT = re.compile(rb"[-0-9 ]*"), re.compile(rb"[-+0-9.einfa ]*")
CATEGORICAL = 1
"""The bit of a decision that is on categories."""
INT32, UINT32 = 2**31 - 1, 2**32 - 1
KEPT_PARAMETERS = re.compile(rb"^\[(?:categorical_feature: [0-9,]*|linear_tree: [01])\]$", re.MULTILINE)
Lines = dict[bytes, bytes]
Values = dict[bytes, NDArray[np.float64]]


def check_structure(content: bytes) -> None:
    """Check the header, and the arrays of each tree.

    Args:
        content: the file's.

    Raises:
        InvalidField: the loader would trust a number that is wrong.
    """
    if not content.startswith(HEADS) or b"\0" in content:
        refuse("the file is not a text file of LightGBM")
    if b"\r" in content:
        refuse("the file has line ends of Windows, with which the sizes of its trees are wrong")
    begin = content.find(b"\nTree=")
    header = _lines(content[: begin if begin >= 0 else content.find(END)], HEADER, "the header")
    width = _check_header(header)
    end = _check_trees(content, begin + 1, _array(header, b"tree_sizes", "the header"), width)
    if not content.startswith(END + b"\n", end):
        refuse(f"after the last tree comes {content[end : end + 20]!r}, and not {END.decode()!r}")
    _check_categories(content, width)


def loadable(content: bytes) -> str:
    """Return the part of a checked file that a loader needs.

    Most parameters of the training are left out: the loader ends the process when it does not know one.

    Args:
        content: the file's.
    """
    trees, _, rest = content.partition(b"\n" + END)
    parameters = b"\n".join(KEPT_PARAMETERS.findall(rest)[:2])
    last = rest.rstrip(b"\n").rpartition(b"\n")[2]
    categories = last if last.startswith(CATEGORIES) else CATEGORIES + b"null"
    tail = b"\n\nparameters:\n" + parameters + b"\n\nend of parameters\n\n" + categories + b"\n"
    return (trees + b"\n" + END + tail).decode()


def _lines(text: bytes, names: set[bytes], where: str) -> Lines:
    """Return the lines by their names."""
    found: Lines = {}
    for line in filter(None, text.split(b"\n")):
        name, _, value = line.partition(b"=")
        if name not in names or name in found:
            refuse(
                f"{where} has the line {line[:40]!r} {'twice' if name in found else 'which LightGBM does not write'}"
            )
        found[name] = value
    return found


def _check_header(header: Lines) -> int:
    """Check the counts of the header, and return the number of features."""
    classes, per_round, last, _ = (
        _count(header, name, "the header")
        for name in (b"num_class", b"num_tree_per_iteration", b"max_feature_idx", b"label_index")
    )
    names, infos = (header.get(name, b"").split(b" ") for name in (b"feature_names", b"feature_infos"))
    if not len(names) == len(infos) == last + 1:
        refuse(f"the header has {len(names)} feature names, {len(infos)} feature infos and max_feature_idx={last}")
    if b"monotone_constraints" in header and len(_array(header, b"monotone_constraints", "the header")) != last + 1:
        refuse("the header has more or fewer monotone constraints than features")
    if classes != per_round or not 1 <= classes <= MAX_CLASSES:
        refuse(f"the header has {classes} classes and {per_round} trees in each iteration")
    if len(_array(header, b"tree_sizes", "the header")) % per_round:
        refuse("the header has trees of an iteration that is not complete")
    _check_objective(header.get(b"objective", b""), classes)
    return last + 1


def _check_objective(objective: bytes, classes: int) -> None:
    name, *options = objective.split(b" ")
    multiple = name.startswith(b"multi")
    named = [option for option in options if option.startswith(b"num_class")]
    if multiple != bool(named) or any(option != b"num_class:%d" % classes for option in named):
        refuse(f"the objective is {objective[:60]!r}, but the header has {classes} classes")
    if not multiple and name and classes > 1:
        refuse(f"the objective {name[:30]!r} gives one number, but the header has {classes} classes")


def _check_trees(content: bytes, begin: int, sizes: NDArray[np.float64], width: int) -> int:
    """Check each tree, and return where they end."""
    check_range(sizes, 1, len(content), "tree_sizes")
    for number, size in enumerate(sizes.astype(np.int64).tolist()):
        head, end = b"Tree=%d\n" % number, begin + size
        if not content.startswith(head, begin) or content[end - 2 : end] != b"\n\n":
            refuse(f"tree {number} is not where tree_sizes says")
        _check_tree(content[begin + len(head) : end].rstrip(b"\n"), f"tree {number}", width)
        begin = end
    return content.find(END) if not len(sizes) else begin


def _check_tree(text: bytes, tree: str, width: int) -> None:
    if b"\n\n" in text:
        refuse(f"{tree} has an empty line within")
    lines = _lines(text, INNER | INNER_FLOATS | LEAVES | LEAF_FLOATS | OTHERS | COUNTS, tree)
    leaves, categories = _count(lines, b"num_leaves", tree), _count(lines, b"num_cat", tree)
    linear = b"is_linear" in lines and _count(lines, b"is_linear", tree) != 0
    _check_present(lines, NEEDED | (NEEDED_INSIDE if leaves > 1 or linear else set()), tree)
    values = {name: _array(lines, name, tree) for name in lines if name not in COUNTS}
    _check_lengths(values, INNER | INNER_FLOATS, leaves - 1, tree)
    _check_lengths(values, LEAVES | LEAF_FLOATS, leaves, tree)
    if leaves > 1:
        _check_nodes(values, leaves, width, tree)
    _check_thresholds(values, categories, tree)
    if linear:
        _check_linear(values, width, tree)


def _check_present(lines: Lines, names: set[bytes], tree: str) -> None:
    if missing := sorted(names - lines.keys()):
        refuse(f"{tree} has no {missing[0].decode()}")


def _check_lengths(values: Values, names: set[bytes], length: int, tree: str) -> None:
    for name in names & values.keys():
        if len(values[name]) != length:
            refuse(f"{tree} has {len(values[name])} values of {name.decode()} instead of {length}")


def _check_nodes(values: Values, leaves: int, width: int, tree: str) -> None:
    """Check that the nodes are one tree with each leaf once, on features that there are."""
    left, right = (values[name].astype(np.int64) for name in (b"left_child", b"right_child"))
    check_range(values[b"left_child"], -leaves, leaves - 2, f"left_child of {tree}")
    check_range(values[b"right_child"], -leaves, leaves - 2, f"right_child of {tree}")
    check_range(values[b"split_feature"], 0, width - 1, f"split_feature of {tree}")
    check_range(values[b"decision_type"], 0, 15, f"decision_type of {tree}")
    if not np.array_equal(np.sort(check_walk(left, right, tree)), np.arange(-leaves, 0)):
        refuse(f"{tree} does not reach each of its {leaves} leaves once")


def _check_thresholds(values: Values, categories: int, tree: str) -> None:
    """Check the sets of categories, and that each decision on categories has one."""
    none = np.empty(0)
    bounds, bits = values.get(b"cat_boundaries", none), values.get(b"cat_threshold", none)
    if len(bounds) != (categories + 1 if categories else 0):
        refuse(f"{tree} has {len(bounds)} values of cat_boundaries for num_cat={categories}")
    if categories and (bounds[0] != 0 or (np.diff(bounds) < 0).any() or bounds[-1] != len(bits)):
        refuse(f"cat_boundaries of {tree} do not divide its {len(bits)} values of cat_threshold")
    check_range(bits, 0, UINT32, f"cat_threshold of {tree}")
    is_category = values.get(b"decision_type", none).astype(np.int64) & CATEGORICAL == CATEGORICAL
    if is_category.any():
        check_range(values[b"threshold"][is_category], 0, categories - 1, f"threshold on categories of {tree}")


def _check_linear(values: Values, width: int, tree: str) -> None:
    """Check the linear models of the leaves."""
    counts, features, factors = (
        values.get(name, np.empty(0)) for name in (b"num_features", b"leaf_features", b"leaf_coeff")
    )
    check_range(counts, 0, width, f"num_features of {tree}")
    check_range(features, 0, width - 1, f"leaf_features of {tree}")
    if (
        b"leaf_const" not in values
        or b"num_features" not in values
        or not counts.sum() == len(features) == len(factors)
    ):
        refuse(
            f"{tree} has {len(features)} leaf_features and {len(factors)} leaf_coeff for {counts.sum():.0f} features"
        )


def _check_categories(content: bytes, width: int) -> None:
    """Check the categories of a data frame, which are JSON in the last line."""
    last = content.rstrip(b"\n").rpartition(b"\n")[2]
    if not last.startswith(CATEGORIES):
        return
    try:
        found = json.loads(last[len(CATEGORIES) :])
    except (ValueError, RecursionError):
        refuse("pandas_categorical is not JSON")
    if found is not None and not _is_lists(found, width):
        refuse(f"pandas_categorical is not a list of at most {width} lists of categories")


def _is_lists(found: object, width: int) -> bool:
    if not isinstance(found, list) or len(found) > width:
        return False
    return all(isinstance(values, list) and _are_plain(values) for values in found)


def _are_plain(values: Sequence[object]) -> bool:
    return all(value is None or isinstance(value, str | int | float) for value in values)


def _count(lines: Lines, name: bytes, where: str) -> int:
    """Return a number that counts."""
    value = lines.get(name, b"")
    if not re.fullmatch(rb"[0-9]{1,9}", value):
        refuse(f"{where} has {name.decode()}={value[:20].decode(errors='replace')}, which is no count")
    return int(value)


def _array(lines: Lines, name: bytes, where: str) -> NDArray[np.float64]:
    """Return the numbers of a line; float64 holds each integer that is allowed."""
    text = lines.get(name, b"")
    try:
        if not (FLOAT if name in FLOATS else INTEGER).fullmatch(text):
            raise ValueError
        return np.array(text.split(), dtype=np.float64)
    except ValueError:
        refuse(f"{where} has {name.decode()} with something that is no number")
