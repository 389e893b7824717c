"""Call a Python function for a job, in a separate process or on a cluster."""

import importlib
from typing import Any

from modelward._credentials import proof_from_environment
from modelward.shared.profiles import profile_from_environment
from modelward.worker.running import job_from_json

SERVER, ACTOR = "MODELWARD_SERVER", "MODELWARD_ACTOR"


def find(target: str) -> Any:
    """Return the function named by `module:function`.

    Raises:
        Exception: the module cannot be imported.
        AttributeError, TypeError: it has no such function.
    """
    module, _, function = target.partition(":")
    function_ = getattr(importlib.import_module(module), function)
    if not callable(function_):
        raise TypeError(f"{function} is a {type(function_).__name__}, not a function")
    return function_


def call(target: str, job_json: str, server: str, actor: str) -> None:
    """Call `module:function` with a job and a client; it registers the trained model with `job=`."""
    from modelward import Client

    work = find(target)
    with Client(server, actor=actor, **proof_from_environment(profile_from_environment())) as client:
        work(job_from_json(job_json), client)
