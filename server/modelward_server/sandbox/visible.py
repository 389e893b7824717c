"""The files that a model's process may read: Python's, the system's libraries, and nothing of the server's data."""

import os
import site
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import modelward
import modelward_server

SYSTEM_LIBRARIES = (
    *("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib"),
    *("/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime"),
)
_hidden: set[Path] = set()


def hide(*paths: Path) -> None:
    """Exclude files and folders of the server, even inside a folder of Python's."""
    _hidden.update(path.absolute().resolve() for path in paths)


def readable() -> list[Path]:
    """Return the files and folders that exist and that a model's process may read."""
    packages = (Path(str(package.__file__)).parent for package in (modelward, modelward_server))
    roots = {
        Path(sys.prefix),
        Path(sys.base_prefix),
        *packages,
        *_named_path(),
        *_linked(),
        *map(Path, SYSTEM_LIBRARIES),
    }
    outermost = [root for root in sorted(roots) if root.exists() and not roots & set(root.parents)]
    return [path for root in outermost for path in _without(root, _hidden)]


def python_path() -> str:
    """Return the `PYTHONPATH` with which these files are found, also from another folder."""
    packages = (Path(str(package.__file__)).parent.parent for package in (modelward, modelward_server))
    return os.pathsep.join(dict.fromkeys(map(str, (*_named_path(), *packages))))


def _named_path() -> Iterator[Path]:
    """Yield the operator's entries in `PYTHONPATH`."""
    return (Path(entry).absolute() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)


def _linked() -> Iterator[Path]:
    """Yield the folders that `.pth` files in Python's own folders refer to, such as those of editable installs."""
    files = (file for folder in site.getsitepackages() for file in Path(folder).glob("*.pth"))
    lines = (line for file in files for line in file.read_text(errors="replace").splitlines())
    return (Path(line) for line in lines if Path(line).is_absolute())


def _without(root: Path, hidden: Iterable[Path]) -> Iterator[Path]:
    """Yield the folder, or where something hidden is in it, everything else in it."""
    inside = [path for path in hidden if path.is_relative_to(root.resolve())]
    if not inside:
        yield root
    elif root.resolve() not in inside:
        for child in sorted(root.iterdir()):
            yield from _without(child, inside)
