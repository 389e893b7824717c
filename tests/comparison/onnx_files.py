"""ONNX models made by hand, so that no test needs the onnx package: the wire format of protobuf, field by field.

The numbers are the field numbers of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import struct
from collections.abc import Callable


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


def _model(graph: bytes) -> bytes:
    return _number(1, 8) + _message(7, graph) + _message(8, _number(2, 13))


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
