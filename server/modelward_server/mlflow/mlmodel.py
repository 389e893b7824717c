"""The files that make a folder an MLflow model: `MLmodel` and `requirements.txt`."""

from pathlib import Path
from typing import Any

from modelward.formats import Format, formats
from modelward.lifecycle import ModelVersion
from modelward.signature import ColumnKind, Signature

LOADER = "modelward.mlflow_loader"
TYPES = {
    ColumnKind.NUMBER: "double",
    ColumnKind.CATEGORY: "string",
    ColumnKind.BOOLEAN: "boolean",
    ColumnKind.TIME: "datetime",
}
"""MLflow's types of columns."""


def describe_model(version: ModelVersion, folder: Path, run_id: str, model_id: str) -> None:
    """Write MLflow's description of a model beside its files, unless they include one.

    It has the library's own flavor, and `python_function`, which loads the model as Modelward does. The requirements
    are those of the format: MLflow's inference would cost seconds and a child process per model.
    """
    from mlflow.models import Model

    if (folder / "MLmodel").exists():
        return
    description = Model(run_id=run_id, model_id=model_id)
    description.metadata = {"framework": version.framework, "digest": version.digest}
    if known := formats().get(version.format):
        _add_flavors(description, version, known, folder)
    description.save(str(folder / "MLmodel"))


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
    """Return MLflow's form of a signature; None where the kind of a column is not known."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    if not signature.inputs or any(column.kind not in TYPES for column in signature.inputs):
        return None
    inputs = Schema([ColSpec(TYPES[column.kind], column.name or None) for column in signature.inputs])
    [prediction, *_] = signature.outputs or [None]
    outputs = Schema([ColSpec(TYPES[prediction.kind])]) if prediction and prediction.kind in TYPES else None
    return ModelSignature(inputs, outputs)
