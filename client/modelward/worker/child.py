"""Calls a Python function for a job, in a process of its own or on a cluster."""

import importlib
from typing import Any

from modelward import Client
from modelward._credentials import proof_from_environment
from modelward.worker.running import job_from_json

SERVER, ACTOR = "MODELWARD_SERVER", "MODELWARD_ACTOR"


def find(target: str) -> Any:
    """Return the function that `module:function` names.

    Raises:
        Exception: the module cannot be imported.
        AttributeError, TypeError: it has no such function.
    """
    module, _, function = target.partition(":")
    found = getattr(importlib.import_module(module), function)
    if not callable(found):
        raise TypeError(f"{function} is a {type(found).__name__} and no function")
    return found


def call(target: str, job_json: str, server: str, actor: str) -> None:
    """Call `module:function` with a job and a client; it registers what it trained with `job=`."""
    work = find(target)
    with Client(server, actor=actor, **proof_from_environment()) as client:
        work(job_from_json(job_json), client)
