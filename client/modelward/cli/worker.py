"""The command that runs the retraining worker."""

import importlib.util
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelward._credentials import proof_from_environment
from modelward.cli.options import Duration, pairs
from modelward.cli.output import Failure, say
from modelward.cli.profile_selection import configuration, selected_profile
from modelward.cli.remote import connected
from modelward.retraining import Job
from modelward.shared.profiles import CONFIG, PROFILE
from modelward.worker import Plan, ProcessRun, Run, Worker
from modelward.worker.process import callable_error, python_command

if TYPE_CHECKING:
    from modelward import Client

CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@click.command()
@click.argument("work", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--queue", default="", metavar="NAME", help="Only take jobs of this queue.")
@pairs("--label", "labels", "Only take jobs with this label.")
@click.option("--name", metavar="NAME", help="Name of the worker; host and process id by default.")
@click.option(
    "--lease", type=Duration(), default="1m", metavar="DURATION", help="How long a lease lasts without a heartbeat."
)
@click.option("--time-limit", type=Duration(), metavar="DURATION", help="Maximum duration of a job, for example 2h.")
@click.option(
    "--grace",
    type=Duration(),
    default="30s",
    metavar="DURATION",
    help="How long a running job may continue after SIGTERM.",
)
@click.option(
    "--dask", metavar="ADDRESS", help="Run the callable on this dask cluster, for example tcp://10.0.0.5:8786."
)
@connected
def worker(
    client: "Client",
    work: tuple[str, ...],
    queue: str,
    labels: tuple[tuple[str, str], ...],
    name: str | None,
    lease: timedelta,
    time_limit: timedelta | None,
    grace: timedelta,
    dask: str | None,
) -> None:
    """Run retraining jobs until SIGTERM.

    WORK is module:function, or -- command args… A function is called with the job and a client, and registers its model
    with job=job. A command receives the job as JSON on its standard input. Each job runs in its own process, or on a
    dask cluster.
    """
    from modelward import Client

    sys.path.insert(0, str(Path.cwd()))
    profile = selected_profile()
    if profile.name:  # The processes of the jobs use it, too.
        os.environ |= {PROFILE: profile.name, CONFIG: str(configuration().path.absolute())}
    plan = Plan(name or f"{socket.gethostname()}-{os.getpid()}", queue, dict(labels), lease, time_limit, grace)
    start = _on_dask(client, work, dask) if dask else _in_process(client, work)
    timeout = min(10.0, lease.total_seconds() / 3)
    with Client(client.target, actor=client.actor, timeout=timeout, **proof_from_environment(profile)) as patient:
        running = Worker(patient, start, plan, say)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: running.stop())
        say(f"{plan.holder} waits for jobs{f' of {queue}' if queue else ''} at {client.target}")
        running.run()


def _in_process(client: "Client", work: Sequence[str]) -> Callable[[Job], Run]:
    command = list(work)
    if len(work) == 1 and CALLABLE.fullmatch(work[0]):
        _check_callable(work[0])
        command = python_command(work[0])
    return lambda job: ProcessRun(command, job, client.target, client.actor)


def _on_dask(client: "Client", work: Sequence[str], address: str) -> Callable[[Job], Run]:
    if len(work) != 1 or not CALLABLE.fullmatch(work[0]):
        raise Failure("--dask runs a Python callable; give it as module:function")
    try:
        from modelward.worker.dask import DaskCluster

        cluster = DaskCluster(address)
    except ModuleNotFoundError:
        raise Failure("--dask needs an extra: pip install 'modelward[dask]'") from None
    except OSError as error:
        raise Failure(f"the dask scheduler {address} does not respond: {error}") from None
    return lambda job: cluster.start(work[0], job, client.target, client.actor)


def _check_callable(target: str) -> None:
    """Detect an error in the callable at once, instead of in every job."""
    module = target.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        raise Failure(f"there is no Python module {module} here; give the work as module:function, or -- command")
    problem = callable_error(target)
    if problem:
        raise Failure(f"{target} cannot be called: {problem}")
