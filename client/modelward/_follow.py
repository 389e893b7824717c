"""What both followers share: the model that is current, and what makes it of files."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from modelward.errors import ModelwardError, Unavailable
from modelward.lifecycle import ModelFormat, ModelVersion
from modelward.shared import model_files

Loader = Callable[[ModelVersion, Path], Any]
"""Makes a model of a version's files in a folder."""


@dataclass(frozen=True)
class Followed:
    """The version to use now. It stays usable by who holds it, also when another one becomes current."""

    version: ModelVersion
    folder: Path
    """Where its files lie, verified."""
    model: Any
    """What the loader made of them; None for a format that is not loaded here."""


class Holder:
    """Holds what is current. One attribute is swapped, which is atomic, so readers take no lock.

    Args:
        longest_staleness: how long what is current may be used while the server cannot be asked; None: without end.
    """

    def __init__(self, longest_staleness: timedelta | None) -> None:
        self._limit = None if longest_staleness is None else longest_staleness.total_seconds()
        self._state: Followed | ModelwardError = Unavailable("nothing was fetched yet")
        self._lost_at: float | None = None

    @property
    def current(self) -> Followed:
        """The version to use now.

        Raises:
            ModelHalted: the model was halted.
            NothingResolved: nothing is in the stage that is followed.
            Unavailable: the server was away for longer than is accepted.
        """
        state = self._state
        if self._lost_at is not None and self._limit is not None:
            self._check_fresh(self._lost_at, self._limit)
        if isinstance(state, Followed):
            return state
        raise state

    def _check_fresh(self, lost_at: float, limit: float) -> None:
        stale = time.monotonic() - lost_at
        if stale > limit:
            raise Unavailable(f"the server was away for {stale:.1f} s, and {limit:g} s are accepted")

    def put(self, state: Followed | ModelwardError) -> None:
        """Make it current."""
        self._state = state

    def keeps(self, version: ModelVersion) -> bool:
        """Tell whether a version is current already; if so, note what else is known of it now."""
        state = self._state
        if not isinstance(state, Followed) or state.version.ref != version.ref:
            return False
        self._state = replace(state, version=version)
        return True

    def connected(self) -> None:
        """Note that the server answers: from now on what is current is fresh."""
        self._lost_at = None

    def lost(self) -> None:
        """Note that the server does not answer."""
        if self._lost_at is None:
            self._lost_at = time.monotonic()


def start_thread(run: Callable[[], None]) -> threading.Thread:
    """Run a function in a thread that does not keep the process alive."""
    thread = threading.Thread(target=run, name="modelward-follow", daemon=True)
    thread.start()
    return thread


def cache_key(target: str, model: str, stage: str) -> str:
    """Return what tells one followed model from another on the same machine."""
    return json.dumps([target, model, stage])


def load_known(trusted: Sequence[str], allow_pickle: bool) -> Loader:
    """Return the loader of the formats that are loaded here; of others it makes None."""
    formats = model_files.MAIN_FILES.keys() - (set() if allow_pickle else {ModelFormat.PICKLE})

    def load(version: ModelVersion, folder: Path) -> Any:
        known = version.format in formats
        return model_files.load(version, folder, trusted, allow_pickle) if known else None

    return load
