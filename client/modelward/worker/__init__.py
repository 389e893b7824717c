"""A worker: it leases jobs one after the other, has them done elsewhere, and says how that went.

The work itself runs in a process of its own, or on a dask cluster: it may crash, hang or fill the memory without taking
the worker with it.
"""

from modelward.worker.loop import Plan, Worker
from modelward.worker.process import ProcessRun
from modelward.worker.running import Run, job_from_json, job_to_json

__all__ = ["Plan", "ProcessRun", "Run", "Worker", "job_from_json", "job_to_json"]
