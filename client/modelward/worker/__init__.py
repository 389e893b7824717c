"""The retraining worker: it leases jobs one after the other, runs them elsewhere, and reports the results.

A job runs in a separate process, or on a dask cluster: it may crash, hang or exhaust the memory without affecting the
worker.
"""

from modelward.worker.loop import Plan, Worker
from modelward.worker.process import ProcessRun
from modelward.worker.running import Run, job_from_json, job_to_json

__all__ = ["Plan", "ProcessRun", "Run", "Worker", "job_from_json", "job_to_json"]
