"""What both followers share: the model that is current, and the copy of it on the disk."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from modelward import _artifacts
from modelward._convert.lifecycle import version_from_proto, version_to_proto
from modelward._transfers import holds
from modelward.errors import ModelwardError, Unavailable
from modelward.lifecycle import ModelFormat, ModelVersion
from modelward.v1 import lifecycle_pb2 as pb

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


class Cache:
    """Versions on the disk: files by digest, and of each model that is followed the last version that was good.

    Args:
        folder: where; `modelward` in the user's cache folder when it is None.
    """

    def __init__(self, folder: Path | None) -> None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._folder = folder or home / "modelward"

    def artifact(self, version: ModelVersion) -> Path:
        """Return the folder for the files of a version; versions of the same files share it."""
        return self._folder / "artifacts" / version.digest

    def complete(self, version: ModelVersion) -> bool:
        """Tell whether every file is there and is what it should be."""
        folder = self.artifact(version)
        return all(holds(folder / file.path, file) for file in version.files)

    def remember(self, key: str, version: ModelVersion) -> None:
        """Keep a version as the last one that was good."""
        path = self._last_good(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(version_to_proto(version).SerializeToString())
        Path(file.name).replace(path)

    def last_good(self, key: str) -> ModelVersion | None:
        """Return the last version that was good, if its files still are."""
        path = self._last_good(key)
        if not path.exists():
            return None
        version = version_from_proto(pb.ModelVersion.FromString(path.read_bytes()))
        return version if self.complete(version) else None

    def _last_good(self, key: str) -> Path:
        return self._folder / "last-good" / hashlib.sha256(key.encode()).hexdigest()


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
    formats = {ModelFormat.SKOPS, ModelFormat.ONNX} | ({ModelFormat.PICKLE} if allow_pickle else set())

    def load(version: ModelVersion, folder: Path) -> Any:
        known = version.format in formats
        return _artifacts.load(version, folder, trusted, allow_pickle) if known else None

    return load
