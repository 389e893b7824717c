"""Check the structure of an ONNX file before it reaches a runtime that is not safe against hostile files.

Tensors may be stored in other files, whose location the model names ("external data"). A hostile model names files of
the user who loads it, or an address in memory. See https://onnx.ai/onnx/repo-docs/ExternalData.html; the numbers below
are those of onnx.proto. Only the paths to tensors and the fields that give the classes are described; everything else
is skipped.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from modelward.errors import FieldViolation, InvalidField

MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Model": {
        "graph": (7, "Graph"),
        "metadata_props": (14, "Property"),
        "training_info": (20, "Training"),
        "functions": (25, "Function"),
    },
    "Training": {"initialization": (1, "Graph"), "algorithm": (2, "Graph")},
    "Function": {"node": (7, "Node"), "attribute_proto": (11, "Attribute")},
    "Graph": {"node": (1, "Node"), "initializer": (5, "Tensor"), "sparse_initializer": (15, "SparseTensor")},
    "Node": {"input": (1, "bytes"), "output": (2, "bytes"), "op_type": (4, "bytes"), "attribute": (5, "Attribute")},
    "Attribute": {
        "name": (1, "bytes"),
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "ints": (8, "int64"),
        "strings": (9, "bytes"),
        "tensors": (10, "Tensor"),
        "graphs": (11, "Graph"),
        "sparse_tensor": (22, "SparseTensor"),
        "sparse_tensors": (23, "SparseTensor"),
    },
    "SparseTensor": {"values": (1, "Tensor"), "indices": (2, "Tensor")},
    "Tensor": {
        "data_type": (2, "int64"),
        "int32_data": (5, "int64"),
        "string_data": (6, "bytes"),
        "int64_data": (7, "int64"),
        "name": (8, "bytes"),
        "raw_data": (9, "bytes"),
        "external_data": (13, "Entry"),
    },
    "Entry": {"key": (1, "bytes"), "value": (2, "bytes")},
    "Property": {"key": (1, "bytes"), "value": (2, "bytes")},
}
"""The fields that are read from each message, with their numbers and types."""
SCALARS = {
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
}


def parse(path: Path) -> Any:
    """Parse an ONNX file; every field of the result is a list, singular fields included.

    Raises:
        InvalidField: the file is not an ONNX model, or is nested too deeply.
    """
    model = _message_class("Model")()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise InvalidField(FieldViolation("model", f"{path.name} is not an ONNX model")) from None
    return model


def external_files(path: Path) -> set[str]:
    """Return the external data locations that a model names.

    Raises:
        InvalidField: the file is not an ONNX model, or is nested too deeply.
    """
    return set(locations(parse(path)))


def check_confined(path: Path) -> None:
    """Check that a model refers only to files in its own folder and below.

    Raises:
        InvalidField: it names another file, or is not an ONNX model.
    """
    folder = path.resolve().parent
    for location in external_files(path):
        if not _is_inside(location, folder):
            fix = f"{path.name} names external data at {location[:100]!r}, which is not a file in the model's folder"
            raise InvalidField(FieldViolation("model", fix))


def _is_inside(location: str, folder: Path) -> bool:
    """Return whether a location is a regular file in the folder or below, without any link."""
    place = folder / location
    plain = bool(location) and "\0" not in location and ".." not in Path(location).parts
    return plain and place.resolve() == place and place.is_relative_to(folder) and place.is_file()


def locations(message: Any) -> Iterator[str]:
    """Yield the external data locations that a parsed message names."""
    if message.DESCRIPTOR.name == "Entry":
        if b"location" in message.key:
            yield from (value.decode(errors="replace") for value in message.value)
        return
    for field, content in message.ListFields():
        if field.message_type is not None:
            for part in content:
                yield from locations(part)


@cache
def _message_class(name: str) -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(
        name="modelward/onnx_parts.proto", package="modelward.onnx", syntax="proto2"
    )
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            # Repeated also parses singular fields.
            added = described.field.add(name=field, number=number, label=3, type=SCALARS.get(kind, 11))
            if kind not in SCALARS:
                added.type_name = f".modelward.onnx.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"modelward.onnx.{name}"))
