"""Models on their way to files and back: what is saved, in which format, and how it is loaded."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from modelward.errors import DigestMismatch, FieldViolation, FormatNotExecutable, InvalidField
from modelward.lifecycle import ArtifactFile, ModelFormat, ModelVersion
from modelward.v1 import lifecycle_pb2 as pb

CHUNK_BYTES = 1 << 20
"""Bytes of a file in one message, well under gRPC's limit of 4 MiB."""
TRUSTED_TYPES = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)
"""What skops may build beyond the types that it trusts by itself: parts of scikit-learn's models that hold numbers.

The list is ours, on the server too: what a model says of itself does not count.
"""


@dataclass(frozen=True)
class Saved:
    """A model as files."""

    folder: Path
    files: tuple[ArtifactFile, ...]
    framework: str
    params: dict[str, str]


@contextmanager
def saved(model: object) -> Iterator[Saved]:
    """Give a model as files for the time of the block.

    Args:
        model: a path to a file or folder, a scikit-learn estimator (saved by skops), or an ONNX model.

    Raises:
        InvalidField: it is none of these, or there is no file.
    """
    if isinstance(model, str | Path):
        yield _from_path(Path(model))
        return
    with TemporaryDirectory() as folder:
        framework = _write(model, Path(folder))
        yield Saved(Path(folder), describe(Path(folder)), framework, _params(model))


def _from_path(path: Path) -> Saved:
    if path.is_file():
        return Saved(path.parent, (describe_file(path, path.name),), "", {})
    files = describe(path)
    if not files:
        raise InvalidField(FieldViolation("model", f"there is no file at {path}"))
    return Saved(path, files, "", {})


def _write(model: object, folder: Path) -> str:
    """Save a model into a folder and return the framework that made it."""
    if type(model).__module__.startswith("onnx") and hasattr(model, "SerializeToString"):
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        return f"onnx, by {getattr(model, 'producer_name', '') or 'unknown'}"
    if hasattr(model, "fit") and hasattr(model, "get_params"):
        return _write_estimator(model, folder / "model.skops")
    fix = "is neither a path, a scikit-learn estimator nor an ONNX model; save it to a file and give the path"
    raise InvalidField(FieldViolation("model", f"{type(model).__name__} {fix}"))


def _write_estimator(model: object, path: Path) -> str:
    try:
        import sklearn
        from skops import io
    except ImportError as error:
        raise ImportError("saving an estimator needs the extra: pip install 'modelward[sklearn]'") from error
    io.dump(model, path)
    return f"scikit-learn {sklearn.__version__}"


def _params(model: Any) -> dict[str, str]:
    """Return an estimator's plain parameters, as it tells them."""
    params = model.get_params() if hasattr(model, "get_params") else {}
    return {key: str(value) for key, value in params.items() if isinstance(value, str | int | float | bool | None)}


def describe(folder: Path) -> tuple[ArtifactFile, ...]:
    """Describe every file below a folder, by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(describe_file(path, path.relative_to(folder).as_posix()) for path in paths)


def describe_file(path: Path, name: str) -> ArtifactFile:
    with path.open("rb") as file:
        return ArtifactFile(name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def upload_parts(folder: Path, files: Iterable[ArtifactFile]) -> Iterator[pb.UploadBlobsRequest]:
    """Give the messages that upload files: of each its header, then its bytes."""
    for file in files:
        yield upload_header(file)
        with (folder / file.path).open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                yield pb.UploadBlobsRequest(chunk=chunk)


def upload_header(file: ArtifactFile) -> pb.UploadBlobsRequest:
    return pb.UploadBlobsRequest(header=pb.BlobHeader(sha256=file.sha256, size_bytes=file.size_bytes))


class Download:
    """Writes a stream of files into a folder and verifies each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: list[Path] = []
        self._hash = hashlib.sha256()
        self._expected = ""

    def take(self, part: pb.DownloadArtifactResponse) -> None:
        """Write the next part.

        Raises:
            DigestMismatch: the file before is not what the registry says it is.
        """
        if part.HasField("file"):
            self.finish()
            self._begin(part.file.path, part.file.sha256)
        else:
            self._hash.update(part.chunk)
            with self._paths[-1].open("ab") as file:
                file.write(part.chunk)

    def finish(self) -> None:
        """Verify the file that came last; one that does not hold is removed."""
        actual = self._hash.hexdigest()
        if self._expected and actual != self._expected:
            self._paths[-1].unlink()
            raise DigestMismatch(
                f"{self._paths[-1].name} came with SHA-256 {actual}, not {self._expected}; download it again",
                expected=self._expected,
                actual=actual,
            )

    def _begin(self, name: str, sha256: str) -> None:
        path = inside(self._folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        self._paths.append(path)
        self._hash, self._expected = hashlib.sha256(), sha256


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder.

    Raises:
        InvalidField: the name would lead out of the folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in name:
        raise InvalidField(FieldViolation("path", f"{name!r} leads out of the folder"))
    return folder.joinpath(*parts)


def load(version: ModelVersion, folder: Path, trusted: Sequence[str]) -> Any:
    """Load a model from its files.

    Args:
        trusted: names of further types that a skops file may hold, as `my_package.MyTransformer`.

    Returns:
        the estimator, or for ONNX an `onnxruntime.InferenceSession`.

    Raises:
        FormatNotExecutable: loading this format would run code of its author, or is not known.
    """
    if version.format is ModelFormat.SKOPS:
        return _load_skops(folder / "model.skops", trusted)
    if version.format is ModelFormat.ONNX:
        import onnxruntime

        return onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    raise FormatNotExecutable(
        f"{version} is stored as {version.format}, which is not loaded here; download it and load it yourself",
        model=version.model,
        version=version.version,
        format=version.format,
    )


def _load_skops(path: Path, trusted: Sequence[str]) -> Any:
    try:
        from skops import io
    except ImportError as error:
        raise ImportError("loading an estimator needs the extra: pip install 'modelward[sklearn]'") from error
    return io.load(path, trusted=[*TRUSTED_TYPES, *trusted])
