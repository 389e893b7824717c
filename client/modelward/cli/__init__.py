"""The `modelward` command."""

import sys


def main() -> None:
    """Run the command line; without its dependencies, print in one line what to install."""
    try:
        from modelward.cli.commands import cli

        cli()
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.exit("The command line needs an extra: pip install 'modelward[cli]'")
