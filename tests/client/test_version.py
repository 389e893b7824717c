"""The release has one number, wherever it is read."""

from importlib.metadata import version

from click.testing import CliRunner

import modelward
from modelward.cli.commands import cli


def test_package_metadata_and_command_name_the_same_release() -> None:
    said = CliRunner().invoke(cli, ["--version"]).output.strip()
    assert modelward.__version__ == version("modelward") == said
