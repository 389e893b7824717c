"""Pickles: stored as files, and loaded only where their author's code is allowed to run."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelward.formats.base import MlflowFlavor
from modelward.formats.predictor import Predictor, estimator_predictor, estimator_signature
from modelward.signature import Signature

PROTOCOLS = (2, 3, 4, 5)
"""Protocols that name themselves in the first two bytes; those before are text without a signature."""
TORCH = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What follows in a file of PyTorch before 1.6: several pickles and raw numbers, stored and never opened."""


class PickleFormat:
    """A pickle of a single object."""

    name = "pickle"
    file_name = "model.pkl"
    extra = ""
    runs_code = True
    modules: Sequence[str] = ("pickle",)

    def takes(self, model: object) -> bool:
        """Take no object: whoever wants a pickle saves one, and registers the file."""
        return False

    def save(self, model: Any, path: Path) -> str:
        """Never called, since no object is taken."""
        raise NotImplementedError

    def recognises(self, path: Path) -> bool:
        """Recognise the protocol in the first bytes and the final instruction, STOP."""
        with path.open("rb") as file:
            head = file.read(2)
            if file.read(len(TORCH)) == TORCH:
                return False
            if len(head) < 2 or head[0] != pickle.PROTO[0] or head[1] not in PROTOCOLS:
                return False
            file.seek(-1, 2)
            return file.read(1) == pickle.STOP

    def check(self, path: Path) -> None:
        """Check nothing: no check of a pickle's structure could make it safe."""

    def untrusted(self, path: Path, trusted: Sequence[str] = ()) -> list[str]:
        """Return nothing: the format has no types."""
        return []

    def load(self, path: Path, trusted: Sequence[str] = ()) -> Any:
        """Unpickle the file, which runs its author's code."""
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301 - the user of the SDK or the operator of the server allowed it

    def signature(self, model: Any) -> Signature:
        """Return what the model's attributes say."""
        return estimator_signature(model)

    def predictor(self, model: Any, signature: Signature | None) -> Predictor:
        """Return the predictor of the model's methods."""
        return estimator_predictor(model, signature)

    def flavor(self, file_name: str, framework: str) -> MlflowFlavor | None:
        """Return None: a pickle may contain anything, so MLflow shows its files only."""
        return None


FORMAT = PickleFormat()
