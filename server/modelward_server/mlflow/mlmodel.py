"""The files that make a folder an MLflow model: `MLmodel` and `requirements.txt`."""

from pathlib import Path

from modelward.lifecycle import ModelFormat, ModelVersion


def describe_model(version: ModelVersion, folder: Path, run_id: str, model_id: str) -> None:
    """Write MLflow's description of a model beside its files, unless they include one."""
    from mlflow.models import Model

    if (folder / "MLmodel").exists():
        return
    description = Model(run_id=run_id, model_id=model_id)
    requirements = _requirements(version)
    if version.format is ModelFormat.SKOPS:
        description.add_flavor(
            "sklearn",
            pickled_model="model.skops",
            sklearn_version=_release(version),
            serialization_format="skops",
            code=None,
        )
    elif version.format is ModelFormat.ONNX:
        description.add_flavor("onnx", data="model.onnx", onnx_version=_release(version), code=None)
    description.metadata = {"framework": version.framework, "digest": version.digest}
    description.save(str(folder / "MLmodel"))
    if requirements:
        (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")


def _requirements(version: ModelVersion) -> list[str]:
    """Return the packages that load the model. MLflow's inference would cost seconds and a child process per model."""
    if version.format is ModelFormat.SKOPS:
        return [f"scikit-learn=={_release(version)}" if _release(version) else "scikit-learn", "skops"]
    return ["onnxruntime"] if version.format is ModelFormat.ONNX else []


def _release(version: ModelVersion) -> str:
    """Return the release in `scikit-learn 1.7.2`."""
    name, _, release = version.framework.rpartition(" ")
    return release if name == "scikit-learn" else ""
