"""ONNX models made by hand, so that no test needs the onnx package: the wire format of protobuf, field by field.

The numbers are the field numbers of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def linear_model(weights: list[float], bias: float) -> bytes:
    """Return a model of one float input "x" of shape (rows, features) and one output "y": x @ weights + bias."""
    graph = (
        _message(1, _node("MatMul", ["x", "w"], "product"))
        + _message(1, _node("Add", ["product", "b"], "y"))
        + _text(2, "linear")
        + _message(5, _tensor("w", [len(weights), 1], weights))
        + _message(5, _tensor("b", [1], [bias]))
        + _message(11, _value("x", len(weights)))
        + _message(12, _value("y", 1))
    )
    return _model(graph)


def one_input_each(names: list[str]) -> bytes:
    """Return a model with a float input of shape (rows, 1) for each name, and their sum as the output."""
    sums = [_node("Sum", names, "y")]
    inputs = [_message(11, _value(name, 1)) for name in names]
    graph = b"".join(_message(1, node) for node in sums) + _text(2, "sum") + b"".join(inputs)
    return _model(graph + _message(12, _value("y", 1)))


KINDS = {"float": 1, "uint8": 2, "int32": 6, "int64": 7, "string": 8, "bool": 9, "float16": 10, "double": 11}
"""onnx.proto's numbers of data types."""
ML = "ai.onnx.ml"


def graph_model(
    nodes: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    constants: Sequence[bytes] = (),
    metadata: Mapping[str, object] | None = None,
) -> bytes:
    """Return a model of these parts, made by `node`, `value` and `constant`."""
    parts = [(1, nodes), (5, constants), (11, inputs), (12, outputs)]
    graph = _text(2, "g") + b"".join(_message(field, part) for field, many in parts for part in many)
    told = [_text(1, key) + _text(2, json.dumps(value)) for key, value in (metadata or {}).items()]
    return _model(graph) + b"".join(_message(14, entry) for entry in told)


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Any) -> bytes:
    """Return a node; an attribute is a text, a whole number, or a list of floats, whole numbers or texts."""
    given = b"".join(_message(5, _attribute(name, value)) for name, value in attributes.items())
    names = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in outputs)
    return names + _text(4, operator) + given + _text(7, domain)


def value(name: str, kind: str, *shape: int | str) -> bytes:
    """Return what declares an input or an output as a tensor."""
    sizes = b"".join(_message(1, _text(2, size) if isinstance(size, str) else _number(1, size)) for size in shape)
    return _text(1, name) + _message(2, _message(1, _number(1, KINDS[kind]) + _message(2, sizes)))


def maps(name: str, kind: str) -> bytes:
    """Return what declares an output as one map a row, from classes to floats."""
    floats = _message(1, _number(1, KINDS["float"]))
    mapped = _message(5, _number(1, KINDS[kind]) + _message(2, floats))
    return _text(1, name) + _message(2, _message(4, _message(1, mapped)))


def sequence(name: str) -> bytes:
    """Return what declares an input or an output as a sequence of tensors."""
    tensor = _message(1, _number(1, KINDS["float"]))
    return _text(1, name) + _message(2, _message(4, _message(1, tensor)))


def constant(name: str, values: Sequence[Any], *shape: int) -> bytes:
    """Return a constant of texts, whole numbers or floats."""
    sizes = b"".join(_number(1, size) for size in shape or (len(values),))
    if isinstance(values[0], str):
        held = _number(2, KINDS["string"]) + b"".join(_text(6, text) for text in values)
    elif isinstance(values[0], int):
        held = _number(2, KINDS["int64"]) + _message(9, struct.pack(f"<{len(values)}q", *values))
    else:
        held = _number(2, KINDS["float"]) + _message(9, struct.pack(f"<{len(values)}f", *values))
    return sizes + held + _text(8, name)


def classifier(
    classes: Sequence[Any], post_transform: str = "SOFTMAX", outputs: Sequence[str] = ("label", "prob")
) -> bytes:
    """Return the node of a classifier: the more of the first feature, the later the class."""
    named = {"classlabels_strings" if isinstance(classes[0], str) else "classlabels_ints": list(classes)}
    steps = [number for place in range(len(classes)) for number in (float(place), 0.0)]
    intercepts = [-0.3 * place * place for place in range(len(classes))]
    attributes = {"coefficients": steps, "intercepts": intercepts, "post_transform": post_transform, "multi_class": 0}
    return node("LinearClassifier", ["X"], outputs, ML, **named, **attributes)


def _attribute(name: str, given: Any) -> bytes:
    if isinstance(given, str):
        return _text(1, name) + _text(4, given) + _number(20, 3)
    if isinstance(given, int):
        return _text(1, name) + _number(3, given) + _number(20, 2)
    if isinstance(given[0], str):
        return _text(1, name) + b"".join(_text(9, text) for text in given) + _number(20, 8)
    if isinstance(given[0], int):
        return _text(1, name) + b"".join(_number(8, number) for number in given) + _number(20, 7)
    floats = _message(7, struct.pack(f"<{len(given)}f", *given))
    return _text(1, name) + floats + _number(20, 6)


def _model(graph: bytes) -> bytes:
    learning = _message(8, _text(1, ML) + _number(2, 3))
    return _number(1, 8) + _message(7, graph) + _message(8, _number(2, 13)) + learning


def _node(operator: str, inputs: list[str], output: str) -> bytes:
    return b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, operator)


def _tensor(name: str, shape: list[int], values: list[float]) -> bytes:
    sizes = b"".join(_number(1, size) for size in shape)
    return sizes + _number(2, 1) + _text(8, name) + _message(9, struct.pack(f"<{len(values)}f", *values))


def _value(name: str, width: int) -> bytes:
    rows, columns = _message(1, _text(2, "rows")), _message(1, _number(1, width))
    tensor = _number(1, 1) + _message(2, rows + columns)
    return _text(1, name) + _message(2, _message(1, tensor))


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # Of a negative number its two's complement.
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def external_model(way: str, location: str) -> bytes:
    """Return a model with a tensor whose numbers lie elsewhere, and which stands where `way` says."""
    entry = _text(1, "location") + _text(2, location)
    tensor = _number(1, 1) + _number(2, 1) + _text(8, "e") + _message(13, entry) + _number(14, 1)
    return WAYS[way](tensor)


def _constant(name: str, field: int, content: bytes, kind: int) -> bytes:
    attribute = _text(1, name) + _message(field, content) + _number(20, kind)
    return _text(2, "y") + _text(4, "Constant") + _message(5, attribute)


def _graph(node: bytes = b"", more: bytes = b"") -> bytes:
    return (_message(1, node) if node else b"") + _text(2, "g") + more + _message(12, _value("y", 1))


def _sparse(tensor: bytes) -> bytes:
    indices = _number(1, 1) + _number(2, 7) + _message(9, struct.pack("<q", 0))
    return _message(1, tensor) + _message(2, indices) + _number(3, 1)


def _function(tensor: bytes) -> bytes:
    """Return a model whose graph calls a function of its own."""
    function = _text(1, "f") + _text(5, "y") + _message(7, _constant("value", 5, tensor, 4)) + _text(10, "own")
    node = _text(2, "y") + _text(4, "f") + _text(7, "own")
    return _model(_graph(node)) + _message(25, function) + _message(8, _text(1, "own") + _number(2, 1))


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "initializer": lambda tensor: _model(_graph(more=_message(5, tensor))),
    "sparse initializer": lambda tensor: _model(_graph(more=_message(15, _sparse(tensor)))),
    "constant": lambda tensor: _model(_graph(_constant("value", 5, tensor, 4))),
    "list of tensors": lambda tensor: _model(_graph(_constant("values", 10, tensor, 9))),
    "sparse constant": lambda tensor: _model(_graph(_constant("sparse_value", 22, _sparse(tensor), 11))),
    "graph inside": lambda tensor: _model(
        _graph(_constant("then_branch", 6, _graph(_constant("value", 5, tensor, 4)), 5))
    ),
    "function": _function,
}
"""Where a tensor may stand in a model, and the model that has it there."""
