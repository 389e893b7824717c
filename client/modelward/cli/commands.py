"""The command group; the module of a command is imported when it is called."""

import importlib
import importlib.metadata
from keyword import iskeyword
from pathlib import Path

import click

from modelward import __version__
from modelward.cli.profile_selection import complete_profiles
from modelward.shared.profiles import CONFIG, PROFILE

SERVER = "the server's entry points"
"""Used in place of a module: commands that the server registers as `modelward.commands` entry points."""
SECTIONS = {
    "Inspect": {
        "status": "status",
        "watch": "watch",
        "models": "lifecycle",
        "versions": "lifecycle",
        "show": "lifecycle",
        "resolve": "stages",
        "history": "stages",
        "inventory": "stages",
        "rollout": "stages",
        "engines": "stages",
        "audit": "audit",
        "whoami": "whoami",
        "profiles": "profiles",
    },
    "Change": {
        "register": "lifecycle",
        "update": "update",
        "download": "lifecycle",
        "promote": "stages",
        "rollback": "stages",
        "halt": "stages",
        "resume": "stages",
        "prune": "stages",
    },
    "Govern": {
        "approvals": "approvals",
        "findings": "findings",
        "reviews": "reviews",
        "drills": "drills",
        "evidence": "evidence",
    },
    "Measure": {
        "drift": "drift",
        "reports": "drift",
        "report": "report",
        "score": "scoring",
        "scores": "scoring",
        "performance": "performance",
        "compare": "comparison",
        "comparisons": "comparison",
        "folds": "folds",
        "benchmark": "comparison",
        "ab": "abtest",
    },
    "Retrain": {
        "due": "retraining",
        "schedule": "schedules",
        "schedules": "schedules",
        "firings": "schedules",
        "jobs": "jobs",
        "worker": "worker",
    },
    "MLflow": {"import": "mlflow", "reconcile": "mlflow"},
    "Run": {
        "serve": SERVER,
        "console": SERVER,
        "health": "health",
        "settings": "system",
        "replicas": "system",
        "token": SERVER,
        "backup": SERVER,
        "demo": "demo",
        "completion": "completion",
    },
}
MODULES = {command: module for section in SECTIONS.values() for command, module in section.items()}


def load_command(name: str) -> click.Command:
    """Import a command from its module, where it has its own name (with an underscore if that is a keyword)."""
    if MODULES[name] == SERVER:
        return _server_command(name)
    module = importlib.import_module(f"modelward.cli.{MODULES[name]}")
    command: click.Command = getattr(module, f"{name}_" if iskeyword(name) else name)
    return command


def _server_command(name: str) -> click.Command:
    """Import a command of the server by its entry point, the only link from client to server."""
    installed = importlib.metadata.distribution("modelward").entry_points
    [entry_point] = installed.select(group="modelward.commands", name=name)
    command: click.Command = entry_point.load()
    return command


class LazyGroup(click.Group):
    """A command group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in MODULES:
            return None
        return load_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, MODULES))
        for title, section in SECTIONS.items():
            commands = {name: self.get_command(ctx, name) for name in section}
            with formatter.section(title):
                room = formatter.width - widest - 6
                formatter.write_dl(
                    [
                        (name.ljust(widest), command.get_short_help_str(room))
                        for name, command in commands.items()
                        if command
                    ]
                )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--profile",
    envvar=PROFILE,
    metavar="NAME",
    shell_complete=complete_profiles,
    help="The profile to use: a server and how to call it.",
    show_envvar=True,
)
@click.option(
    "--config",
    envvar=CONFIG,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file that contains the profiles.  [default: ~/.config/modelward/config.toml]",
    show_envvar=True,
)
@click.version_option(__version__, message="%(version)s")
def cli(profile: str | None, config: Path | None) -> None:
    """Modelward: a model registry for trading, with drift detection, comparisons and retraining."""
