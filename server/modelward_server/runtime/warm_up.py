"""Warm-up: imports of large libraries after the server's start, so that few calls have to wait for them.

Statistics, models and MLflow depend on libraries that take seconds to import. Modules import them where they use them,
so a server answers at once; this task imports them right afterwards.
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
"""In the order in which the first calls of a new server need them: drift, comparisons, images."""


async def warm_up(load_mlflow: Callable[[], object]) -> None:
    """Import the libraries one after the other, each in a thread, so that a stop does not wait for all of them.

    Args:
        load_mlflow: imports MLflow, which requires some settings first.
    """
    for library in LIBRARIES:
        await in_own_thread(load, library)
    await in_own_thread(load_mlflow)
    gc.freeze()  # The imported objects live as long as the process: collections need not traverse them.
    await progressed()
