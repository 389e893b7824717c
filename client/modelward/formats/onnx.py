"""ONNX graphs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from modelward.formats.base import MlflowFlavor, package_of
from modelward.formats.onnx_predictor import OnnxModel, OnnxPredictor
from modelward.formats.onnx_structure import check_confined
from modelward.formats.predictor import Predictor
from modelward.signature import Signature

IR_VERSION, GRAPH, OPSET_IMPORT = 1, 7, 8
"""Fields of `ModelProto` in onnx.proto that every model has."""
MAX_FIELD, MAX_FIELDS = 26, 10_000
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protobuf."""


class OnnxFormat:
    """A model of the `onnx` package."""

    name = "onnx"
    file_name = "model.onnx"
    extra = "onnx"
    runs_code = False
    modules: Sequence[str] = ("onnxruntime",)

    def takes(self, model: object) -> bool:
        """Take the messages of the `onnx` package."""
        return package_of(type(model)) == "onnx" and hasattr(model, "SerializeToString")

    def save(self, model: Any, path: Path) -> str:
        """Save a graph."""
        path.write_bytes(model.SerializeToString())
        return f"onnx, by {getattr(model, 'producer_name', '') or 'unknown'}"

    def recognises(self, path: Path) -> bool:
        """Recognise the fields of a model at the top level of the file, without reading what is in them."""
        try:
            with path.open("rb") as file:
                fields = set(_top_level_fields(file))
        except ValueError:
            return False
        return {IR_VERSION, GRAPH, OPSET_IMPORT} <= fields and max(fields) <= MAX_FIELD

    def check(self, path: Path) -> None:
        """Check that it refers only to files in its own folder and below.

        Raises:
            InvalidField: it names another file, or is not an ONNX model.
        """
        check_confined(path)

    def untrusted(self, path: Path, trusted: Sequence[str] = ()) -> list[str]:
        """Return nothing: the format has no types."""
        return []

    def load(self, path: Path, trusted: Sequence[str] = ()) -> Any:
        """Return an `OnnxModel`, which holds an `onnxruntime.InferenceSession`."""
        return OnnxModel(path)

    def signature(self, model: Any) -> Signature:
        """Return what a loaded model's graph says; a message of the `onnx` package says it once it is loaded."""
        return model.signature() if isinstance(model, OnnxModel) else Signature()

    def predictor(self, model: Any, signature: Signature | None) -> Predictor:
        """Return a predictor whose `raw` is the session."""
        return OnnxPredictor(model, signature)

    def flavor(self, file_name: str, framework: str) -> MlflowFlavor | None:
        """Return MLflow's own flavor for ONNX."""
        return MlflowFlavor("onnx", {"data": file_name, "onnx_version": "", "code": None}, ("onnxruntime",))


def _top_level_fields(file: BinaryIO) -> Iterator[int]:
    """Yield the numbers of a message's fields, and skip their content.

    Raises:
        ValueError: the file is not a protobuf message, or has too many fields.
    """
    size = file.seek(0, 2)
    file.seek(0)
    for _ in range(MAX_FIELDS):
        if file.tell() == size:
            return
        key = _varint(file)
        _skip(file, key & 7, size)
        yield key >> 3
    raise ValueError("too many fields")


def _skip(file: BinaryIO, wire_type: int, size: int) -> None:
    if wire_type == VARINT:
        _varint(file)
        return
    known = {FIXED64: 8, FIXED32: 4}
    length = _varint(file) if wire_type == BYTES else known.get(wire_type, size + 1)
    if file.tell() + length > size:
        raise ValueError("a field is longer than the file")
    file.seek(length, 1)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number does not end")


FORMAT = OnnxFormat()
