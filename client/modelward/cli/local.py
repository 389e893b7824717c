"""Commands that need the server's packages: the server itself, and the demo."""

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

NEEDS_SERVER = "This needs an extra: pip install 'modelward[server]'"


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for each of the server's settings."""
    try:
        from modelward_server.settings import Settings
    except ImportError:
        return command
    for name, field in reversed(Settings.model_fields.items()):
        shown = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        text = f"{field.description}  [env: MODELWARD_{name.upper()}; default: {shown if shown != '' else 'empty'}]"
        command = click.option(f"--{name.replace('_', '-')}", name, help=text)(command)
    return command


@click.command()
@_with_settings
def serve(**flags: Any) -> None:
    """Run the server until SIGTERM."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = _settings({name: value for name, value in flags.items() if value is not None})
    from modelward_server.app import serve as run

    def started(port: int) -> None:
        click.echo(
            f"Modelward listens on {settings.host}:{port}, keeps its data in {settings.data_dir.resolve()} "
            f"and shows them in MLflow at {settings.tracking_uri}"
        )
        sys.stdout.flush()

    try:
        asyncio.run(run(settings, started))
    except RuntimeError as error:
        if "bind" not in str(error):
            raise
        raise click.ClickException(f"cannot listen on {settings.host}:{settings.port}; is it in use?") from None


def _settings(given: dict[str, Any]) -> Any:
    try:
        from pydantic import ValidationError

        from modelward_server.settings import Settings
    except ImportError:
        raise click.ClickException(NEEDS_SERVER) from None
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise click.UsageError("; ".join(problems)) from None


@click.command()
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the server's data and the chart in this folder, for a look at them.",
)
def demo(keep: Path | None) -> None:
    """Tell the story of a model's life on the S&P 500 of 2003 to 2010."""
    try:
        from modelward.demo import run
    except ImportError:
        raise click.ClickException(NEEDS_SERVER) from None
    sys.exit(run(keep))


COMMANDS = [serve, demo]
