"""Large libraries, imported when they are first needed and by one thread at a time.

Two threads that import parts of one library at once can fail: Python breaks the deadlock of modules that import each
other by handing out one that is half made. scipy needs no such care; it loads its parts itself when they are used.
"""

import importlib
import threading
from typing import Any

_importing = threading.RLock()
_imported: dict[str, Any] = {}


def load(module: str) -> Any:
    """Return a module of a large library; imported before, it costs no more than a look into a dictionary."""
    if module not in _imported:  # Only then: a call must not wait while another library is being imported.
        with _importing:
            _imported[module] = importlib.import_module(module)
    return _imported[module]
