"""The structure of an ONNX file, looked at before a runtime that is not safe from hostile files sees it.

Tensors may lie in other files, whose place the model names ("external data"). A hostile one names files of whoever
loads it, or an address in memory. See https://onnx.ai/onnx/repo-docs/ExternalData.html; the numbers below are those of
onnx.proto, of which only the ways to tensors are described: all else is passed over.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from modelward.errors import FieldViolation, InvalidField

WAYS: dict[str, dict[str, tuple[int, str]]] = {
    "Model": {"graph": (7, "Graph"), "training_info": (20, "Training"), "functions": (25, "Function")},
    "Training": {"initialization": (1, "Graph"), "algorithm": (2, "Graph")},
    "Function": {"node": (7, "Node"), "attribute_proto": (11, "Attribute")},
    "Graph": {"node": (1, "Node"), "initializer": (5, "Tensor"), "sparse_initializer": (15, "SparseTensor")},
    "Node": {"attribute": (5, "Attribute")},
    "Attribute": {
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "tensors": (10, "Tensor"),
        "graphs": (11, "Graph"),
        "sparse_tensor": (22, "SparseTensor"),
        "sparse_tensors": (23, "SparseTensor"),
    },
    "SparseTensor": {"values": (1, "Tensor"), "indices": (2, "Tensor")},
    "Tensor": {"external_data": (13, "Entry")},
    "Entry": {},
}
"""From each message to the messages in it by which one comes to tensors, with the numbers of their fields."""


def external_files(path: Path) -> set[str]:
    """Return the places of external data that a model names.

    Raises:
        InvalidField: the file is no ONNX model, or is nested too deeply.
    """
    model = _message_class("Model")()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise InvalidField(FieldViolation("model", f"{path.name} is no ONNX model")) from None
    return set(_locations(model))


def check_confined(path: Path) -> None:
    """Check that a model reaches no file but those beside it, in its own folder and below.

    Raises:
        InvalidField: it names another, or is no ONNX model.
    """
    folder = path.resolve().parent
    for location in external_files(path):
        if not _is_inside(location, folder):
            fix = f"{path.name} names external data at {location[:100]!r}, which is no file beside it"
            raise InvalidField(FieldViolation("model", fix))


def _is_inside(location: str, folder: Path) -> bool:
    """Whether a place is that of a plain file in the folder or below, by no link."""
    place = folder / location
    plain = bool(location) and "\0" not in location and ".." not in Path(location).parts
    return plain and place.resolve() == place and place.is_relative_to(folder) and place.is_file()


def _locations(message: Any) -> Iterator[str]:
    if message.DESCRIPTOR.name == "Entry":
        if message.key == b"location":
            yield message.value.decode(errors="replace")
        return
    for field, content in message.ListFields():
        for part in content if field.is_repeated else [content]:
            yield from _locations(part)


@cache
def _message_class(name: str) -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(
        name="modelward/onnx_ways.proto", package="modelward.onnx", syntax="proto2"
    )
    for message, ways in WAYS.items():
        described = file.message_type.add(name=message)
        for field, (number, kind) in ways.items():
            described.field.add(
                name=field, number=number, label=3, type=11, type_name=f".modelward.onnx.{kind}"
            )  # Repeated messages, which also reads those that stand once.
    for number, field in enumerate(("key", "value"), start=1):
        file.message_type[-1].field.add(name=field, number=number, label=1, type=12)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"modelward.onnx.{name}"))
