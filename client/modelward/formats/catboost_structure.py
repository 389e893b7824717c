"""Check the structure of a CatBoost file before it reaches a loader that is not safe against hostile files.

The file is `CBM1`, the length of a flatbuffer, the flatbuffer, and then, if the model needs them, tables of statistics
of categories, each a flatbuffer after its length. CatBoost does not document the layout; what is checked here follows
the schema in its public source. Its loader checks the offsets in the first flatbuffer, but neither those in the tables
nor any number: it takes the splits, the sizes of trees, the leaves and the entries of the tables as they are written.

Not checked: the values of leaves, borders and statistics, which are any numbers; the texts, such as the training
parameters, except how deep their JSON is nested; and which splits a combination of categories refers to, because the
library looks these up safely. Models with texts or embeddings have further parts that are not checked, so they are
refused.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from modelward.formats.catboost_tables import Combination, check_tables, combination_of
from modelward.formats.flatbuffer import Table, read
from modelward.formats.tree_structure import MAX_CLASSES, check_range, refuse

HEAD = b"CBM1"
FORMAT_VERSION = b"FlabuffersModel_v1"
TABLES = b"static_provider_v1"
"""The name of the part that has the tables of statistics."""
MAX_SYMMETRIC_DEPTH = 30
MAX_FEATURES = 1_000_000
"""Maximum position of a column: the library allocates memory for each column up to the last one."""
MAX_NESTING = 100
"""Maximum depth of JSON in a text."""
MAX_BINS = 1 << 16
VALUES_PER_BIN = 254
BRACKETS = re.compile(rb"[\[\]{}]")
NODE = np.dtype([("left", "<u2"), ("right", "<u2")])
BIN = np.dtype([("feature", "<u2"), ("mask", "u1"), ("split", "u1")])
Ints = NDArray[np.int64]

# The fields of the tables, as numbered in the schema.
VERSION, TREES, INFO, PARTS = range(4)
DIMENSION, SPLITS, SIZES, STARTS, CATEGORIES, FLOATS, ONE_HOTS, STATISTICS, LEAVES, WEIGHTS, NODES, NODE_LEAVES = range(
    12
)
TEXTS, ESTIMATED, BIASES, REPACKED, EMBEDDINGS = 12, 13, 16, 17, 18


def check_structure(content: bytes) -> None:
    """Check the lengths of the parts, the columns, the trees, and the tables of statistics.

    Args:
        content: the file's.

    Raises:
        InvalidField: the loader would trust a number that is wrong.
    """
    if not content.startswith(HEAD):
        refuse("the file is not a file of CatBoost")
    file = memoryview(content)
    begin, length = 8, read(file, "<I", 4)
    if length > len(content) - begin:
        refuse(f"the file has {len(content):,} bytes, but says that {length:,} follow its head")
    core = file[begin : begin + length]
    root = Table.root(core)
    if root.text(VERSION) != FORMAT_VERSION:
        refuse(f"the file's format is {root.text(VERSION)[:30]!r}, and not {FORMAT_VERSION.decode()!r}")
    _check_info(root, len(core))
    needed = _check_trees(root, len(core))
    _check_parts(root, file[begin + length :], needed)


def _check_info(root: Table, length: int) -> None:
    """Check the texts that describe the training; the library parses some of them as JSON."""
    total = 0
    for entry in root.tables(INFO):
        key, value = entry.text(0), entry.text(1)
        total += len(key) + len(value)
        if total > length:
            refuse("texts of the file share their bytes")
        if _nesting(value) > MAX_NESTING:
            refuse(f"{key[:30].decode(errors='replace')} in the file is nested deeper than {MAX_NESTING} levels")


def _nesting(text: bytes) -> int:
    """Return how deep JSON is nested, at most one more than is allowed."""
    deepest = depth = 0
    for bracket in BRACKETS.finditer(text):
        depth += 1 if bracket[0] in b"[{" else -1
        deepest = max(deepest, depth)
        if deepest > MAX_NESTING:
            break
    return deepest


def _check_parts(root: Table, rest: memoryview, needed: list[Combination]) -> None:
    parts = list(root.texts(PARTS))
    if parts not in ([], [TABLES]):
        refuse(f"the file has the parts {parts!r:.60}, which are not checked and therefore not loaded")
    if needed and not parts:
        refuse("the file has no tables of statistics, which its splits need")
    end = check_tables(rest, needed) if parts else 0
    if end != len(rest):
        refuse(f"the file has {len(rest) - end:,} bytes after its last part")


def _check_trees(root: Table, length: int) -> list[Combination]:
    """Check columns and trees, and return the statistics that splits are on."""
    trees = root.table(TREES)
    if trees is None:
        refuse("the file has no trees")
    for field, what in ((TEXTS, "texts"), (EMBEDDINGS, "embeddings"), (ESTIMATED, "texts or embeddings")):
        if len(trees.vector(field, "<u4")):
            refuse(f"it has columns of {what}, which are not supported; turn them into numbers or categories")
    dimension = trees.number(DIMENSION, "<i", 0)
    if not 1 <= dimension <= MAX_CLASSES or len(trees.vector(BIASES, "<f8")) not in {0, dimension}:
        refuse(f"the file has {dimension} scores for each row, and {len(trees.vector(BIASES, '<f8'))} biases")
    needed = _check_splits(trees, length)
    if len(trees.vector(NODES, NODE)):
        _check_nodes(trees, dimension)
    else:
        _check_symmetric(trees, dimension)
    return needed


def _check_splits(trees: Table, length: int) -> list[Combination]:
    """Check that each split is on a column that there is."""
    used, sizes = _check_columns(trees)
    for one_hot in trees.tables(ONE_HOTS):
        if one_hot.number(0, "<i", -1) not in used:
            refuse("the file has a split on a category of a column that it does not use")
        sizes.append(len(one_hot.vector(1, "<i4")))
    needed = []
    for statistic in trees.tables(STATISTICS):
        needed.append(combination_of(statistic, used))
        sizes.append(len(statistic.vector(1, "<f4")))
    if 4 * sum(sizes) > length:
        refuse("borders of the file share their bytes")
    bins = sum(-(-size // VALUES_PER_BIN) for size in sizes)
    if bins > MAX_BINS:
        refuse(f"the file has {bins:,} groups of splits; the library has {MAX_BINS:,}")
    check_range(trees.vector(SPLITS, "<i4"), 0, max(sum(sizes), 1) - 1, "a split of the trees")
    check_range(trees.vector(REPACKED, BIN)["feature"], 0, max(bins, 1) - 1, "a group of the splits")
    return needed


def _check_columns(trees: Table) -> tuple[set[int], list[int]]:
    """Check the positions of columns; return the columns of categories that are used, and the numbers of borders."""
    floats, categories = list(_positions(trees, FLOATS, 1)), list(_positions(trees, CATEGORIES, 0))
    positions = [position for _, position, _ in (*floats, *categories)]
    if len(set(positions)) < len(positions):
        refuse("two columns of the file have the same position")
    sizes = [len(column.vector(3, "<f4")) for _, _, column in floats]
    return {index for index, _, column in categories if column.number(3, "<B", 1)}, sizes


def _positions(trees: Table, field: int, first: int) -> "Iterator[tuple[int, int, Table]]":
    """Yield for each column its number among those of its kind, which ascends, its position, and its table."""
    last = -1
    for column in trees.tables(field):
        index, position = column.number(first, "<i", -1), column.number(first + 1, "<i", -1)
        if not last < index < MAX_FEATURES or not 0 <= position < MAX_FEATURES:
            refuse(f"the file has a column with the number {index} at position {position}")
        last = index
        yield index, position, column


def _check_order(trees: Table, least: int, most: int) -> tuple[Ints, Ints]:
    """Check that each tree begins where the one before ends; return where they begin, and their sizes."""
    sizes, starts = (trees.vector(field, "<i4").astype(np.int64) for field in (SIZES, STARTS))
    check_range(sizes, least, most, "a size of the trees")
    ends = np.cumsum(sizes)
    if not np.array_equal(starts, ends - sizes) or sizes.sum() != len(trees.vector(SPLITS, "<i4")):
        refuse("the sizes of the trees are not those of their splits")
    return starts, sizes


def _check_leaves(trees: Table, leaves: int, dimension: int) -> None:
    values, weights = len(trees.vector(LEAVES, "<f8")), len(trees.vector(WEIGHTS, "<f8"))
    if values != leaves * dimension or weights not in {0, leaves}:
        refuse(f"the file has {values:,} values and {weights:,} weights of leaves instead of {leaves * dimension:,}")


def _check_symmetric(trees: Table, dimension: int) -> None:
    """Check trees whose nodes at one depth have the same split."""
    _, sizes = _check_order(trees, 0, MAX_SYMMETRIC_DEPTH)
    if len(trees.vector(NODE_LEAVES, "<u4")):
        refuse("the file has leaves of nodes, but no nodes")
    borders = (len(table.vector(3, "<f4")) for table in trees.tables(FLOATS))
    if sizes.sum() and not (any(borders) or any(trees.tables(ONE_HOTS)) or any(trees.tables(STATISTICS))):
        refuse("the file has splits, but no borders")
    _check_leaves(trees, int((1 << sizes).sum()), dimension)


def _check_nodes(trees: Table, dimension: int) -> None:
    """Check trees of nodes, which refer to later nodes of their own tree by the distance, or stop at 0."""
    starts, sizes = _check_order(trees, 1, MAX_CLASSES * MAX_CLASSES)
    nodes, leaves = trees.vector(NODES, NODE), trees.vector(NODE_LEAVES, "<u4")
    if not len(nodes) == len(leaves) == sizes.sum():
        refuse(f"the file has {len(nodes):,} nodes, {len(leaves):,} leaves of them and {sizes.sum():,} splits")
    remaining = np.repeat(starts + sizes, sizes) - np.arange(len(nodes))
    if (nodes["left"] >= remaining).any() or (nodes["right"] >= remaining).any():
        refuse("a node of the file refers to one that is not in its tree")
    values = len(trees.vector(LEAVES, "<f8"))
    _check_leaves(trees, values // dimension, dimension)
    stops = (nodes["left"] == 0) | (nodes["right"] == 0)
    check_range(leaves[stops], 0, values - dimension, "a leaf of the nodes")
