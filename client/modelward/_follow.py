"""State shared by both followers: the current model, and the loader of its files."""

import json
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from modelward.errors import ModelwardError, Unavailable
from modelward.formats import formats
from modelward.lifecycle import ModelVersion
from modelward.shared import model_files

Loader = Callable[[ModelVersion, Path], Any]
"""Loads a model from a version's files in a folder."""


@dataclass(frozen=True)
class Followed:
    """The version to use now. Its files and model remain usable after another version becomes current."""

    version: ModelVersion
    """The version."""
    folder: Path
    """The folder of its verified files."""
    model: Any
    """The loaded model; None for a format that is not loaded here."""


class CurrentModel:
    """Holds the current version. It is replaced by an atomic assignment, so readers need no lock.

    Args:
        max_staleness: how long the current version may be used while the server is unavailable; None means no limit.
    """

    def __init__(self, max_staleness: timedelta | None) -> None:
        self._limit = None if max_staleness is None else max_staleness.total_seconds()
        self._state: Followed | ModelwardError = Unavailable("nothing has been fetched yet")
        self._lost_at: float | None = None

    @property
    def current(self) -> Followed:
        """The version to use now.

        Raises:
            ModelHalted: the model was halted.
            NothingResolved: no version holds the followed stage.
            Unavailable: the server has been unavailable for longer than `max_staleness`.
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
            raise Unavailable(f"the server was unavailable for {stale:.1f} s; max_staleness is {limit:g} s")

    def put(self, state: Followed | ModelwardError) -> None:
        """Make a version current."""
        self._state = state

    def keeps(self, version: ModelVersion) -> bool:
        """Return whether a version is already current; if so, update its other attributes."""
        state = self._state
        if not isinstance(state, Followed) or state.version.ref != version.ref:
            return False
        self._state = replace(state, version=version)
        return True

    def connected(self) -> None:
        """Record that the server responds: from now on the current version is fresh."""
        self._lost_at = None

    def lost(self) -> None:
        """Record that the server does not respond."""
        if self._lost_at is None:
            self._lost_at = time.monotonic()


def renamed_staleness(max_staleness: timedelta | None, longest_staleness: timedelta | None) -> timedelta | None:
    """Return `max_staleness`, or the value of its former name, which is deprecated."""
    if longest_staleness is None:
        return max_staleness
    warnings.warn("longest_staleness is deprecated; use max_staleness", DeprecationWarning, stacklevel=4)
    return longest_staleness


def start_thread(run: Callable[[], None]) -> threading.Thread:
    """Run a function in a daemon thread."""
    thread = threading.Thread(target=run, name="modelward-follow", daemon=True)
    thread.start()
    return thread


def cache_key(target: str, model: str, stage: str) -> str:
    """Return the key that distinguishes one followed model from another on the same machine."""
    return json.dumps([target, model, stage])


def load_supported(trusted: Sequence[str], allow_pickle: bool) -> Loader:
    """Return the loader of supported formats; it returns None for others."""

    def load(version: ModelVersion, folder: Path) -> Any:
        known = formats().get(version.format)
        supported = known is not None and (allow_pickle or not known.runs_code)
        return model_files.load(version, folder, trusted, allow_pickle) if supported else None

    return load
