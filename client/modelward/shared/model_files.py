"""Save models to files and load them: supported objects, formats and trust rules."""

import pickle
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from modelward._argument_types import as_path
from modelward._transfers import describe_file
from modelward.errors import (
    FieldViolation,
    FormatNotExecutable,
    InvalidField,
    ModelFailed,
    ModelwardError,
    UntrustedTypesWarning,
)
from modelward.lifecycle import ArtifactFile, ModelFormat, ModelVersion
from modelward.shared.manifest import check_names
from modelward.shared.onnx_structure import check_confined
from modelward.shared.trusted_types import TRUSTED_TYPES
from modelward.v1.common_pb2 import Dataset

MAIN_FILES = {ModelFormat.SKOPS: "model.skops", ModelFormat.ONNX: "model.onnx", ModelFormat.PICKLE: "model.pkl"}
"""The file at the artifact's root that holds the model, for each format that can be loaded and run."""
INLINE_BYTES = 64 << 10
"""Tables up to this size stay in their message, regardless of the rest of the message."""


@dataclass(frozen=True)
class Saved:
    """A model saved as files."""

    folder: Path
    files: tuple[ArtifactFile, ...]
    framework: str
    params: dict[str, str]


@contextmanager
def saved(model: object) -> Iterator[Saved]:
    """Save a model as files for the duration of the block.

    Args:
        model: a path to a file or folder, a scikit-learn estimator (saved by skops), or an ONNX model.

    Yields:
        the folder, its files, the framework and the parameters.

    Raises:
        InvalidField: it is none of these, there is no file, or it cannot be saved.
    """
    if isinstance(model, str | Path):
        yield _from_path(as_path(model, "model"))  # An empty path would be the current folder with all of its contents.
        return
    with TemporaryDirectory() as folder:
        framework = _write(model, Path(folder))
        yield Saved(Path(folder), describe(Path(folder)), framework, _params(model))


def _from_path(path: Path) -> Saved:
    if path.is_file():
        check_names([path.name])
        return Saved(path.parent, (describe_file(path, path.name),), "", {})
    files = describe(path)
    if not files:
        raise InvalidField(FieldViolation("model", f"there is no file at {path}"))
    return Saved(path, files, "", {})


def _write(model: object, folder: Path) -> str:
    """Save a model into a folder and return the framework that made it."""
    if isinstance(model, type):
        fix = f"{model.__name__} is a class; give an instance, such as {model.__name__}().fit(X, y)"
        raise InvalidField(FieldViolation("model", fix))
    if type(model).__module__.startswith("onnx") and hasattr(model, "SerializeToString"):
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        return f"onnx, by {getattr(model, 'producer_name', '') or 'unknown'}"
    if hasattr(model, "fit") and hasattr(model, "get_params"):
        return _write_estimator(model, folder / "model.skops")
    fix = "is not a path, a scikit-learn estimator or an ONNX model; save it to a file and give the path"
    raise InvalidField(FieldViolation("model", f"{type(model).__name__} {fix}"))


def _write_estimator(model: object, path: Path) -> str:
    try:
        import sklearn
        from skops import io
    except ImportError as error:
        raise ImportError("saving an estimator needs the extra: pip install 'modelward[sklearn]'") from error
    try:
        io.dump(model, path)
        untrusted = untrusted_types(io, path)
    except Exception as error:  # skops and the model's own methods may raise any exception.
        fix = f"{type(model).__name__} cannot be saved by skops: {error}; save it to a file and give the path"
        raise InvalidField(FieldViolation("model", fix)) from error
    _check_importable(untrusted)
    if untrusted:
        warnings.warn(_untrusted_message(type(model).__name__, untrusted), UntrustedTypesWarning, stacklevel=2)
    return f"scikit-learn {sklearn.__version__}"


def untrusted_types(io: Any, path: Path, trusted: Sequence[str] = ()) -> list[str]:
    """Return the untrusted types in a skops file."""
    return sorted(set(io.get_untrusted_types(file=path)) - {*TRUSTED_TYPES, *trusted})


def _check_importable(names: Sequence[str]) -> None:
    """Reject types that cannot be found by name, because nobody could load them, even with trust.

    Raises:
        InvalidField: naming the type.
    """
    for name in names:
        module, _, own = name.rpartition(".")
        if module in sys.modules and not hasattr(sys.modules[module], own):
            fix = f"contains {name}, which cannot be found by name; define it at the top level of a module"
            raise InvalidField(FieldViolation("model", f"{fix}, not as a lambda or inside a function"))


def _untrusted_message(model: str, untrusted: Sequence[str]) -> str:
    listed = ", ".join(map(repr, untrusted))
    return (
        f"{model} contains types that are not trusted by default: the server does not run it, and load() and follow() "
        f"need trusted=[{listed}]"
    )


def _params(model: Any) -> dict[str, str]:
    """Return an estimator's parameters of plain types, from its `get_params`."""
    params = model.get_params() if hasattr(model, "get_params") else {}
    return {key: str(value) for key, value in params.items() if isinstance(value, str | int | float | bool | None)}


def describe(folder: Path) -> tuple[ArtifactFile, ...]:
    """Describe every file below a folder, sorted by path.

    Raises:
        InvalidField: a file's name is not allowed in a manifest.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    check_names([path.relative_to(folder).as_posix() for path in paths])
    return tuple(describe_file(path, path.relative_to(folder).as_posix()) for path in paths)


def load(version: ModelVersion, folder: Path, trusted: Sequence[str], allow_pickle: bool) -> Any:
    """Load a model from its files.

    Args:
        trusted: names of further types that a skops file may contain, such as `my_package.MyTransformer`.
        allow_pickle: also load a pickle, which runs its author's code.

    Returns:
        the estimator; for ONNX an `onnxruntime.InferenceSession`; for a pickle the unpickled object.

    Raises:
        FormatNotExecutable: loading this format would run its author's code, or the format is unknown, or the file
            contains types that are not trusted.
        InvalidField: an ONNX model refers to files outside of its folder.
        ModelFailed: the files do not contain a valid model.
        ImportError: the library that loads the format is not installed.
    """
    try:
        return _load(version, folder, trusted, allow_pickle)
    except (ModelwardError, ImportError):
        raise
    except Exception as error:
        raise ModelFailed(
            f"{version} did not load: {type(error).__name__}: {error}", model=version.model, version=version.version
        ) from error


def _load(version: ModelVersion, folder: Path, trusted: Sequence[str], allow_pickle: bool) -> Any:
    if version.format is ModelFormat.SKOPS:
        return _load_skops(version, folder / "model.skops", trusted)
    if version.format is ModelFormat.ONNX:
        import onnxruntime

        check_confined(folder / "model.onnx")
        return onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    if version.format is ModelFormat.PICKLE and allow_pickle:
        with (folder / "model.pkl").open("rb") as file:
            return pickle.load(file)  # noqa: S301 - the caller trusts the author
    ways = {ModelFormat.PICKLE: "load it yourself, or pass allow_pickle=True to run its author's code"}
    fix = f"download it and {ways.get(version.format, 'load it yourself')}"
    raise FormatNotExecutable(
        f"{version} is stored as {version.format}, which is not loaded here; {fix}",
        model=version.model,
        version=version.version,
        format=version.format,
    )


def _load_skops(version: ModelVersion, path: Path, trusted: Sequence[str]) -> Any:
    try:
        from skops import io
    except ImportError as error:
        raise ImportError("loading an estimator needs the extra: pip install 'modelward[sklearn]'") from error
    untrusted = untrusted_types(io, path, trusted)
    if untrusted:
        fix = f"if you trust its author, pass trusted=[{', '.join(map(repr, untrusted))}]"
        raise FormatNotExecutable(
            f"{version} contains types that are not trusted: {', '.join(untrusted)}; {fix}",
            model=version.model,
            version=version.version,
            format=version.format,
        )
    return io.load(path, trusted=[*TRUSTED_TYPES, *trusted])


def save_tables(tables: Iterable[Dataset], folder: str) -> Saved:
    """Write the Arrow bytes of large tables to files and replace them by their digests."""
    files = []
    for number, table in enumerate(tables):
        if len(table.arrow_ipc) > INLINE_BYTES:
            path = Path(folder, f"{number}.arrow")
            path.write_bytes(table.arrow_ipc)
            files.append(describe_file(path, path.name))
            table.blob = files[-1].sha256
    return Saved(Path(folder), tuple(files), "", {})
