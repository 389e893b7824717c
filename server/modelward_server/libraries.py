"""Large libraries, imported on first use and by one thread at a time.

Concurrent imports of parts of one library can fail: Python resolves the deadlock of modules that import each other by
returning a partially initialized one. scipy needs no such protection; it loads its parts itself on first use.
"""

import importlib
import threading
from typing import Any

_importing = threading.RLock()
_imported: dict[str, Any] = {}


def load(module: str) -> Any:
    """Return a module of a large library; once imported, this costs a dictionary lookup."""
    if module not in _imported:  # Checked first: a call must not wait while another library is being imported.
        with _importing:
            _imported[module] = importlib.import_module(module)
    return _imported[module]
