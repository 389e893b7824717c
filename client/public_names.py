"""Derive `modelward/_public_names.py`, by which the package imports what is used, from the imports of its `__init__`.

`python client/public_names.py` writes it; `--check` writes nothing and fails when what is committed differs.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent / "modelward"
TARGET = PACKAGE / "_public_names.py"
PROGRAMS = {"cli", "demo", "worker"}
"""Packages that need an extra or the server, and are imported by their names only."""
TEXT = '''# Derived from modelward/__init__.py by client/public_names.py: change that one.
"""Where the public names of the package are defined, and its modules."""

DEFINED_IN = {names}
MODULES = {modules}
'''


def names() -> Iterator[tuple[str, str]]:
    """Yield the names that the package imports, each with its module."""
    for statement in ast.parse((PACKAGE / "__init__.py").read_text()).body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            for imported in statement.body:
                assert isinstance(imported, ast.ImportFrom), "the block has nothing but `from … import …`"
                yield from ((alias.name, str(imported.module)) for alias in imported.names)


def modules() -> set[str]:
    """Return the public modules of the package."""
    return {path.stem for path in PACKAGE.glob("[a-z]*") if path.suffix == ".py" or path.is_dir()} - PROGRAMS


def derived() -> str:
    """Return what the file should hold."""
    text = TEXT.format(names=dict(sorted(names())), modules=sorted(modules()))
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(command, input=text, text=True, check=True, capture_output=True).stdout


def main() -> int:
    wanted = derived()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(wanted)
    elif not TARGET.exists() or TARGET.read_text() != wanted:
        print(f"{TARGET.name} differs: run python client/public_names.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
