"""Folders that MLflow saved a model to: which of the files is the model, and what it takes; without MLflow."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelward.lifecycle import ArtifactFile
from modelward.signature import ColumnKind, Signature

DESCRIPTION = "MLmodel"
"""MLflow's name for the file that describes the model."""
MAX_BYTES = 1 << 20
"""Maximum size of a description that is read."""
MAX_PARTS, MAX_DEPTH = 10_000, 20
"""Maximum number of parts, such as a key or a value, and of levels of a description: they limit the time to read it."""
MAX_NAME = 1000
"""Maximum length of a name."""
MAX_INTEGER = 2**63 - 1
"""Maximum of a class that is a whole number."""
PYTHON = "python_function"
"""The flavor that every MLflow model has; the others are those of libraries."""
OWN_LOADERS = ("mlflow.", "modelward.")
"""What the modules that load models as their libraries do begin with."""
OWN_CODE = ("python_model", "model_code_path")
"""Options of `python_function` for models that are code of their author."""
CUSTOM_LOADER = "mlflow.pyfunc.model"
"""The module that loads such models."""
KINDS = {
    **dict.fromkeys(("double", "float", "integer", "long"), ColumnKind.NUMBER),
    "string": ColumnKind.CATEGORY,
    "boolean": ColumnKind.BOOLEAN,
    "datetime": ColumnKind.TIME,
}
"""The kinds of columns by MLflow's types; of others the kind is not known."""
LIBRARIES = {"sklearn": "scikit-learn"}
"""Names of libraries that differ from those of their flavors."""


@dataclass(frozen=True)
class MlflowFolder:
    """What MLflow's description of a model says."""

    flavors: Mapping[str, Mapping[str, Any]]
    signature: Signature | None
    """The columns that it takes; None if it does not tell."""

    @property
    def own_code(self) -> str:
        """Why only MLflow can load it; empty if its library can."""
        options = self.flavors.get(PYTHON, {})
        loader = options.get("loader_module")
        by_library = isinstance(loader, str) and loader.startswith(OWN_LOADERS) and loader != CUSTOM_LOADER
        if not options or (by_library and not any(option in options for option in OWN_CODE)):
            return ""
        return "its python_function runs code of its author's, which only MLflow loads"

    @property
    def framework(self) -> str:
        """The library with its release, such as `scikit-learn 1.7.2`; empty if it names none."""
        return next(self._frameworks(), "")

    def _frameworks(self) -> Iterator[str]:
        for name, options in self._libraries():
            releases = [
                value for key, value in options.items() if str(key).endswith("_version") and _is_text(value, 40)
            ]
            yield from (f"{LIBRARIES.get(name, name)[:80]} {release}" for release in releases)

    def _libraries(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        return ((name, options) for name, options in self.flavors.items() if name != PYTHON)

    def model_files(self, paths: Sequence[str]) -> list[str]:
        """Return those of the paths that the flavors name, the libraries' own before that of `python_function`."""
        ordered = [*(options for _, options in self._libraries()), self.flavors.get(PYTHON, {})]
        named = [value for options in ordered for value in options.values() if isinstance(value, str)]
        return [path for path in dict.fromkeys(named) if path in paths]

    def describe(self) -> str:
        """Return the names of the flavors, for a reason."""
        names = [name for name, _ in self._libraries()] or [PYTHON]
        return f"MLflow's {', '.join(names)}"[:200]


def described_by(files: Sequence[ArtifactFile]) -> ArtifactFile | None:
    """Return the file with MLflow's description of a model; None if it is no folder of MLflow's."""
    return next((file for file in files if file.path == DESCRIPTION and file.size_bytes <= MAX_BYTES), None)


def read_description(path: Path) -> MlflowFolder | None:
    """Return what a description says; None if it is none, or names no flavor."""
    import yaml

    try:
        text = path.read_bytes()
        if not _is_readable(text):
            return None
        described = yaml.safe_load(text)
        flavors = {name: dict(options or {}) for name, options in described["flavors"].items() if _is_text(name)}
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # Anybody may have written it.
    return MlflowFolder(flavors, _signature(described)) if flavors else None


def _is_readable(text: bytes) -> bool:
    """Return whether a description is within the limits; what is beyond them is not parsed."""
    import yaml

    depth = 0
    for number, event in enumerate(yaml.parse(text, yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if number > MAX_PARTS or depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
            return False  # Aliases, which MLflow does not need, could multiply the parts.
    return True


def _signature(described: Mapping[str, Any]) -> Signature | None:
    for read in (_own_signature, _signature_of_mlflow):
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            if _is_allowed(found := read(described)):
                return found
    return None


def _own_signature(described: Mapping[str, Any]) -> Signature:
    """Return what Modelward wrote when it showed the model in an MLflow."""
    return Signature.from_dict(described["metadata"]["modelward"]["signature"])


def _signature_of_mlflow(described: Mapping[str, Any]) -> Signature:
    columns = json.loads(described["signature"]["inputs"])
    kinds = [KINDS.get(column["type"], ColumnKind.UNKNOWN) for column in columns]
    return replace(Signature.of([column["name"] for column in columns], kinds=kinds), outputs=())


def _is_allowed(signature: Signature) -> bool:
    """Return whether the contract allows a signature: anybody may have written it."""
    names = [column.name for column in (*signature.inputs, *signature.outputs)]
    return bool(signature.inputs) and all(map(_is_text, names)) and all(map(_is_label, signature.classes))


def _is_label(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return -MAX_INTEGER <= value <= MAX_INTEGER if isinstance(value, int) else _is_text(value)


def _is_text(value: object, length: int = MAX_NAME) -> bool:
    return isinstance(value, str) and len(value) <= length and value.isprintable()
