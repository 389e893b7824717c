"""Analysis of an ONNX graph's outputs: the classes, and the order of their probabilities.

A classifier's node has its classes as an attribute. Where the class is looked up by the index of the greatest score,
the lookup table has them. Any other model may name them in its metadata, as a JSON list under `classes`, and its
inputs' columns under `feature_names`. What none of these defines is unknown: nothing is guessed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

Class: TypeAlias = str | int

CLASSES, FEATURE_NAMES = "classes", "feature_names"
"""Keys of a model's metadata."""
UNCHANGED = {b"Identity", b"Cast", b"Reshape", b"Squeeze", b"Unsqueeze", b"Flatten"}
"""Operators that do not change the class that a label means."""
LOOK_UPS = {b"ArrayFeatureExtractor", b"Gather"}
CLASS_ATTRIBUTES = {b"classlabels_strings", b"classlabels_int64s", b"classlabels_ints"}
RAW_INTEGERS: Mapping[int, type[np.generic]] = {6: np.int32, 7: np.int64}
"""Data types by their numbers in onnx.proto."""


class OnnxGraph:
    """The part of a parsed model that defines its outputs."""

    def __init__(self, model: Any) -> None:
        graphs = list(model.graph)
        self._made_by = {name: node for graph in graphs for node in graph.node for name in node.output}
        self._constants = {name: tensor for graph in graphs for tensor in graph.initializer for name in tensor.name}
        self._metadata = {
            key.decode(errors="replace"): value
            for entry in model.metadata_props
            for key, value in zip(entry.key, entry.value, strict=False)
        }

    def classes(self, label: str) -> list[Class] | None:
        """Return the classes of the label output, in the order of their probabilities."""
        node = self._origin(label.encode())
        if node is None:
            return self.named(CLASSES)
        if own := _class_labels(node):
            return own
        if node.op_type[:] == [b"ArgMax"]:
            return self.named(CLASSES)
        return self._looked_up(node) or self.named(CLASSES)

    def is_column_number(self, label: str) -> bool:
        """Whether the label is the index of the column with the greatest score."""
        return _is_arg_max(self._origin(label.encode()))

    def named(self, key: str) -> list[Any] | None:
        """Return a list of unique strings or integers from the model's metadata; None without one."""
        try:
            values = json.loads(self._metadata.get(key, b"null"))
        except (ValueError, RecursionError):
            return None
        if not isinstance(values, list) or not values or {type(value) for value in values} not in ({str}, {int}):
            return None
        return values if len(set(values)) == len(values) else None

    def _looked_up(self, node: Any) -> list[Class] | None:
        """Return the table in which the class is looked up by the column with the greatest score."""
        if not set(node.op_type) & LOOK_UPS or len(node.input) != 2 or not _is_arg_max(self._origin(node.input[1])):
            return None
        tensor = self._constant(node.input[0])
        return None if tensor is None else _values(tensor)

    def _constant(self, name: bytes) -> Any:
        name = next(reversed([name, *self._unchanged(name)]))
        if name in self._constants:
            return self._constants[name]
        node = self._made_by.get(name)
        tensors = [tensor for attribute in node.attribute for tensor in attribute.t] if node is not None else []
        return tensors[0] if node is not None and node.op_type[:] == [b"Constant"] and len(tensors) == 1 else None

    def _origin(self, name: bytes) -> Any:
        """Return the node that computes a value, skipping operators that leave it unchanged."""
        for earlier in self._unchanged(name):
            name = earlier
        node = self._made_by.get(name)
        return node if node is not None and node.output[0] == name else None

    def _unchanged(self, name: bytes) -> Iterator[bytes]:
        """Yield the earlier names of a value, latest first."""
        seen: set[bytes] = set()
        while name not in seen and (node := self._made_by.get(name)) is not None:
            seen.add(name)
            if not set(node.op_type) & UNCHANGED or not node.input:
                return
            name = node.input[0]
            yield name


def _is_arg_max(node: Any) -> bool:
    return node is not None and node.op_type[:] == [b"ArgMax"]


def _class_labels(node: Any) -> list[Class] | None:
    """Return the classes of a classifier's node."""
    for attribute in node.attribute:
        if set(attribute.name) & CLASS_ATTRIBUTES:
            if attribute.strings:
                return [text.decode(errors="replace") for text in attribute.strings]
            if attribute.ints:
                return list(attribute.ints)
    return None


def _values(tensor: Any) -> list[Class] | None:
    """Return a constant's strings or integers; None for any other type."""
    if tensor.string_data:
        return [text.decode(errors="replace") for text in tensor.string_data]
    kind = RAW_INTEGERS.get(next(iter(tensor.data_type), 0))
    if kind is None:
        return None
    numbers: Sequence[int] = [*tensor.int64_data, *tensor.int32_data]
    for raw in tensor.raw_data:
        numbers = np.frombuffer(raw, np.dtype(kind).newbyteorder("<")).tolist()
    return list(numbers) or None
