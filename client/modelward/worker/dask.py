"""Run jobs on a dask cluster: the callable runs there, and the worker here keeps the lease."""

from typing import Any

from modelward.retraining import Job
from modelward.worker.child import call
from modelward.worker.running import job_to_json

CONNECT_SECONDS = 5


class DaskCluster:
    """Submits jobs to a cluster whose machines have the callable's module and can reach the server.

    Args:
        address: the address of its scheduler, such as `tcp://10.0.0.5:8786`.

    Raises:
        OSError: the scheduler does not respond.
    """

    def __init__(self, address: str) -> None:
        from distributed import Client

        connect: Any = Client
        self._cluster = connect(address, timeout=CONNECT_SECONDS, set_as_default=False)

    def start(self, target: str, job: Job, server: str, actor: str) -> "DaskRun":
        """Start a call of `module:function` for a job."""
        key = f"{job.model}-{job.job_id}-{job.fence}"
        return DaskRun(self._cluster.submit(call, target, job_to_json(job), server, actor, key=key, pure=False))

    def close(self) -> None:
        self._cluster.close()


class DaskRun:
    """A job that runs on a cluster; its output remains in the cluster's logs."""

    def __init__(self, future: Any) -> None:
        self._future = future

    def finished(self, seconds: float) -> bool:
        try:
            self._future.exception(timeout=seconds)
        except TimeoutError:
            return False
        return True

    def failure(self) -> str:
        error = self._future.exception()
        return "" if error is None else f"{type(error).__name__}: {error}"

    def log(self) -> str:
        return ""

    def stop(self) -> None:
        self._future.cancel()
