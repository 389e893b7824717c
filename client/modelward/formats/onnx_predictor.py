"""The predictor of an ONNX model: one input of shape (rows, columns), or one of shape (rows, 1) for each column."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.errors import InvalidField
from modelward.formats.onnx_graph import FEATURE_NAMES, OnnxGraph
from modelward.formats.onnx_inputs import OnnxInput, OnnxRows, check_inputs
from modelward.formats.onnx_outputs import OnnxOutputs, choose_outputs
from modelward.formats.onnx_structure import locations, parse
from modelward.formats.outputs import Outputs, numbers
from modelward.formats.predictor import Predictor
from modelward.signature import Signature


class OnnxModel:
    """A session of onnxruntime, with what the graph says of its inputs and outputs."""

    def __init__(self, path: Path) -> None:
        """Load a model whose file was checked.

        Raises:
            ValueError: its weights are in other files, or its inputs or outputs cannot be mapped to a table.
        """
        import onnxruntime as runtime

        self.graph: OnnxGraph = _read(path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session: Any = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs: list[OnnxInput] = [OnnxInput.of(one) for one in self.session.get_inputs()]
        check_inputs(self.inputs)
        self.outputs: OnnxOutputs = choose_outputs(self.graph, self.session.get_outputs())
        self.output_names: list[str] = [one.name for one in self.session.get_outputs()]

    def signature(self) -> Signature:
        """Return the names of the inputs, or of the columns of the only input, and the classes."""
        first, outputs = self.inputs[0], self.outputs
        names = [one.name for one in self.inputs] if len(self.inputs) > 1 else self._column_names()
        width = len(names) or first.width or 0
        kinds = [one.kind for one in self.inputs] if len(self.inputs) > 1 else [first.kind] * width
        return Signature.of(
            names,
            width=width,
            kinds=kinds,
            classes=outputs.classes or (),
            classifies=outputs.classifies,
            probabilities=outputs.classifies and bool(outputs.scores),
        )

    def _column_names(self) -> list[str]:
        """Return the names that the model gives the columns of its only input; none if not one for each."""
        width = self.inputs[0].width
        named = [str(name) for name in self.graph.named(FEATURE_NAMES) or ()]
        return named if width is None or len(named) == width else []


class OnnxPredictor(Predictor):
    """A model whose `raw` is an `onnxruntime.InferenceSession`."""

    def __init__(self, model: OnnxModel, signature: Signature | None) -> None:
        self._model = model
        own = model.signature()
        super().__init__(model.session, own.completed(signature), given_names=not own.names)

    def _calls(self) -> None:
        self.in_frame = False
        if any(column.name == "probabilities" for column in self.signature.outputs):
            self._offer_probabilities()

    def predict(self, table: Any) -> NDArray[Any]:
        """Predict each row of a table; see `Predictor.predict`."""
        rows = self.prepare(table)
        return self.outputs(rows).labels()

    def _predict_proba(self, table: Any) -> NDArray[Any]:
        decoded = self.outputs(self.prepare(table))
        if decoded.probabilities is None:
            raise ValueError(f"the model gives no probabilities: {decoded.no_probabilities}")
        return decoded.probabilities

    def call(self, rows: OnnxRows) -> list[Any]:
        """Run the session over rows from `prepare`; this is the call that is timed."""
        answers: list[Any] = self._model.session.run(None, rows.inputs)
        return answers

    def outputs(self, rows: OnnxRows) -> Outputs:
        """Return the predictions of rows from `prepare`."""
        chosen = self._model.outputs
        answers = dict(zip(self._model.output_names, self.call(rows), strict=True))
        if not chosen.classifies:
            return Outputs(numbers(np.asarray(answers[chosen.scores]), len(rows)))
        return chosen.read(answers, len(rows))

    def prepare(self, table: Any) -> OnnxRows:
        """Return a table as the model's inputs; see `Predictor.prepare`."""
        if isinstance(table, np.ndarray) and self._fits(table) and table.dtype.kind in "fiub":
            return OnnxRows(self._from_matrix(table))
        rows: OnnxRows = super().prepare(table)
        return OnnxRows(self._from_matrix(rows)) if isinstance(rows, np.ndarray) else rows

    def from_columns(self, columns: Mapping[str, NDArray[Any]]) -> OnnxRows:
        """Return columns in order as the model's inputs."""
        inputs = self._model.inputs
        if len(inputs) == 1:
            return OnnxRows({inputs[0].name: inputs[0].filled(columns)})
        return OnnxRows(
            {one.name: one.filled({name: columns[name]}) for one, name in zip(inputs, columns, strict=True)}
        )

    def _from_chosen(self, rows: NDArray[Any]) -> OnnxRows:
        try:
            return OnnxRows(self._from_matrix(rows))
        except InvalidField:  # The same with columns, whose error has the name of one.
            return self.from_columns(dict(zip(self._last_chosen, rows.T, strict=True)))

    def _matrix(self, frame: Any) -> Any:
        """Return a frame's columns; integers are not converted to floats, which could not hold them all."""
        floats = all(isinstance(dtype, np.dtype) and dtype.kind == "f" for dtype in frame.dtypes)
        return frame.to_numpy() if floats else self._from_columns(frame)

    def _choose(self, names: Sequence[str]) -> Sequence[str]:
        """Return the columns that the model takes; an only input of one column may have the name of the column."""
        only = self._model.inputs[0]
        return [only.name] if self._width == 1 and only.name in names else super()._choose(names)

    def _from_matrix(self, matrix: NDArray[Any]) -> dict[str, NDArray[Any]]:
        inputs = self._model.inputs
        if len(inputs) == 1:
            return {inputs[0].name: inputs[0].taken(matrix)}
        return {one.name: one.taken(matrix[:, [i]]) for i, one in enumerate(inputs)}


def _read(path: Path) -> OnnxGraph:
    parsed = parse(path)
    if any(locations(parsed)):
        raise ValueError("its weights are in other files; save the model with its weights inside")
    return OnnxGraph(parsed)
