"""Derive the sync client in `modelward/_sync` from the async one in `modelward/_async`.

`python client/unasync.py` writes it; `--check` writes nothing and fails when what is committed differs.
"""

import re
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent / "modelward" / "_async"
TARGET = SOURCE.with_name("_sync")

REPLACEMENTS = [
    (r"asyncio\.create_task\(self\.(\w+)\(\)\)", r"start_thread(self.\1)"),
    (r"await asyncio\.wait\(\[self\.(\w+)\], timeout=(\w+)\)", r"self.\1.join(\2)"),
    (
        r"from modelward\.(_follow|_monitor) import ",
        r"from modelward._follow import start_thread\nfrom modelward.\1 import ",
    ),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"await asyncio\.to_thread\(([\w.]+), ", r"\1("),
    (r"await asyncio\.to_thread\(([\w.]+)\)", r"\1()"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\bimport asyncio\b", "import time"),
    (r"\baio\.(insecure_channel|secure_channel|Channel|Unary|Stream)", r"grpc.\1"),
    (r"from grpc import aio\n", ""),
    (r"\b(\w+Service)AsyncStub\b", r"\1Stub"),
    (r"\bmodelward\._async\b", "modelward._sync"),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\b__aiter__\b", "__iter__"),
    (r"\b__anext__\b", "__next__"),
    (r"\bmethod\(outgoing, ", "method.future(outgoing, "),
    (r"read\(await call\)", "read(call.result())"),
    (r"\baclosing\b", "closing"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\bAsync([A-Z]\w+)\b", r"\1"),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
]
HEADER = "# Derived from modelward/_async/{name} by client/unasync.py: change that one.\n"
PACKAGE = '"""The client without asyncio."""\n'


def derive(source: str) -> str:
    """Return the sync form of an async module, its imports in order and its lines filled anew."""
    for pattern, replacement in REPLACEMENTS:
        source = re.sub(pattern, replacement, source)
    for command in (["check", "--quiet", "--fix", "--select", "F401,I"], ["format"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", "client/modelward/_sync/x.py", "-"]
        source = subprocess.run(ruff, input=source, text=True, check=True, capture_output=True).stdout
    return source


def derived() -> dict[Path, str]:
    """Return what each file of the sync client should hold."""
    files = {TARGET / "__init__.py": PACKAGE}
    for path in sorted(SOURCE.glob("*.py")):
        if path.name != "__init__.py":
            text = derive(path.read_text())
            files[TARGET / path.name] = HEADER.format(name=path.name) + text
    return files


def main() -> int:
    wanted = derived()
    if "--check" in sys.argv[1:]:
        stale = [path.name for path, text in wanted.items() if not path.exists() or path.read_text() != text]
        stale += [path.name for path in TARGET.glob("*.py") if path not in wanted]
        print("\n".join(f"_sync/{name} differs: run python client/unasync.py" for name in stale), end="")
        return 1 if stale else 0
    TARGET.mkdir(exist_ok=True)
    for path, text in wanted.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
