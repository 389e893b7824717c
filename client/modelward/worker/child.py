"""Calls a Python function for a job, in a process of its own or on a cluster."""

import importlib
from typing import Any

from modelward import Client
from modelward._credentials import proof_from_environment
from modelward.worker.running import job_from_json

SERVER, ACTOR = "MODELWARD_SERVER", "MODELWARD_ACTOR"


def call(target: str, job_json: str, server: str, actor: str) -> None:
    """Call `module:function` with a job and a client; it registers what it trained with `job=`."""
    module, _, function = target.partition(":")
    work: Any = getattr(importlib.import_module(module), function)
    with Client(server, actor=actor, **proof_from_environment()) as client:
        work(job_from_json(job_json), client)
