"""The lineage that a registering process finds by itself; what cannot be found is left out, and nothing is raised."""

import importlib.metadata
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from modelward.inventory import Environment, Lineage, SourceCode, TrainingData
from modelward.v1.common_pb2 import Dataset

T = TypeVar("T")
GIT_SECONDS = 2.0
"""How long a registration waits for each of two commands of git."""
MAX_URI = 2048
"""The contract's limit for the address of a repository or of data, in characters."""
COMMIT = re.compile(r"^# branch\.oid ([0-9a-f]{40,64})$", re.MULTILINE)
ALWAYS = ("modelward", "numpy", "pandas")
"""Packages whose releases are recorded for every model."""
PACKAGES_OF = {
    "catboost": ("catboost",),
    "lightgbm": ("lightgbm",),
    "onnx": ("onnx", "onnxruntime"),
    "skops": ("scikit-learn", "skops"),
    "xgboost": ("xgboost", "xgboost-cpu"),
}
"""The packages that a format's models need."""


def collected_lineage(format_name: str, reference: Dataset) -> Lineage:
    """Return the state of the working directory's git repository, this process's software, and the reference's digest.

    Args:
        format_name: the name of the model's format; empty if it is not known.
        reference: the reference data as they are sent; nothing in it if there are none.
    """
    return Lineage(
        code=_or_else(source_code, SourceCode()),
        data=_or_else(lambda: tuple(training_data(reference)), ()),
        environment=_or_else(lambda: environment(format_name), Environment()),
    )


def source_code() -> SourceCode:
    """Return the commit of the working directory, whether tracked files differ from it, and its repository."""
    status = _git("status", "--porcelain=v2", "--branch", "--untracked-files=no")
    commit = COMMIT.search(status)
    if commit is None:
        return SourceCode()
    changes = [line for line in status.splitlines() if not line.startswith("#")]
    return SourceCode(_or_else(_repository, ""), commit[1], bool(changes))


def _repository() -> str:
    return without_credentials(_git("config", "--get", "remote.origin.url").strip())


def _git(*arguments: str) -> str:
    """Return what git says; neither does it write its index, nor run programs that the repository names."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=GIT_SECONDS, check=False, stdin=subprocess.DEVNULL)
    return done.stdout.decode() if done.returncode == 0 else ""


def without_credentials(address: str) -> str:
    """Return an address without the user, the password, the query and the fragment; empty if it is too long.

    Args:
        address: a URL, a path, or of the form `git@host:path`.
    """
    if "://" in address:
        parts = urlsplit(address)
        address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    elif ":" in address:
        host, colon, path = address.partition(":")
        address = f"{host.rpartition('@')[2]}{colon}{path}"
    return address if len(address) <= MAX_URI else ""


def training_data(reference: Dataset) -> Iterator[TrainingData]:
    """Yield the reference data: their address, or the digest of the Arrow stream as which they are sent."""
    if reference.uri:
        yield TrainingData(uri=without_credentials(reference.uri))
    elif reference.blob or reference.arrow_ipc:
        yield TrainingData(sha256=reference.blob or sha256(reference.arrow_ipc).hexdigest())


def environment(format_name: str) -> Environment:
    """Return the releases of Python and of the packages that a model of a format needs, and the platform."""
    names = sorted({*ALWAYS, *PACKAGES_OF.get(format_name, ())})
    packages = {name: release for name in names if (release := _release(name))}
    return Environment(platform.python_version(), platform.platform()[:256], packages)


def _release(package: str) -> str:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)[:128]
    return ""


def _or_else(find: Callable[[], T], nothing: T) -> T:
    """Return what is found, or nothing: no failure of this may prevent a registration."""
    try:
        return find()
    except Exception:
        return nothing
