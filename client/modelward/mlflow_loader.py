"""Loads a version's model for MLflow's `python_function` flavor; MLflow imports this module by its name.

The file `MLmodel` beside the model says which format it has, in its metadata under `modelward`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from modelward.formats import formats
from modelward.signature import Signature

if TYPE_CHECKING:  # It imports numpy, which takes as long as the rest of the package.
    from modelward.formats.predictor import Predictor

DESCRIPTION = "MLmodel"
"""The name of MLflow's file that describes a model."""


def _load_pyfunc(path: str) -> "Predictor":
    """Return the model in a file.

    Args:
        path: the model's file, in the folder of the file `MLmodel`.

    Raises:
        ValueError: its format is not installed here, or it contains types that are not trusted.
    """
    file = Path(path)
    described = _described(file)
    known = formats().get(described["format"])
    if known is None or known.runs_code:
        raise ValueError(f"{file.name} is stored as {described['format']}, which is not loaded here")
    known.check(file)
    if untrusted := known.untrusted(file):
        raise ValueError(f"{file.name} contains types that are not trusted: {', '.join(untrusted)}")
    signature = Signature.from_dict(described["signature"]) if described["signature"] else None
    return known.predictor(known.load(file), signature)


def _described(file: Path) -> dict[str, Any]:
    """Return what Modelward wrote about a model when it was shown in MLflow."""
    folder = next(parent for parent in file.parents if (parent / DESCRIPTION).exists())
    described: dict[str, Any] = yaml.safe_load((folder / DESCRIPTION).read_text())["metadata"]["modelward"]
    return described
