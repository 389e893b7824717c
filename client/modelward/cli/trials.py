"""The option `--trials`: the configurations that were tried."""

from pathlib import Path
from typing import Any

import click

from modelward.cli.tables import read_table

TRIALS = click.option(
    "--trials",
    default="",
    metavar="NUMBER|DATA",
    help="The configurations that were tried: their number, or a file with the returns of each as a column.",
)


def read_trials(trials: str) -> Any:
    """Return a number of trials, or the table of their returns; None for an empty text.

    Raises:
        BadParameter: it is neither a number nor a file.
    """
    if not trials:
        return None
    if trials.isdecimal():
        return int(trials)
    if not Path(trials).is_file():
        raise click.BadParameter(f"{trials!r} is neither a number nor a file", param_hint="--trials")
    return read_table(Path(trials))
