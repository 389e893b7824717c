"""What the structure checks of trees share: a refusal in plain words, lengths, ranges, and the walk from the root."""

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from modelward.errors import FieldViolation, InvalidField

MAX_DEPTH = 4096
"""Maximum depth of a tree; trees of one long branch are not deeper in practice."""
MAX_CLASSES = 100_000


def refuse(why: str) -> NoReturn:
    """Raise the error of a file whose structure is wrong.

    Raises:
        InvalidField: always.
    """
    raise InvalidField(FieldViolation("model", why))


def check_range(values: NDArray[Any], least: int, most: int, what: str) -> None:
    """Check that all values are in a range.

    Args:
        values: shape (values,).
        least: the least that is allowed.
        most: the most that is allowed.
        what: names the values in the error.

    Raises:
        InvalidField: one is not.
    """
    if len(values) and not (values.min() >= least and values.max() <= most):
        wrong = values[~((values >= least) & (values <= most))][0]
        refuse(f"{what} holds {wrong}, which is not between {least} and {most}")


def check_walk(left: NDArray[np.int64], right: NDArray[np.int64], tree: str) -> NDArray[np.int64]:
    """Check that each node is reached from the root at most once, and return the leaves in the order of their depth.

    Args:
        left: shape (nodes,): the left child of each node; negative for a leaf.
        right: likewise, the right child.
        tree: names the tree in the error.

    Returns:
        Shape (leaves,): the negative values that were met.

    Raises:
        InvalidField: there is a cycle, a node has two parents, or the tree is too deep.
    """
    seen, nodes = np.zeros(len(left), bool), np.zeros(min(len(left), 1), np.int64)
    leaves: list[NDArray[np.int64]] = []
    for _ in range(MAX_DEPTH):
        if not len(nodes):
            return np.concatenate([*leaves, np.empty(0, np.int64)])
        if seen[nodes].any() or len(np.unique(nodes)) < len(nodes):
            refuse(f"{tree} has a node that is reached twice")
        seen[nodes] = True
        children = np.concatenate([left[nodes], right[nodes]])
        leaves.append(children[children < 0])
        nodes = children[children >= 0]
    refuse(f"{tree} is deeper than {MAX_DEPTH:,} levels")
