"""The command that runs the server."""

import asyncio
import logging
import os
import re
from typing import Any

import click

from modelward.cli.output import Failure

NEEDS_SERVER = "this needs an extra: pip install 'modelward[server]'"
METAVARS = {int: "NUMBER", float: "NUMBER"}


class BadSetting(Failure):
    """A setting that the server cannot run with."""

    exit_code = 2


class ServeCommand(click.Command):
    """A command with a flag for each setting; only it pays for importing them."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*_flags(), *super().get_params(ctx)]


def _flags() -> list[click.Parameter]:
    return [
        click.Option(
            [f"--{name.replace('_', '-')}"],
            metavar=METAVARS.get(field.annotation, "TEXT"),
            help=f"{field.description}  [env var: MODELWARD_{name.upper()}; default: {_shown(field.default)}]",
        )
        for name, field in _settings_class().model_fields.items()
    ]


def _shown(default: object) -> str:
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    return text or "empty"


def _settings_class() -> Any:
    try:
        from modelward_server.settings import Settings
    except ImportError:
        raise Failure(NEEDS_SERVER) from None
    return Settings


@click.command(cls=ServeCommand)
def serve(**flags: str | None) -> None:
    """Run the server until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = _settings({name: value for name, value in flags.items() if value is not None})
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # What gRPC's core says of a port in use, we say in a line.
    try:
        asyncio.run(_served(settings))
    except Exception as error:
        raise _explained(error, settings) from error


async def _served(settings: Any) -> None:
    from modelward_server.app import serve as run

    def started(port: int) -> None:
        mlflow = re.sub(r"//[^/@]*@", "//***@", settings.tracking_uri)
        place = f"{settings.host}:{port}"
        click.echo(f"Modelward listens on {place}, data in {settings.data_dir.resolve()}, MLflow at {mlflow}")

    await run(settings, started)


def _settings(given: dict[str, str]) -> Any:
    from pydantic import ValidationError

    try:
        return _settings_class()(**given)
    except ValidationError as error:
        problems = ((str(problem["loc"][0]), problem) for problem in error.errors())
        lines = (f"{_named(name)}: {problem['msg']}, not {problem['input']!r}" for name, problem in problems)
        raise BadSetting("\n".join(lines)) from None


def _named(setting: str) -> str:
    """Name a setting both ways that it can be given."""
    return f"--{setting.replace('_', '-')} (MODELWARD_{setting.upper()})"


def _explained(error: Exception, settings: Any) -> Exception:
    """Turn what keeps a server from starting into a line that names the setting; a defect stays what it is."""
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, RuntimeError) and "bind" in str(error):
        return Failure(f"cannot listen on {settings.host}:{settings.port}: the port is in use, or not this machine's")
    if isinstance(error, SQLAlchemyError):
        return Failure(f"{_named('database_url')}: {str(error).splitlines()[0]}")
    if isinstance(error, ModuleNotFoundError):
        return Failure(NEEDS_SERVER)
    if isinstance(error, OSError):
        return Failure(f"{_named('data_dir')}: {error.filename or settings.data_dir}: {error.strerror}")
    return error
