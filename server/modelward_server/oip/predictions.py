"""The answer to a request: predictions and probabilities as tensors."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import ModelKind
from modelward.errors import FieldViolation, InvalidField, ModelFailed
from modelward.lifecycle import ModelVersion
from modelward.signature import ClassLabel
from modelward_server.oip import open_inference_pb2 as pb
from modelward_server.oip.tensors import BYTES, write_contents, write_raw
from modelward_server.sandbox.sandbox import Run

PREDICTION, PROBABILITIES = "prediction", "probabilities"


class Output(NamedTuple):
    """A tensor of the answer."""

    name: str
    datatype: str
    values: NDArray[Any]


def datatype_of(classes: Sequence[ClassLabel]) -> str:
    """Return the datatype that holds all of a model's classes."""
    if all(isinstance(label, bool) for label in classes):
        return "BOOL"
    if any(isinstance(label, bool | str) for label in classes):
        return BYTES
    return "INT64" if all(isinstance(label, int) for label in classes) else "FP64"


def infer_response(
    request: pb.ModelInferRequest, version: ModelVersion, run: Run, sequence: int
) -> pb.ModelInferResponse:
    """Convert what a version predicts: raw if the request was raw.

    Args:
        request: the request, which names the tensors that are wanted.
        version: the version, with its stage at the requested time.
        run: the predictions.
        sequence: the last change that the choice of the version includes.

    Raises:
        InvalidField: a tensor is wanted that the model does not give.
        ModelFailed: the model gives no class for a row.
    """
    answer = pb.ModelInferResponse(model_name=version.model, model_version=str(version.version), id=request.id)
    answer.parameters["stage"].string_param = str(version.stage)
    answer.parameters["digest"].string_param = version.digest
    answer.parameters["sequence"].int64_param = sequence
    for name in _wanted(request, run):
        _add(answer, _output(name, version, run), is_raw=bool(request.raw_input_contents))
    return answer


def _wanted(request: pb.ModelInferRequest, run: Run) -> list[str]:
    given = [PREDICTION] if run.probabilities is None else [PREDICTION, PROBABILITIES]
    wanted = [output.name for output in request.outputs]
    for position, name in enumerate(wanted):
        if name not in given:
            why = f" ({run.no_probabilities})" if name == PROBABILITIES and run.no_probabilities else ""
            fix = f"{name!r} is not given by the model{why}; it gives {' and '.join(given)}"
            raise InvalidField(FieldViolation(f"outputs[{position}].name", fix))
    return wanted or given


def _add(answer: pb.ModelInferResponse, output: Output, *, is_raw: bool) -> None:
    tensor = answer.outputs.add(name=output.name, datatype=output.datatype, shape=output.values.shape)
    if is_raw:
        answer.raw_output_contents.append(write_raw(output.values, output.datatype))
    else:
        tensor.contents.CopyFrom(write_contents(output.values, output.datatype))


def _output(name: str, version: ModelVersion, run: Run) -> Output:
    if name == PROBABILITIES:
        assert run.probabilities is not None
        return Output(name, "FP64", run.probabilities)
    if run.kind is ModelKind.REGRESSION:
        return Output(name, "FP64", run.predicted)
    return Output(name, datatype_of(run.classes), _classes(version, run))


def _classes(version: ModelVersion, run: Run) -> NDArray[Any]:
    rows = len(run.predicted)
    if missing := np.setdiff1d(np.arange(rows), run.answered).tolist():
        why = "which the protocol cannot express; request only `probabilities`, or call Score"
        raise ModelFailed(f"{version} gives no class for row {missing[0]}, {why}", model=version.model)
    is_text = datatype_of(run.classes) == BYTES
    labels = np.array([*map(str, run.classes), None], object)[:-1] if is_text else np.array(run.classes)
    predicted: NDArray[Any] = labels[run.predicted]
    return predicted
