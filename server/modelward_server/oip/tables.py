"""The table of a request: one matrix of all features, or one tensor for each of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import to_column
from modelward.shared.times import parse_instant
from modelward.signature import ColumnKind, Signature
from modelward_server.oip import open_inference_pb2 as pb
from modelward_server.oip.tensors import read_tensor, refuse
from modelward_server.sandbox.warm_model import LoadedModel

MAX_COLUMNS = 10_000
"""As many as the contract allows."""
Tensors = dict[str, NDArray[Any]]


def signature_of(model: LoadedModel) -> Signature:
    """Return what a model takes and gives, with the names of its reference where the model does not know them."""
    return (model.version.signature or Signature()).completed(Signature.of(model.names))


def read_table(request: pb.ModelInferRequest, signature: Signature) -> Columns:
    """Return the columns of a request, named as the model's features.

    Args:
        request: the request.
        signature: of the model that is to predict them.

    Raises:
        InvalidField: a tensor cannot be read, has another number of rows than the others, or occurs twice; or a matrix
            has another number of columns than the model has features.
    """
    tensors = _tensors(request)
    [(name, first), *others] = tensors.items()
    is_matrix = not others and first.ndim == 2 and name not in signature.names
    features = _columns_of(name, first, signature) if is_matrix else _features(tensors)
    kinds = {column.name: column.kind for column in signature.inputs}
    return {feature: _column(feature, values, kinds.get(feature)) for feature, values in features.items()}


def _tensors(request: pb.ModelInferRequest) -> Tensors:
    _check_width(request.inputs[0].name, len(request.inputs))
    tensors: Tensors = {}
    for tensor, raw in zip(request.inputs, _raw_contents(request), strict=True):
        if tensor.name in tensors:
            refuse(tensor.name, "occurs twice; send it once")
        tensors[tensor.name] = read_tensor(tensor, raw)
    return tensors


def _check_width(tensor: str, columns: int) -> None:
    """Refuse a table of so many columns that naming them takes the memory of the server."""
    if columns > MAX_COLUMNS:
        refuse(tensor, f"is of a table of {columns:,} columns; at most {MAX_COLUMNS:,} are read")


def _raw_contents(request: pb.ModelInferRequest) -> Sequence[bytes | None]:
    """Return the raw values of each input, or None for each if the values are typed."""
    raw = request.raw_input_contents
    if not raw:
        return [None] * len(request.inputs)
    for tensor in request.inputs:
        if tensor.contents.ListFields():
            refuse(tensor.name, "has typed values beside raw_input_contents; send all values in one of both ways")
    if len(raw) != len(request.inputs):
        fix = f"has {len(raw)} entries for {len(request.inputs)} inputs; send one for each"
        raise InvalidField(FieldViolation("raw_input_contents", fix))
    return raw


def _columns_of(name: str, matrix: NDArray[Any], signature: Signature) -> Tensors:
    width, known = matrix.shape[1], len(signature.inputs)
    _check_width(name, width)
    if known and width != known:
        names = ", ".join(signature.names[:20])
        refuse(name, f"has {width} columns, and the model takes {known}" + (f": {names}" if names else ""))
    features = signature.names or [f"x{position}" for position in range(width)]
    return {feature: matrix[:, position] for position, feature in enumerate(features)}


def _features(tensors: Tensors) -> Tensors:
    rows = len(next(iter(tensors.values())))
    for name, values in tensors.items():
        if values.ndim == 2 and values.shape[1] != 1:
            refuse(name, f"has the shape {list(values.shape)}; a feature has one value for each row")
        if len(values) != rows:
            refuse(name, f"has {len(values)} rows and the tensors before it {rows}; send as many for each")
    return {name: values.reshape(-1) for name, values in tensors.items()}


def _column(name: str, values: NDArray[Any], kind: ColumnKind | None) -> NDArray[Any]:
    if kind is ColumnKind.TIME and values.dtype.kind == "O":
        values = _times(name, values)
    return to_column(values, f'inputs["{name}"]')


def _times(name: str, texts: NDArray[Any]) -> NDArray[Any]:
    try:
        return np.array([parse_instant(text) for text in texts], object)
    except ValueError as error:
        return refuse(name, f"is a column of times as ISO 8601 text: {error}")
