"""The command that runs the server."""

import asyncio
import errno
import os
import socket
from collections.abc import Coroutine, Mapping
from typing import Any

import click

from modelward import __version__
from modelward.cli.output import NEEDS_SERVER, Failure
from modelward.errors import ModelwardError

TLS_FILES = ("tls_cert", "tls_key", "tls_client_ca")
PRIVATE = 0o077
"""The umask of servers and their child processes: files are for their user only, whatever the operator's umask is."""
METAVARS = {int: "NUMBER", int | None: "NUMBER", float: "NUMBER", bool: "[true|false]"}


class BadSetting(Failure):
    """A setting with an invalid value."""

    exit_code = 2


class ServeCommand(click.Command):
    """A command with a flag for each setting; only its use imports them."""

    takes: tuple[str, ...] = ()
    """The settings that it uses; all when empty."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*_flags(self.takes), *super().get_params(ctx)]


def _flags(names: tuple[str, ...]) -> list[click.Parameter]:
    settings_class, renamed = _settings()
    return [
        *(_flag(name, field) for name, field in settings_class.model_fields.items() if not names or name in names),
        *(click.Option([_option(old)], hidden=True) for old, new in renamed.items() if not names or new in names),
    ]


def _flag(name: str, field: Any) -> click.Option:
    return click.Option(
        [_option(name)],
        metavar=METAVARS.get(field.annotation, "TEXT"),
        **_optional_value(field),
        help=f"{field.description}  [env var: {_variable(name)}; default: {_shown(field.default)}]",
    )


def _optional_value(field: Any) -> dict[str, Any]:
    """Let the flag of a boolean stand alone, which means true."""
    return {"is_flag": False, "flag_value": "true"} if field.annotation is bool else {}


def _option(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _variable(setting: str) -> str:
    return f"MODELWARD_{setting.upper()}"


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if default is None:
        return "empty"
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    return text or "empty"


def _settings() -> tuple[Any, dict[str, str]]:
    """Import the settings class, and the names that changed."""
    try:
        from modelward_server.settings import RENAMED, Settings
    except ImportError:
        raise Failure(NEEDS_SERVER) from None
    return Settings, RENAMED


@click.command(cls=ServeCommand)
def serve(**flags: str | None) -> None:
    """Run the server until SIGTERM or Ctrl-C."""
    settings = settings_of(flags)
    _check_address(settings.host, settings.port)
    if settings.console_port is not None:  # A free one is chosen here: it is printed, and of one of the processes.
        port = _check_address(settings.host, settings.console_port)
        settings = settings.model_copy(update={"console_port": port})
    run_server(_served(settings), settings)


def run_server(serving: Coroutine[Any, Any, None], settings: Any) -> None:
    """Run a server to its end.

    Raises:
        Failure: it could not start; names the setting that caused it.
    """
    os.umask(PRIVATE)
    _begin_to_log(settings.log_format)
    try:
        asyncio.run(serving)
    except Exception as error:
        line = _explained(error, settings)
        if line is None:
            raise
        raise Failure(line) from error


def _begin_to_log(log_format: str) -> None:
    try:
        from modelward_server.observability.logs import configure
    except ModuleNotFoundError:
        raise Failure(NEEDS_SERVER) from None
    configure(log_format)


def settings_of(flags: Mapping[str, str | None]) -> Any:
    """Create the settings from the given flags and the environment.

    Raises:
        BadSetting: one of them is invalid.
    """
    settings_class, renamed = _settings()
    from pydantic import ValidationError

    try:
        return settings_class(**_by_current_names(flags, renamed))
    except ValidationError as error:
        problems = ((str(problem["loc"][0]), problem) for problem in error.errors())
        fields = settings_class.model_fields
        lines = (f"{_named(name)}: {_problem(problem, fields[name].repr)}" for name, problem in problems)
        raise BadSetting("\n".join(lines)) from None


def _by_current_names(flags: Mapping[str, str | None], renamed: Mapping[str, str]) -> dict[str, str]:
    """Return the given flags, and values under an old name where the current one is not set."""
    given = {name: value for name, value in flags.items() if value is not None}
    for old, new in renamed.items():
        value = given.pop(old, os.environ.get(_variable(old)))
        if value is None:
            continue
        click.echo(f"{_named(old)} is now {_named(new)}; the next release does not accept the old name", err=True)
        if new not in given and _variable(new) not in os.environ:
            given[new] = value
    return given


def _problem(problem: Any, shown: bool) -> str:
    """Describe a validation error; messages of our own validators include the value where that matters.

    Args:
        shown: whether the value may be shown; it may contain a password.
    """
    if problem["type"] == "value_error" and not shown:
        return str(problem["ctx"]["error"])
    if problem["type"] == "value_error" and not problem["input"]:
        return str(problem["ctx"]["error"])
    return f"{problem['msg']}, not {problem['input']!r}"


def _named(setting: str) -> str:
    """Return both names of a setting: flag and environment variable."""
    return f"{_option(setting)} ({_variable(setting)})"


def _check_address(host: str, port: int) -> int:
    """Check that the address can be used, and return the port; gRPC would report less, after much more work.

    Args:
        port: 0 for a free one.
    """
    bare = host.strip("[]")
    try:
        with socket.create_server((bare, port), family=socket.AF_INET6 if ":" in bare else socket.AF_INET) as bound:
            return int(bound.getsockname()[1])
    except OSError as error:
        raise Failure(f"cannot listen on {host}:{port}: {str(error.strerror).partition(' (')[0]}") from None


async def _served(settings: Any) -> None:
    data = settings.data_dir.resolve()
    click.echo(f"Modelward {__version__} is starting, data in {data}")  # The imports below take seconds.
    try:
        from modelward_server.observability.redaction import redact

        if settings.processes > 1:
            from modelward_server.replica_supervisor import supervise as run
        else:
            from modelward_server.app import serve as run
    except ModuleNotFoundError:
        raise Failure(NEEDS_SERVER) from None

    def started(port: int) -> None:
        mlflow = redact(settings.tracking_uri)  # It may contain a password.
        address = f"{settings.host}:{port}"
        click.echo(f"Modelward listens on {address}, data in {data}, MLflow at {mlflow}")

    if settings.console_port is not None:
        scheme = "https" if settings.tls_cert else "http"
        click.echo(f"Its console will be at {scheme}://{settings.host}:{settings.console_port}")
    await run(settings, started)


def _explained(error: Exception, settings: Any) -> str | None:
    """Name the setting that prevents the start; None for errors that no setting explains."""
    from sqlalchemy.exc import SQLAlchemyError

    from modelward_server.settings import SettingError

    if isinstance(error, SettingError):
        return f"{_named(error.setting)}: {error}"
    if isinstance(error, ModelwardError):
        return f"{_named(_setting_of_check(error))}: {error.message}"
    if isinstance(error, SQLAlchemyError | ModuleNotFoundError):
        return f"{_named('database_url')}: {_database_problem(error)}"
    if isinstance(error, ChildProcessError):
        return str(error)  # The process has logged the cause itself.
    if isinstance(error, OSError):
        setting, value = _setting_of(error, settings)
        return f"{_named(setting)}: {value}: {error.strerror}"
    return None


def _setting_of_check(error: ModelwardError) -> str:
    """Return the name of the setting whose check failed."""
    from modelward_server.security.trusted_evidence_keys import EvidenceKeyUnusable
    from modelward_server.security.trusted_signers import SignerUnusable

    keys: dict[type, str] = {SignerUnusable: "trusted_signers", EvidenceKeyUnusable: "trusted_evidence_keys"}
    return keys.get(type(error), "database_url")


def _database_problem(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"needs the Python package {error.name}"
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def _setting_of(error: OSError, settings: Any) -> tuple[str, object]:
    """Return the name and the value of the setting with the file, folder or port of an error."""
    if error.errno == errno.EADDRINUSE:  # The port of the calls was tried before.
        return "metrics_port", settings.metrics_port
    path = str(error.filename or settings.data_dir)
    if settings.blobs_dir and path.startswith(settings.blobs_dir):
        return "blobs_dir", path
    return next((name for name in TLS_FILES if getattr(settings, name) == path), "data_dir"), path
