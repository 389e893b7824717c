"""Make ONNX models from PyTorch modules and from linear and logistic models of statsmodels, and check that they agree.

Needs the extra `onnx`; the helper for PyTorch also needs `torch` and `onnxscript`, of which PyTorch's exporter is made.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.data import named_columns, to_columns
from modelward.errors import FieldViolation, InvalidField
from modelward.formats.onnx_graph import CLASSES, FEATURE_NAMES
from modelward.formats.onnx_predictor import OnnxModel, OnnxPredictor

OPSET, IR_VERSION = 20, 10
"""Releases of ONNX's operators and format; onnxruntime 1.27 and newer reads both."""
INPUT, OUTPUT = "features", "predictions"
LINEAR = {"OLS", "WLS", "GLS", "GLSAR", "RLM", "QuantReg"}
Matrix = NDArray[Any]


@dataclass(frozen=True)
class Parity:
    """How far the predictions of an ONNX model are from those of the library that it was made from."""

    rows: int
    """Rows of the reference that both predicted."""
    max_absolute: float
    """The largest absolute difference."""
    max_relative: float
    """The largest difference in relation to the library's own prediction, where that is not 0."""


@dataclass(frozen=True)
class OnnxExport:
    """An ONNX model for `register`, and the evidence that it predicts the same."""

    model: Any
    """The `onnx.ModelProto`, whose metadata hold the names of its columns and its classes."""
    parity: Parity

    @property
    def metrics(self) -> dict[str, float]:
        """The parity as metrics of the version: `register(..., metrics=exported.metrics)`."""
        return {
            "onnx_parity_rows": float(self.parity.rows),
            "onnx_parity_max_absolute": self.parity.max_absolute,
            "onnx_parity_max_relative": self.parity.max_relative,
        }


def from_torch(
    module: Any,
    reference: Any,
    *,
    feature_names: Sequence[str] = (),
    classes: Sequence[str] | Sequence[int] = (),
    tolerance: float = 1e-4,
) -> OnnxExport:
    """Make an ONNX model from a PyTorch module that maps float32 of shape (rows, columns) to one tensor.

    Args:
        module: it returns a number for each row, or the probabilities of `classes`: shape (rows, classes).
        reference: rows on which both predict, as a table or an array of shape (rows, columns).
        feature_names: the columns in the order of the module's input; by default all of the reference's.
        classes: the classes in the order of the probabilities; none for a module that predicts numbers.
        tolerance: the largest difference that is accepted: absolute, or relative for predictions beyond 1.

    Returns:
        The model, and how far its predictions are from the module's.

    Raises:
        InvalidField: the predictions differ by more, columns are missing, or the output is not as described.
        ImportError: a library is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
        import torch
    except ImportError as error:
        raise ImportError("from_torch needs pip install 'modelward[onnx]' torch onnxscript") from error
    names, matrix = _rows(reference, feature_names)
    training = module.training
    module.eval()
    try:
        rows = torch.as_tensor(matrix, dtype=torch.float32)
        model = _exported(torch, module, rows)
        with torch.inference_mode():
            predicted = module(rows).numpy()
    finally:
        module.train(training)
    _describe(model, names, classes)
    return _checked(model, matrix, predicted, tolerance, "PyTorch")


def _exported(torch: Any, module: Any, rows: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporter warns of its own deprecated calls.
        program = torch.onnx.export(
            module,
            (rows[:2].repeat(2, 1),),  # Several rows: a single one would be taken as the only number of rows.
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("rows")},),
            external_data=False,
            verbose=False,
        )
    return program.model_proto


def from_statsmodels(
    results: Any, reference: Any, *, classes: Sequence[str] | Sequence[int] = (0, 1), tolerance: float = 1e-9
) -> OnnxExport:
    """Make an ONNX model from the results of a linear or logistic model of statsmodels.

    A constant of `add_constant` becomes a part of the model; the other names are the columns that it takes. Supported
    are OLS, WLS, GLS, GLSAR, RLM, QuantReg and Logit, and GLM of a Gaussian family with its identity link or of a
    binomial one with its logit link.

    Args:
        results: what `fit` returned.
        reference: rows on which both predict: a table with the model's columns, or an array of shape (rows, columns)
            without the constant.
        classes: the classes of a logistic model whose target is 0 and 1, in this order.
        tolerance: the largest difference that is accepted: absolute, or relative for predictions beyond 1.

    Returns:
        The model, and how far its predictions are from those of statsmodels.

    Raises:
        InvalidField: the model is none of these, the predictions differ by more, or columns are missing.
        ImportError: the extra `onnx` is not installed.
    """
    logistic = _is_logistic(results)
    weights = np.asarray(results.params, np.float64)
    constant = getattr(results.model.data, "const_idx", None)
    design = np.asarray(results.model.exog, np.float64)
    value = 0.0 if constant is None else float(design[0, constant])
    keep = [i for i in range(len(weights)) if i != constant]
    bias = 0.0 if constant is None else float(weights[constant]) * value
    names, matrix = _rows(reference, [str(results.model.exog_names[i]) for i in keep])
    rows = np.full((len(matrix), len(weights)), value)
    rows[:, keep] = matrix
    predicted = np.asarray(results.model.predict(weights, rows), np.float64)
    model = _linear(weights[keep], bias, logistic)
    _describe(model, names, classes if logistic else ())
    if logistic:
        predicted = np.column_stack([1 - predicted, predicted])
    return _checked(model, matrix, predicted, tolerance, "statsmodels")


def _is_logistic(results: Any) -> bool:
    """Return whether a model is logistic, and not linear.

    Raises:
        InvalidField: it is neither.
    """
    model = results.model
    kind = type(model).__name__
    if kind in LINEAR or kind == "Logit":
        return kind == "Logit"
    family = getattr(model, "family", None)
    found = (type(family).__name__, type(getattr(family, "link", None)).__name__)
    if kind == "GLM" and found in {("Gaussian", "Identity"), ("Binomial", "Logit")}:
        return found[0] == "Binomial"
    raise _wrong("model", f"{kind} of statsmodels is not linear or logistic; convert it to ONNX yourself")


def _linear(weights: Matrix, bias: float, logistic: bool) -> Any:
    """Return the graph of features @ weights + bias in float64, and of both classes' probabilities if logistic."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise ImportError("from_statsmodels needs the extra: pip install 'modelward[onnx]'") from error
    sums = "sums" if logistic else OUTPUT
    nodes = [helper.make_node("MatMul", [INPUT, "weights"], ["products"])]
    nodes.append(helper.make_node("Add", ["products", "bias"], [sums]))
    if logistic:
        nodes.append(helper.make_node("Neg", [sums], ["negated"]))
        nodes.append(helper.make_node("Concat", ["negated", sums], ["both"], axis=1))
        nodes.append(helper.make_node("Sigmoid", ["both"], [OUTPUT]))
    constants = {"weights": weights.reshape(-1, 1), "bias": np.array([bias])}
    width = {INPUT: len(weights), OUTPUT: 2 if logistic else 1}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["rows", width[name]])] for name in (INPUT, OUTPUT)
    )
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, producer_name="modelward", opset_imports=opsets, ir_version=IR_VERSION)


def _rows(reference: Any, names: Sequence[str]) -> tuple[list[str], Matrix]:
    """Return the names of the columns, if they are known, and the rows as float64 of shape (rows, columns)."""
    if isinstance(reference, np.ndarray):
        matrix = np.asarray(reference, np.float64)
    else:
        table = named_columns(reference)
        names = list(names) or list(table)
        if missing := [name for name in names if name not in table]:
            raise _wrong("reference", f"lacks the columns {', '.join(missing)}")
        matrix = np.column_stack(list(to_columns({name: table[name] for name in names}).values())).astype(np.float64)
    if matrix.ndim != 2 or not len(matrix) or (names and matrix.shape[1] != len(names)):
        wanted = f"{len(names)} columns" if names else "columns"
        raise _wrong("reference", f"has shape {matrix.shape}; give at least one row of {wanted}")
    return list(names), matrix


def _describe(model: Any, names: Sequence[str], classes: Sequence[Any]) -> None:
    from onnx import helper

    given = {FEATURE_NAMES: list(names), CLASSES: list(classes)}
    helper.set_model_props(model, {key: json.dumps(values) for key, values in given.items() if values})


def _checked(model: Any, matrix: Matrix, expected: Matrix, tolerance: float, library: str) -> OnnxExport:
    """Compare the predictions of both.

    Raises:
        InvalidField: they differ by more than the tolerance, or the outputs cannot be used.
    """
    got = _predicted(model, matrix)
    expected = expected.astype(np.float64).reshape(got.shape)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    difference = np.where(same, 0.0, np.abs(got - expected))
    size = np.abs(expected)
    relative = np.divide(difference, size, out=np.zeros_like(difference), where=size > 0)
    parity = Parity(len(matrix), float(difference.max()), float(relative.max()))
    if not (difference <= tolerance * np.maximum(1.0, size)).all():
        found = f"by up to {parity.max_absolute:.3g} (relative {parity.max_relative:.3g})"
        raise _wrong(
            "model", f"as ONNX it predicts other numbers than {library}, {found}; the tolerance is {tolerance:g}"
        )
    return OnnxExport(model, parity)


def _predicted(model: Any, matrix: Matrix) -> Matrix:
    """Return what onnxruntime predicts: numbers of shape (rows,), or probabilities of shape (rows, classes)."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(model.SerializeToString())
        try:
            predictor = OnnxPredictor(OnnxModel(path), None)
            outputs = predictor.outputs(predictor.prepare(matrix))
        except ValueError as error:
            raise _wrong("model", f"cannot be used as ONNX: {error}") from error
    if outputs.classes is None:
        return outputs.predicted
    if outputs.probabilities is None:
        raise _wrong("model", f"gives no probabilities of its classes: {outputs.no_probabilities}")
    return outputs.probabilities


def _wrong(field: str, fix: str) -> InvalidField:
    return InvalidField(FieldViolation(field, fix))
