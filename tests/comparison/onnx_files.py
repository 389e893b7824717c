"""ONNX models made by hand, so that no test needs the onnx package: the wire format of protobuf, field by field.

The numbers are the field numbers of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import struct


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
