"""The command that backs up a server's data."""

from pathlib import Path

import click

from modelward.cli.output import NEEDS_SERVER, Failure
from modelward.errors import ModelwardError
from modelward_server.cli.serve import ServeCommand, settings_of


class BackupCommand(ServeCommand):
    """A command with the settings that locate a server's data."""

    takes = ("data_dir", "blobs_dir", "database_url", "mlflow_uri")


@click.command(cls=BackupCommand)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def backup(folder: Path, **flags: str | None) -> None:
    """Copy the ledger and all files, also while servers run.

    FOLDER receives the copy; an older copy in it is updated. Use the settings of the server.
    """
    settings = settings_of(flags)
    try:
        from modelward_server.backup import BackupFailed, back_up
    except ModuleNotFoundError:
        raise Failure(NEEDS_SERVER) from None
    try:
        done = back_up(settings, folder)
    except BackupFailed as error:
        raise Failure(str(error)) from None
    except ModelwardError as error:
        raise Failure(error.message) from None
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from None
    click.echo(f"{folder} has {', '.join(done.databases)} and {done.files:,} files, {done.fresh:,} of them new")
