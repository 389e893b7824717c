"""Imports, once the server answers, what calls need and its start does not.

Statistics, models and MLflow rest on libraries that take seconds to import. Modules import them where they use them, so
a server answers at once; this task imports them right after that, so that calls seldom have to wait for it.
"""

import gc
from collections.abc import Callable

from modelward_server.libraries import load
from modelward_server.runtime.background import in_own_thread, progressed

LIBRARIES = (
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.metrics",
    "arch.bootstrap",
    "matplotlib.figure",
)
"""In the order in which the first calls of a new server need them: drift, comparisons, pictures."""


async def warm_up(load_mlflow: Callable[[], object]) -> None:
    """Import the libraries, one after the other in threads, so that a stop does not wait for all of them.

    Args:
        load_mlflow: imports MLflow, which needs some settings first.
    """
    for library in LIBRARIES:
        await in_own_thread(load, library)
    await in_own_thread(load_mlflow)
    gc.freeze()  # What they made lives as long as the process: no collection need look at it.
    await progressed()
