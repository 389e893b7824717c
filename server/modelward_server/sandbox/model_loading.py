"""Loading a model of any format. Runs in the sandboxed process only."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from modelward.formats import Format, formats
from modelward.formats.predictor import Predictor
from modelward.signature import Signature


def import_runtime(format_: str) -> Format:
    """Import the runtime of a format, which is large, so that the limits count only the model's own memory."""
    known = formats()[format_]
    for module in known.modules:
        importlib.import_module(module)
    return known


def load(known: Format, path: Path, signature: Signature | None = None, trusted: Sequence[str] = ()) -> Predictor:
    """Check and load a model.

    Args:
        known: its format.
        path: its file.
        signature: the version's; None if it has none.
        trusted: names of further types that the server's operator trusts; their modules are imported here.

    Raises:
        TypeError: it contains types that are not trusted.
        Exception: whatever the format's library raises.
    """
    known.check(path)
    if untrusted := known.untrusted(path, trusted):
        raise TypeError(f"it holds types that this server does not trust: {', '.join(untrusted)}")
    return known.predictor(known.load(path, trusted), signature)
