"""Conversion of the protocol's tensors, with typed or raw values, from and to arrays."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Never

import numpy as np
from numpy.typing import NDArray

from modelward.errors import FieldViolation, InvalidField
from modelward_server.oip import open_inference_pb2 as pb

LENGTH_BYTES = 4
"""The size of the length before each raw BYTES value."""


class Datatype(NamedTuple):
    """How the values of a tensor are stored."""

    dtype: str
    """numpy's name for raw values."""
    contents: str
    """The field of typed values; empty if there is none."""


BYTES = "BYTES"
DATATYPES = {
    "BOOL": Datatype("?", "bool_contents"),
    "INT8": Datatype("<i1", "int_contents"),
    "INT16": Datatype("<i2", "int_contents"),
    "INT32": Datatype("<i4", "int_contents"),
    "INT64": Datatype("<i8", "int64_contents"),
    "UINT8": Datatype("<u1", "uint_contents"),
    "UINT16": Datatype("<u2", "uint_contents"),
    "UINT32": Datatype("<u4", "uint_contents"),
    "UINT64": Datatype("<u8", "uint64_contents"),
    "FP16": Datatype("<f2", ""),
    "FP32": Datatype("<f4", "fp32_contents"),
    "FP64": Datatype("<f8", "fp64_contents"),
    BYTES: Datatype("O", "bytes_contents"),
}
"""The protocol's datatypes; numpy lacks its BF16."""


def refuse(tensor: str, fix: str) -> Never:
    """Refuse an input.

    Raises:
        InvalidField: it names the tensor.
    """
    raise InvalidField(FieldViolation(f'inputs["{tensor}"]', fix))


def read_tensor(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> NDArray[Any]:
    """Return the values of an input in its shape, of one or two dimensions; text as objects.

    Args:
        tensor: the input.
        raw: its values if the request has raw ones.

    Raises:
        InvalidField: the datatype is unknown, or the values do not have it or do not fill the shape.
    """
    datatype = DATATYPES.get(tensor.datatype)
    if datatype is None:
        refuse(tensor.name, f"has the datatype {tensor.datatype!r}; known are {', '.join(DATATYPES)}")
    if len(tensor.shape) not in {1, 2} or min(tensor.shape) < 1:
        refuse(tensor.name, f"has the shape {list(tensor.shape)}; one or two dimensions of at least 1 are read")
    values = _typed(tensor, datatype) if raw is None else _raw(tensor.name, tensor.datatype, datatype, raw)
    if len(values) != math.prod(tensor.shape):
        refuse(tensor.name, f"has {len(values)} values of {tensor.datatype}, which do not fill {list(tensor.shape)}")
    return values.reshape(tensor.shape)


def _typed(tensor: pb.ModelInferRequest.InferInputTensor, datatype: Datatype) -> NDArray[Any]:
    if not datatype.contents:
        refuse(tensor.name, f"has the datatype {tensor.datatype}, whose values can only be raw")
    values = list(getattr(tensor.contents, datatype.contents))
    if tensor.datatype == BYTES:
        return _texts(tensor.name, values)
    try:
        return np.array(values, datatype.dtype)
    except OverflowError:
        return refuse(tensor.name, f"has values out of the range of {tensor.datatype}")


def _raw(name: str, name_of_type: str, datatype: Datatype, raw: bytes) -> NDArray[Any]:
    if name_of_type == BYTES:
        return _texts(name, _raw_values(name, raw))
    dtype = np.dtype(datatype.dtype)
    if len(raw) % dtype.itemsize:
        refuse(name, f"has {len(raw)} raw bytes, which is no multiple of the {dtype.itemsize} of {name_of_type}")
    values = np.frombuffer(raw, dtype)
    return values.view(np.uint8) != 0 if dtype.kind == "b" else values


def _raw_values(name: str, raw: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(raw):
        begin = position + LENGTH_BYTES
        position = begin + int.from_bytes(raw[position:begin], "little")
        if begin > len(raw) or position > len(raw):
            refuse(name, "ends within a raw value; each follows its length in 4 bytes, little-endian")
        yield raw[begin:position]


def _texts(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.array([*(value.decode() for value in values), None], object)[:-1]
    except UnicodeDecodeError:
        return refuse(name, "has BYTES that are not text in UTF-8")


def write_contents(values: NDArray[Any], datatype: str) -> pb.InferTensorContents:
    """Return the typed values of an output."""
    flat = values.reshape(-1).tolist()
    listed = [value.encode() for value in flat] if datatype == BYTES else flat
    contents = pb.InferTensorContents()
    getattr(contents, DATATYPES[datatype].contents).extend(listed)
    return contents


def write_raw(values: NDArray[Any], datatype: str) -> bytes:
    """Return the raw values of an output."""
    if datatype != BYTES:
        return values.astype(DATATYPES[datatype].dtype).tobytes()
    encoded = (value.encode() for value in values.tolist())
    return b"".join(len(value).to_bytes(LENGTH_BYTES, "little") + value for value in encoded)
