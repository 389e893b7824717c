"""Save models to files and load them: supported objects, formats and trust rules."""

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

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
from modelward.formats import Format, format_of_file, format_of_object, formats
from modelward.formats.base import package_of
from modelward.lifecycle import ArtifactFile, ModelVersion
from modelward.shared.manifest import check_names
from modelward.signature import Signature
from modelward.v1.common_pb2 import Dataset

if TYPE_CHECKING:  # It imports numpy, which takes as long as the rest of the package.
    from modelward.formats.predictor import Predictor

INLINE_BYTES = 64 << 10
"""Tables up to this size stay in their message, regardless of the rest of the message."""


@dataclass(frozen=True)
class Saved:
    """A model saved as files."""

    folder: Path
    files: tuple[ArtifactFile, ...]
    framework: str
    params: dict[str, str]
    format_name: str = ""
    """The name of its format; empty if the server is to find it out."""
    signature: Signature | None = None
    """What the object says of its columns, outputs and classes; None for files, which are not opened here."""


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
        known = _format_of(model)
        framework = _write(model, known, Path(folder))
        signature = known.signature(model)
        yield Saved(Path(folder), describe(Path(folder)), framework, _params(model), known.name, signature)


def _from_path(path: Path) -> Saved:
    if path.is_file():
        check_names([path.name])
        return Saved(path.parent, (describe_file(path, path.name),), "", {}, _name_of([path]))
    files = describe(path)
    if not files:
        raise InvalidField(FieldViolation("model", f"there is no file at {path}"))
    return Saved(path, files, "", {}, _name_of(path / file.path for file in files if "/" not in file.path))


def _name_of(paths: Iterable[Path]) -> str:
    """Return the name of the first file's format that is known."""
    return next((known.name for path in paths if (known := format_of_file(path))), "")


def _format_of(model: object) -> Format:
    if isinstance(model, type):
        fix = f"{model.__name__} is a class; give an instance, such as {model.__name__}().fit(X, y)"
        raise InvalidField(FieldViolation("model", fix))
    if helper := _onnx_helper(model):
        fix = f"cannot be saved by itself; register(name, {helper}(model, reference).model) of modelward.onnx_export"
        raise InvalidField(FieldViolation("model", f"{type(model).__name__} {fix}"))
    if known := format_of_object(model):
        return known
    fix = "is not a path, a scikit-learn estimator or an ONNX model; save it to a file and give the path"
    raise InvalidField(FieldViolation("model", f"{type(model).__name__} {fix}"))


def _onnx_helper(model: object) -> str:
    """Return the function of `modelward.onnx_export` for a module of PyTorch or a result of statsmodels, or nothing."""
    modules = {package_of(kind) for kind in type(model).__mro__}
    return next((f"from_{name}" for name in ("torch", "statsmodels") if name in modules), "")


def _write(model: object, known: Format, folder: Path) -> str:
    """Save a model into a folder and return the framework that made it."""
    path = folder / known.file_name
    try:
        framework = known.save(model, path)
        untrusted = known.untrusted(path)
    except ImportError as error:
        raise ImportError(f"saving {type(model).__name__} needs {_needed(known)}") from error
    except ModelwardError:
        raise
    except Exception as error:  # A format's library and the model's own methods may raise any exception.
        fix = f"{type(model).__name__} cannot be saved by {known.name}: {error}; save it to a file and give the path"
        raise InvalidField(FieldViolation("model", fix)) from error
    _check_importable(untrusted)
    if untrusted:
        warnings.warn(_untrusted_message(type(model).__name__, untrusted), UntrustedTypesWarning, stacklevel=2)
    return framework


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


def _needed(known: Format) -> str:
    return f"the extra: pip install 'modelward[{known.extra}]'" if known.extra else f"the library of {known.name}"


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


def load(version: ModelVersion, folder: Path, trusted: Sequence[str], allow_pickle: bool) -> "Predictor":
    """Load a model from its files.

    Args:
        trusted: names of further types that a skops file may contain, such as `my_package.MyTransformer`.
        allow_pickle: also load a pickle, which runs its author's code.

    Returns:
        The model: `predict`, `predict_proba` if it has probabilities, `classes`, `signature`, and `raw`, the object
        of its own library.

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


def _load(version: ModelVersion, folder: Path, trusted: Sequence[str], allow_pickle: bool) -> "Predictor":
    known = formats().get(version.format)
    if known is None or (known.runs_code and not allow_pickle):
        allow = ", or pass allow_pickle=True to run its author's code" if known else ""
        fix = f"which is not loaded here; download it and load it yourself{allow}"
        raise _not_loaded(version, f"is stored as {version.format}, {fix}")
    path = folder / main_file(version, known, folder)
    try:
        known.check(path)
        if untrusted := known.untrusted(path, trusted):
            fix = f"if you trust its author, pass trusted=[{', '.join(map(repr, untrusted))}]"
            raise _not_loaded(version, f"contains types that are not trusted: {', '.join(untrusted)}; {fix}")
        return known.predictor(known.load(path, trusted), version.signature)
    except ImportError as error:
        raise ImportError(f"loading {version} needs {_needed(known)}") from error


def main_file(version: ModelVersion, known: Format, folder: Path) -> str:
    """Return the name of the file that holds a version's model.

    A server that is older, or does not know the format, does not name it; what it names must be one of the files.
    """
    names = [file.path for file in version.files if "/" not in file.path]
    named = (name for name in (version.model_file, known.file_name) if name in names)
    recognised = (name for name in names if format_of_file(folder / name) is known)
    return next(named, None) or next(recognised, known.file_name)


def _not_loaded(version: ModelVersion, why: str) -> FormatNotExecutable:
    return FormatNotExecutable(f"{version} {why}", model=version.model, version=version.version, format=version.format)


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
