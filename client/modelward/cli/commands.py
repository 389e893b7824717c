"""All commands, put together."""

import importlib.metadata
import sys

import click

from modelward.cli import comparison, drift, lifecycle, local, retraining, stages
from modelward.errors import GatesFailed, InvalidField, ModelwardError


class ModelwardGroup(click.Group):
    """Commands whose failures are a sentence and not a traceback."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except ModelwardError as error:
            for line in _lines(error):
                click.secho(line, fg="red", err=True)
            sys.exit(1)


def _lines(error: ModelwardError) -> list[str]:
    """Say what went wrong, each field and each gate on a line of its own."""
    if isinstance(error, InvalidField):
        return [str(violation) for violation in error.violations]
    if isinstance(error, GatesFailed):
        return ["the promotion policy refuses it:", *(f"  {gate.gate}: {gate.evidence}" for gate in error.gates)]
    return [error.message]


@click.group(cls=ModelwardGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("modelward"), message="%(version)s")
def cli() -> None:
    """Modelward: which model trades, since when, who put it there and why."""


for module in (lifecycle, stages, drift, comparison, retraining, local):
    for command in module.COMMANDS:
        cli.add_command(command)
