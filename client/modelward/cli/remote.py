"""What commands that call a server share: their options, their client, and how their failures read."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from modelward import Client
from modelward._contact import Unreachable
from modelward._credentials import proof_from_environment
from modelward._text import visible
from modelward.cli.output import Failure, Output
from modelward.errors import DeadlineExceeded, GatesFailed, InvalidField, ModelwardError, Unavailable

Command = Callable[..., None]


def connected(command: Command) -> Command:
    """Give a command its client, and the options that say which."""

    @click.option(
        "--server",
        envvar="MODELWARD_SERVER",
        default="localhost:50061",
        metavar="HOST:PORT",
        help="Where the server listens; several with commas.",
        show_default=True,
        show_envvar=True,
    )
    @click.option(
        "--actor",
        envvar="MODELWARD_ACTOR",
        metavar="NAME",
        help="Who acts, for the record; the login name by default.",
        show_envvar=True,
    )
    @click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=30.0,
        metavar="SECONDS",
        help="How long each call may take.",
        show_default=True,
    )
    @functools.wraps(command)
    def run(*args: Any, server: str, actor: str | None, timeout: float, **kwargs: Any) -> None:
        with _failures(server, timeout), _client(server, actor, timeout) as client:
            command(client, *args, **kwargs)

    return run


def _client(server: str, actor: str | None, timeout: float) -> Client:
    proof = proof_from_environment()
    try:
        return Client(server, actor=actor, timeout=timeout, **proof)
    except InvalidField as error:
        if [violation.field for violation in error.violations] == ["credentials"]:
            raise Failure(f"a token goes to {server} over TLS only: set MODELWARD_CA") from None
        raise


def remote(command: Command) -> Command:
    """Give a command its client and its output."""

    @connected
    @click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
    @functools.wraps(command)
    def run(client: Client, *args: Any, as_json: bool, **kwargs: Any) -> None:
        command(client, Output(as_json), *args, **kwargs)

    return run


@contextmanager
def _failures(server: str, timeout: float) -> Iterator[None]:
    try:
        yield
    except ModelwardError as error:
        raise Failure("\n".join(map(_one_line, _lines(error, server, timeout)))) from None
    except BrokenPipeError:
        raise  # Whoever read the output has read enough; click ends quietly.
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from None


def _one_line(text: str) -> str:
    """Keep a text that somebody else wrote from making lines of its own; how far it is indented stays."""
    return " ".join(visible(text).splitlines())


def _lines(error: ModelwardError, server: str, timeout: float) -> list[str]:
    """Say what went wrong, each field and each gate on a line of its own."""
    if isinstance(error, InvalidField):
        return [str(violation) for violation in error.violations] or [error.message]
    if isinstance(error, GatesFailed):
        return ["the promotion policy refuses it:", *(f"  {gate.gate}: {gate.evidence}" for gate in error.gates)]
    if isinstance(error, Unreachable):
        return [f"{error.message} (--server or MODELWARD_SERVER names another)"]
    if isinstance(error, Unavailable) and not error.reason:
        return [f"no Modelward server answers at {server}; --server or MODELWARD_SERVER names another"]
    if isinstance(error, DeadlineExceeded) and not error.reason:
        return [f"{server} did not answer within {timeout:g} s; --timeout gives it longer"]
    return [error.message]
