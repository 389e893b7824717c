"""The command that tells the demo's story."""

import sys
from pathlib import Path

import click

from modelward.cli.output import NEEDS_SERVER, Failure


@click.command()
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the server's data and the chart in this folder, for a look at them.",
)
def demo(keep: Path | None) -> None:
    """Tell a model's life on the S&P 500 of 2003 to 2010."""
    from modelward.demo import run

    try:
        sys.exit(run(keep))
    except ModuleNotFoundError:
        raise Failure(NEEDS_SERVER) from None
