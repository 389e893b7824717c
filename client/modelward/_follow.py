"""State shared by both followers: the current model, and the loader of its files."""

import json
import logging
import math
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from modelward._cache import Cache
from modelward._text import one_line
from modelward.errors import FormatNotExecutable, ModelFailed, ModelHalted, ModelwardError, Unavailable
from modelward.formats import formats
from modelward.lifecycle import LoadFailure, ModelVersion, Stage
from modelward.shared import model_files
from modelward.shared.retry import Backoff

log = logging.getLogger(__name__)

FIRST_RELOAD_SECONDS = 1.0
MAX_RELOAD_SECONDS = 30.0
MAX_REASON = 2000
"""Length of the longest reason that the contract allows."""

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
    """The loaded model; None for files of a format that is not known here."""


OnSwap = Callable[[Followed], None]
"""Called with each version that becomes current."""
OnFailure = Callable[[ModelVersion, Exception], None]
"""Called once for each version that could not be loaded, with the reason."""


class CurrentModel:
    """Holds the current version. It is replaced by an atomic assignment, so readers need no lock.

    Args:
        max_staleness: how long the current version may be used while the server is unavailable; None means no limit.
    """

    def __init__(self, max_staleness: timedelta | None) -> None:
        self._limit = None if max_staleness is None else max_staleness.total_seconds()
        self._state: Followed | ModelwardError = Unavailable("nothing has been fetched yet")
        self._lost_at: float | None = None
        self.failed = FailedVersion()
        """The version that should be current, but could not be loaded."""

    @property
    def running(self) -> Followed | None:
        """The version in memory, however stale; None when there is none."""
        return self._state if isinstance(self._state, Followed) else None

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

    def swap(self, followed: Followed) -> None:
        """Make a version current.

        Raises:
            FormatNotExecutable: it has no model, and the current version has one.
        """
        running = self.running
        if followed.model is None and running is not None and running.model is not None:
            version, fix = followed.version, "which is not loaded here; give load= to load it"
            message = f"{version} is stored as {version.format}, {fix}"
            raise FormatNotExecutable(message, model=version.model, version=version.version, format=str(version.format))
        self._state = followed

    def end(self, why: ModelwardError) -> None:
        """No longer use any version: the model is halted, or its stage is empty."""
        self._state = why
        self.failed.clear()

    def would_end(self) -> bool:
        """Return whether `end` would end the use of the version; it is tried on a copy, and the version stays."""
        copy = CurrentModel(None)
        copy._state = self._state
        copy.end(ModelHalted("a drill"))
        return copy.running is None

    def fail(self, version: ModelVersion, error: Exception) -> bool:
        """Record that a version could not be loaded: the current one stays. Return whether this is new."""
        if self.running is None:
            self._state = error if isinstance(error, ModelwardError) else _not_loaded(version, error)
        return self.failed.add(version, error)

    def keeps(self, version: ModelVersion) -> bool:
        """Return whether a version is already current; if so, update its other attributes."""
        state = self._state
        if not isinstance(state, Followed) or state.version.ref != version.ref:
            return False
        self._state = replace(state, version=version)
        self.failed.clear()
        return True

    def connected(self) -> None:
        """Record that the server responds: from now on the current version is fresh."""
        self._lost_at = None

    def lost(self) -> None:
        """Record that the server does not respond."""
        if self._lost_at is None:
            self._lost_at = time.monotonic()


class FailedVersion:
    """The version that could not be loaded, why, and when it is tried again."""

    def __init__(self) -> None:
        self._pauses = Backoff(FIRST_RELOAD_SECONDS, MAX_RELOAD_SECONDS)
        self.clear()

    def clear(self) -> None:
        """Record that there is no such version."""
        self._version: ModelVersion | None = None
        self.error: Exception | None = None
        self._due = math.inf

    def begin(self) -> None:
        """Record that an attempt runs, so that none is due meanwhile."""
        self._due = math.inf

    def add(self, version: ModelVersion, error: Exception) -> bool:
        """Record a failed attempt, and return whether it was the first for this version."""
        is_new = self._version is None or self._version.ref != version.ref
        if is_new:
            self._pauses.reset()
        self._version, self.error = version, error
        self._due = time.monotonic() + self._pauses.next()
        return is_new

    def is_early(self, version: ModelVersion) -> bool:
        """Return whether it is too early to try this version again."""
        return self._version is not None and self._version.ref == version.ref and time.monotonic() < self._due

    @property
    def seconds_left(self) -> float:
        """The seconds until the next attempt; infinite when there is no failed version."""
        return max(self._due - time.monotonic(), 0.0)

    @property
    def report(self) -> LoadFailure | None:
        """The failure as it is reported to the server."""
        if self._version is None or self.error is None:
            return None
        return LoadFailure(self._version.version, load_error(self.error)[:MAX_REASON])


def load_error(error: Exception) -> str:
    """Describe an exception of a loader in one line."""
    return one_line(f"{type(error).__name__}: {error}")


def _not_loaded(version: ModelVersion, error: Exception) -> ModelFailed:
    message = f"{version} did not load: {load_error(error)}"
    failure = ModelFailed(message, model=version.model, version=version.version)
    failure.__cause__ = error
    return failure


class FollowCallbacks:
    """The user's callbacks; an exception that one raises is logged, and does not end the follower."""

    def __init__(self, on_swap: OnSwap | None, on_failure: OnFailure | None) -> None:
        self._on_swap = on_swap
        self._on_failure = on_failure

    def swapped(self, followed: Followed) -> None:
        """Tell that a version became current."""
        log.info("%s is current", followed.version)
        if self._on_swap:
            self._call(self._on_swap, followed)

    def failed(self, version: ModelVersion, error: Exception, running: Followed | None) -> None:
        """Tell that a version could not be loaded."""
        kept = f"{running.version} stays current" if running else "no version is current"
        log.error("%s could not be loaded, %s: %s", version, kept, load_error(error))
        if self._on_failure:
            self._call(self._on_failure, version, error)

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception:
            log.exception("a callback of follow() failed")


@dataclass(frozen=True)
class FollowOptions:
    """How models are followed."""

    target: str
    """The server's address."""
    stage: Stage
    cache: Cache
    load: Loader
    max_staleness: timedelta | None
    callbacks: FollowCallbacks
    engine: str
    """The name under which the running version is reported; empty for no reports."""


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
    """Return the loader of supported formats; it returns None for a format that is not known."""

    def load(version: ModelVersion, folder: Path) -> Any:
        is_known = version.format in formats()
        return model_files.load(version, folder, trusted, allow_pickle) if is_known else None

    return load
