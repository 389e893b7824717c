"""The files that make a folder an MLflow model: `MLmodel`, `requirements.txt` and the input example."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelward.formats import Format, formats
from modelward.lifecycle import ModelVersion
from modelward.signature import ColumnKind, Signature, SignatureColumn
from modelward_server.mlflow.input_example import write_example

FILE = "MLmodel"
LOADER = "modelward.mlflow_loader"
TYPES = {ColumnKind.NUMBER: "double", ColumnKind.BOOLEAN: "boolean", ColumnKind.TIME: "datetime"}
"""MLflow's types of columns; text differs for inputs and outputs."""


def has_own_description(version: ModelVersion) -> bool:
    """Return whether a version's files include MLflow's description, such as those of an imported one."""
    return any(file.path == FILE for file in version.files)


def description_digest(version: ModelVersion, example: bytes) -> str:
    """Return a digest of what `describe_model` depends on that may change after the registration."""
    signature = version.signature.to_dict() if version.signature else None
    return hashlib.sha256(json.dumps(signature, sort_keys=True).encode() + example).hexdigest()


def describe_model(version: ModelVersion, folder: Path, run_id: str, model_id: str, example: bytes = b"") -> None:
    """Write MLflow's description of a model into the folder of its files, unless they include one.

    It has the library's own flavor, and `python_function`, which loads the model as Modelward does. The requirements
    are those of the format: MLflow's inference would cost seconds and a child process per model.

    Args:
        version: the version.
        folder: where the files are written; the model's own need not be there.
        run_id: of the version's run.
        model_id: of its logged model.
        example: rows of its reference as an Arrow stream; empty if there are none.
    """
    from mlflow.models import Model

    if has_own_description(version):
        return
    description = Model(run_id=run_id, model_id=model_id)
    description.metadata = {"framework": version.framework, "digest": version.digest}
    if known := formats().get(version.format):
        _add_flavors(description, version, known, folder)
        if info := write_example(folder, example, version.signature):
            description.saved_input_example_info = info
    description.save(str(folder / FILE))


def _add_flavors(description: Any, version: ModelVersion, known: Format, folder: Path) -> None:
    name = version.model_file or known.file_name
    requirements = ["modelward"]
    if flavor := known.flavor(name, version.framework):
        description.add_flavor(flavor.name, **flavor.options)
        requirements = [*flavor.requirements, *requirements]
    if known.runs_code:
        return
    signature = version.signature.to_dict() if version.signature else None
    description.metadata |= {"modelward": {"format": known.name, "signature": signature}}
    description.signature = _signature(version.signature) if version.signature else None
    description.add_flavor("python_function", loader_module=LOADER, data=name)
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")


def _signature(signature: Signature) -> Any:
    """Return MLflow's form of a signature; None where the kind of a column is not known.

    A column of text is of any type: for MLflow's `string` it refuses the categories of pandas.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, schema

    any_type: Any = schema.AnyType
    inputs = _columns(signature.inputs, any_type())
    outputs = _columns([replace(output, name="") for output in signature.outputs[:1]], "string")
    return ModelSignature(Schema(inputs), Schema(outputs) if outputs else None) if inputs else None


def _columns(columns: Sequence[SignatureColumn], text: Any) -> list[Any]:
    """Return MLflow's form of columns, given its type for text; none where the kind of one is not known."""
    from mlflow.types import ColSpec

    types: dict[ColumnKind, Any] = {**TYPES, ColumnKind.CATEGORY: text}
    if any(column.kind not in types for column in columns):
        return []
    return [ColSpec(types[column.kind], column.name or None) for column in columns]
