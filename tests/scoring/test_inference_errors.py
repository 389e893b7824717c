"""The Open Inference Protocol: what is wrong with a request is told, by the name of the tensor."""

from typing import Any

import numpy as np
import pytest

from modelward import ModelVersion, errors
from modelward_server.oip import open_inference_pb2 as pb
from tests.support.inference import Request, Tensor, contents_of, refusal, request_of
from tests.support.inference_models import ROWS

pytestmark = pytest.mark.system  # Takes seconds.


@pytest.mark.parametrize("text", ["yesterday", "", "0001-01-01T00:00+14:00", "9998-01-01"])
def test_a_time_that_is_none_or_not_past_is_refused(inference: Any, number: ModelVersion, text: str) -> None:
    parameters = {"as_of": pb.InferParameter(string_param=text)}
    error = refusal(inference, request_of(number.model, {"rows": (ROWS, "FP64")}, parameters=parameters))
    assert [one.field for one in error.violations] == ['parameters["as_of"]']  # type: ignore[attr-defined]


def typed(**columns: int) -> list[Tensor]:
    return [
        Tensor(name=name, datatype="FP64", shape=[rows], contents=contents_of(np.zeros(rows), "FP64"))
        for name, rows in columns.items()
    ]


def matrix(shape: list[int], values: int, datatype: str = "FP64", field: str = "FP64") -> list[Tensor]:
    return [Tensor(name="m", datatype=datatype, shape=shape, contents=contents_of(np.zeros(values), field))]


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "too few values": ({"inputs": matrix([2, 3], 5)}, "m", "5 values of FP64, which do not fill [2, 3]"),
    "values of another datatype": ({"inputs": matrix([2, 3], 6, field="FP32")}, "m", "0 values of FP64"),
    "an unknown datatype": ({"inputs": matrix([2, 3], 6, "COMPLEX")}, "m", "'COMPLEX'; known are BOOL, INT8"),
    "three dimensions": ({"inputs": matrix([1, 2, 3], 6)}, "m", "[1, 2, 3]; one or two dimensions"),
    "no rows": ({"inputs": matrix([0, 3], 0)}, "m", "dimensions of at least 1"),
    "negative sizes": ({"inputs": matrix([-2, -3], 6)}, "m", "dimensions of at least 1"),
    "too many columns": ({"inputs": matrix([2, 4], 8)}, "m", "4 columns, and the model takes 3: a, b, c"),
    "more columns than any table has": ({"inputs": matrix([1, 10_001], 10_001)}, "m", "of 10,001 columns; at most"),
    "more tensors than any table has": (
        {"inputs": [Tensor(name=f"x{i}", datatype="FP64", shape=[1]) for i in range(10_001)]},
        "x0",
        "of 10,001 columns; at most",
    ),
    "unequal rows": ({"inputs": typed(a=2, b=3, c=2)}, "b", "3 rows and the tensors before it 2"),
    "one twice": ({"inputs": [*typed(a=2), *typed(a=2)]}, "a", "occurs twice"),
    "a matrix among features": ({"inputs": [*typed(a=2), *matrix([2, 2], 4)]}, "m", "one value for each row"),
    "a number out of range": (
        {"inputs": [Tensor(name="m", datatype="INT8", shape=[1], contents=pb.InferTensorContents(int_contents=[300]))]},
        "m",
        "out of the range of INT8",
    ),
    "raw and typed": ({"inputs": matrix([2, 3], 6), "raw_input_contents": [bytes(48)]}, "m", "typed values beside raw"),
    "raw bytes of another size": (
        {"inputs": [Tensor(name="m", datatype="FP64", shape=[2, 3])], "raw_input_contents": [bytes(47)]},
        "m",
        "no multiple of the 8 of FP64",
    ),
    "too few raw values": (
        {"inputs": [Tensor(name="m", datatype="FP64", shape=[2, 3])], "raw_input_contents": [bytes(40)]},
        "m",
        "5 values of FP64",
    ),
    "a raw text that is cut off": (
        {"inputs": [Tensor(name="a", datatype="BYTES", shape=[1])], "raw_input_contents": [b"\x05\0\0\0abc"]},
        "a",
        "ends within a raw value",
    ),
    "a raw length that is cut off": (
        {"inputs": [Tensor(name="a", datatype="BYTES", shape=[1])], "raw_input_contents": [b"\0\0"]},
        "a",
        "ends within a raw value",
    ),
    "bytes that are no text": (
        {"inputs": [Tensor(name="a", datatype="BYTES", shape=[1])], "raw_input_contents": [b"\x01\0\0\0\xff"]},
        "a",
        "not text in UTF-8",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_tensor_is_told_by_its_name(inference: Any, number: ModelVersion, case: str) -> None:
    request, tensor, fix = WRONG[case]
    error = refusal(inference, Request(model_name=number.model, **request))
    assert isinstance(error, errors.InvalidField)
    [violation] = error.violations
    assert violation.field == f'inputs["{tensor}"]'
    assert fix in violation.description


@pytest.mark.system
def test_what_is_wrong_with_a_request_is_told(inference: Any, number: ModelVersion) -> None:
    def fields(**request: Any) -> list[str]:
        error = refusal(inference, Request(**{"model_name": number.model, "inputs": matrix([1, 3], 3), **request}))
        assert isinstance(error, errors.InvalidField), error
        return [violation.field for violation in error.violations]

    raw = [Tensor(name="m", datatype="FP64", shape=[1, 3])]
    wanted = [Request.InferRequestedOutputTensor(name=name) for name in ("prediction", "probabilities")]
    assert fields(inputs=raw, raw_input_contents=[bytes(24), b""]) == ["raw_input_contents"]
    assert fields(outputs=wanted) == ["outputs[1].name"]
    assert fields(inputs=[]) == ["inputs"]
    assert fields(model_name="no spaces\0") == ["model_name"]
    assert fields(model_version="-1") == ["model_version"]
    assert fields(inputs=typed(a=1, b=1)) == ["inputs"], "a column that the model needs"
    assert isinstance(refusal(inference, Request(model_name="absent", inputs=raw)), errors.ModelNotFound)
    missing = Request(model_name=number.model, model_version="99", inputs=raw)
    assert isinstance(refusal(inference, missing), errors.VersionNotFound)
