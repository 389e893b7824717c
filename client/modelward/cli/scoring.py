"""The command that lets the server predict."""

from datetime import datetime
from pathlib import Path

import click

from modelward import Client
from modelward.cli.completion import complete_models
from modelward.cli.options import DATA, Instant
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.cli.tables import read_table
from modelward.shared.figures import metric
