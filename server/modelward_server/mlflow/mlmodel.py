"""The files that make a folder an MLflow model: `MLmodel` and `requirements.txt`."""

from pathlib import Path

from modelward.formats import formats
from modelward.lifecycle import ModelVersion


def describe_model(version: ModelVersion, folder: Path, run_id: str, model_id: str) -> None:
    """Write MLflow's description of a model beside its files, unless they include one.

    The requirements are those of the format: MLflow's inference would cost seconds and a child process per model.
    """
    from mlflow.models import Model

    if (folder / "MLmodel").exists():
        return
    description = Model(run_id=run_id, model_id=model_id)
    known = formats().get(version.format)
    flavor = known.flavor(version.model_file or known.file_name, version.framework) if known else None
    if flavor:
        description.add_flavor(flavor.name, **flavor.options)
    description.metadata = {"framework": version.framework, "digest": version.digest}
    description.save(str(folder / "MLmodel"))
    if flavor and flavor.requirements:
        (folder / "requirements.txt").write_text("\n".join(flavor.requirements) + "\n")
