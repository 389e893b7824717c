"""Requests and answers of the Open Inference Protocol, packed and unpacked by hand."""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
import numpy as np
import pytest

from modelward import ModelwardError
from modelward.shared.retry import error_of
from modelward_server.oip import open_inference_pb2 as pb
from tests.support.waiting import PATIENCE_SECONDS

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
NUMPY = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
NUMPY |= {f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)}
NUMPY |= {f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)}

Tensor = pb.ModelInferRequest.InferInputTensor
Request = pb.ModelInferRequest


def raw_of(values: Any, datatype: str) -> bytes:
    if datatype != "BYTES":
        return np.asarray(values).astype(NUMPY[datatype]).tobytes()
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in values)


def contents_of(values: Any, datatype: str) -> pb.InferTensorContents:
    flat = np.asarray(values).reshape(-1)
    given = [text.encode() for text in flat] if datatype == "BYTES" else flat.astype(NUMPY[datatype]).tolist()
    kinds: dict[str, Any] = {FIELDS[datatype]: given}
    return pb.InferTensorContents(**kinds)


def request_of(model: str, tensors: Mapping[str, Any], *, raw: bool = False, **more: Any) -> Request:
    """Return a request with tensors, each a pair of values and their datatype."""
    request = Request(model_name=model, **more)
    for name, (values, datatype) in tensors.items():
        tensor = request.inputs.add(name=name, datatype=datatype, shape=np.shape(values))
        if raw:
            request.raw_input_contents.append(raw_of(values, datatype))
        else:
            tensor.contents.CopyFrom(contents_of(values, datatype))
    return request


def values_of(answer: pb.ModelInferResponse) -> dict[str, Any]:
    """Return the tensors of an answer, typed or raw, in their shapes."""
    found = {}
    for position, output in enumerate(answer.outputs):
        if answer.raw_output_contents:
            given = unpacked(answer.raw_output_contents[position], output.datatype)
        else:
            given = list(getattr(output.contents, FIELDS[output.datatype]))
        found[output.name] = np.array(given).reshape(output.shape)
    return found


def unpacked(raw: bytes, datatype: str) -> Any:
    if datatype != "BYTES":
        return np.frombuffer(raw, NUMPY[datatype])
    values, position = [], 0
    while position < len(raw):
        (size,) = struct.unpack_from("<I", raw, position)
        values.append(raw[position + 4 : position + 4 + size])
        position += 4 + size
    return values


def infer(inference: Any, request: Request) -> pb.ModelInferResponse:
    answer: pb.ModelInferResponse = inference.ModelInfer(request, timeout=PATIENCE_SECONDS)
    return answer


def refusal(inference: Any, request: Any, method: str = "ModelInfer", **options: Any) -> ModelwardError:
    with pytest.raises(grpc.RpcError) as refused:
        getattr(inference, method)(request, timeout=PATIENCE_SECONDS, **options)
    return error_of(refused.value)


def described(tensors: Iterable[Any]) -> list[tuple[str, str, list[int]]]:
    """Return the name, the datatype and the shape of each tensor."""
    return [(one.name, one.datatype, list(one.shape)) for one in tensors]
