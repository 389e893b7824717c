"""Shared by commands that call a server: options, client and error messages."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from modelward._contact import Unreachable
from modelward._credentials import proof_from_environment
from modelward._text import visible
from modelward.cli.command_names import name_commands, name_option
from modelward.cli.output import Failure, Output
from modelward.cli.profile_selection import PROFILE_OF_COMMAND, from_profile, selected_profile
from modelward.cli.time_zone import select_zone
from modelward.errors import DeadlineExceeded, GatesFailed, InvalidField, ModelwardError, Unavailable
from modelward.shared.profiles import ProfileError

if TYPE_CHECKING:
    from modelward import Client

FORMATS = ("table", "json", "csv")
DEFAULT_SERVER = "localhost:50061"
Command = Callable[..., None]
SERVER = click.option(
    "--server",
    envvar="MODELWARD_SERVER",
    default=from_profile("server", DEFAULT_SERVER),
    metavar="HOST:PORT",
    help=f"The server's address; several separated by commas.  [default: {DEFAULT_SERVER}]",
    show_envvar=True,
)
TIME_ZONE = click.option(
    "--time-zone",
    envvar="MODELWARD_TIME_ZONE",
    default=from_profile("time_zone", "UTC"),
    metavar="ZONE",
    is_eager=True,  # Other options are read in this zone.
    expose_value=False,
    callback=select_zone,
    help="The zone of times, such as Europe/Berlin; local: the zone of this machine.  [default: UTC]",
    show_envvar=True,
)


def connected(command: Command) -> Command:
    """Pass a client to a command, configured by options."""

    @PROFILE_OF_COMMAND
    @SERVER
    @click.option(
        "--actor",
        envvar="MODELWARD_ACTOR",
        default=from_profile("actor"),
        metavar="NAME",
        help="The actor in the audit log; the login name by default.",
        show_envvar=True,
    )
    @click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=from_profile("timeout", 30.0),
        metavar="SECONDS",
        help="Timeout of each call.  [default: 30]",
    )
    @functools.wraps(command)
    def run(*args: Any, server: str, actor: str | None, timeout: float, **kwargs: Any) -> None:
        with _failures(server, timeout), _client(server, actor, timeout) as client:
            command(client, *args, **kwargs)

    return run


def client_of(options: Mapping[str, Any], timeout: float) -> "Client":
    """Return a client for the options of a command.

    Args:
        options: `server` and `actor`, as far as they are known.
        timeout: seconds for each call.
    """
    return _client(options.get("server") or DEFAULT_SERVER, options.get("actor"), timeout)


def _client(server: str, actor: str | None, timeout: float) -> "Client":
    from modelward import Client  # Imported here, so that help and completion of commands do not wait for it.

    proof = proof_from_environment(selected_profile())
    try:
        return Client(server, actor=actor, timeout=timeout, **proof)
    except InvalidField as error:
        if [violation.field for violation in error.violations] == ["credentials"]:
            raise Failure(
                f"a token is sent to {server} over TLS only; set MODELWARD_CA, or ca in the profile"
            ) from None
        raise


def remote(command: Command) -> Command:
    """Pass a client and an output to a command."""

    @connected
    @formatted
    @functools.wraps(command)
    def run(out: Output, client: "Client", *args: Any, **kwargs: Any) -> None:
        command(client, out, *args, **kwargs)

    return run


def formatted(command: Command) -> Command:
    """Pass an output to a command."""

    @click.option("--format", "form", type=click.Choice(FORMATS), help="The form of the output.  [default: table]")
    @TIME_ZONE
    @click.option("--json", "as_json", is_flag=True, help="Short for --format json: one JSON document.")
    @functools.wraps(command)
    def run(*args: Any, form: str | None, as_json: bool, **kwargs: Any) -> None:
        if as_json and form not in {None, "json"}:
            raise click.UsageError(f"give --json or --format {form}, not both")
        command(Output("json" if as_json else form or "table"), *args, **kwargs)

    return run


@contextmanager
def _failures(server: str, timeout: float) -> Iterator[None]:
    try:
        yield
    except ProfileError as error:
        raise Failure(str(error)) from None
    except ModelwardError as error:
        lines = map(name_commands, _lines(error, server, timeout))
        raise Failure("\n".join(map(_one_line, lines))) from None
    except BrokenPipeError:
        raise  # The reader of the output closed the pipe; click ends quietly.
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from None


def _one_line(text: str) -> str:
    """Keep text of another origin from starting its own lines; its indentation is preserved."""
    return " ".join(visible(text).splitlines())


def _lines(error: ModelwardError, server: str, timeout: float) -> list[str]:
    """Return the error message, with each field and each gate on its own line."""
    if isinstance(error, InvalidField):
        return [name_option(violation) for violation in error.violations] or [error.message]
    if isinstance(error, GatesFailed):
        return ["the promotion policy rejects it:", *(f"  {gate.gate}: {gate.evidence}" for gate in error.gates)]
    if isinstance(error, Unreachable):
        return [f"{error.message} (set another with --server or MODELWARD_SERVER)"]
    if isinstance(error, Unavailable) and not error.reason:
        return [f"no Modelward server answers at {server}; set another with --server or MODELWARD_SERVER"]
    if isinstance(error, DeadlineExceeded) and not error.reason:
        return [f"{server} did not respond within {timeout:g} s; increase the limit with --timeout"]
    return [error.message]
