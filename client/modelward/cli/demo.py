"""The command that runs the demo."""

import sys
from pathlib import Path

import click

from modelward.cli.output import NEEDS_SERVER, Failure


@click.command()
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the server's data and the chart in this folder.",
)
def demo(keep: Path | None) -> None:
    """Run a lifecycle demo on the S&P 500 of 2003 to 2010."""
    from modelward.demo import run

    try:
        sys.exit(run(keep))
    except ModuleNotFoundError:
        raise Failure(NEEDS_SERVER) from None
