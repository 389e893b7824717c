"""Connections to a dask cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modelward.errors import StoreUnavailable

CONNECT_SECONDS = 5


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """Yield a client connected to a cluster.

    Args:
        scheduler: address of the scheduler, such as `tcp://10.0.0.5:8786`.

    Raises:
        StoreUnavailable: the cluster does not answer.
    """
    from distributed import Client

    connect: Any = Client
    try:
        client = connect(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError as error:
        raise StoreUnavailable(f"the dask scheduler {scheduler} does not answer: {error}", store="dask") from error
    with client:
        yield client
