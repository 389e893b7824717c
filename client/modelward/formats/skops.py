"""Estimators of scikit-learn, as files of skops: reading them runs no code."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelward.formats.base import MlflowFlavor
from modelward.formats.predictor import Predictor, estimator_predictor, estimator_signature
from modelward.formats.trusted_types import TRUSTED_TYPES
from modelward.signature import Signature

SCHEMA = b"schema.json"
"""The member of a skops file that describes the objects in it; skops writes it last."""
LOCAL_HEADER, END_RECORD = b"PK\x03\x04", b"PK\x05\x06"
"""Signatures at the begin of a zip file, and of its record of the end (APPNOTE.TXT of PKWARE, 4.3.7 and 4.3.16)."""
END_BYTES = 22
"""Length of the record of the end, whose last two bytes are the length of the comment behind it."""
TAIL_BYTES = 1 << 10


class SkopsFormat:
    """A fitted estimator."""

    name = "skops"
    file_name = "model.skops"
    extra = "sklearn"
    runs_code = False
    modules: Sequence[str] = ("skops.io", "pandas")

    def takes(self, model: object) -> bool:
        """Take whatever has the methods of an estimator."""
        return hasattr(model, "fit") and hasattr(model, "get_params")

    def save(self, model: Any, path: Path) -> str:
        """Save an estimator."""
        import sklearn
        from skops import io

        io.dump(model, path)
        return f"scikit-learn {sklearn.__version__}"

    def recognises(self, path: Path) -> bool:
        """Recognise the archive by its last member; the list of members is not read, which may be of any length."""
        with path.open("rb") as file:
            head = file.read(len(LOCAL_HEADER))
            file.seek(-min(TAIL_BYTES, file.seek(0, 2)), 2)
            tail = file.read()
        return head == LOCAL_HEADER and _ends_with_schema(tail)

    def check(self, path: Path) -> None:
        """Check nothing: skops reads the types before it builds anything, and `load` compares them."""

    def untrusted(self, path: Path, trusted: Sequence[str] = ()) -> list[str]:
        """Return the types in a file that are not trusted."""
        from skops import io

        return sorted(set(io.get_untrusted_types(file=path)) - {*TRUSTED_TYPES, *trusted})

    def load(self, path: Path, trusted: Sequence[str] = ()) -> Any:
        """Load an estimator; skops raises for types that are not trusted."""
        from skops import io

        return io.load(path, trusted=[*TRUSTED_TYPES, *trusted])

    def signature(self, model: Any) -> Signature:
        """Return what the model's attributes say."""
        return estimator_signature(model)

    def predictor(self, model: Any, signature: Signature | None) -> Predictor:
        """Return the predictor of the model's methods."""
        return estimator_predictor(model, signature)

    def flavor(self, file_name: str, framework: str) -> MlflowFlavor | None:
        """Return MLflow's own flavor for scikit-learn, which reads skops."""
        name, _, release = framework.rpartition(" ")
        release = release if name == "scikit-learn" else ""
        options = {"pickled_model": file_name, "sklearn_version": release, "serialization_format": "skops"}
        pinned = f"scikit-learn=={release}" if release else "scikit-learn"
        return MlflowFlavor("sklearn", options | {"code": None}, (pinned, "skops"))


def _ends_with_schema(tail: bytes) -> bool:
    """Return whether the last bytes of a zip file without a comment name the schema as its last member."""
    return tail[-END_BYTES:].startswith(END_RECORD) and tail.endswith(b"\0\0") and SCHEMA in tail


FORMAT = SkopsFormat()
