"""Completion in a shell: the script, and the names that the server and the configuration file know."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from modelward.shared.profiles import ProfileError

if TYPE_CHECKING:
    from modelward import Client

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_MODELWARD_COMPLETE"
"""The environment variable by which the script asks for completions."""
SECONDS = 2.0
"""For how long a user waits at most for the names; then there are none."""
MAX_NAMES = 200

Items = list[CompletionItem]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and names in SHELL.

    For bash, add this line to ~/.bashrc: eval "$(modelward completion bash)"
    """
    shell_class = get_completion_class(shell)
    assert shell_class is not None
    click.echo(shell_class(context.find_root().command, {}, "modelward", VARIABLE).source())


def complete_models(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Return the models whose names begin like this."""
    return _known(context, lambda client: _models(client, incomplete))


def complete_versions(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Return versions; with several models that fit, those, each with the slash that its version follows."""
    return _known(context, lambda client: _versions(client, incomplete))


def complete_models_and_versions(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Return models, and after a slash the versions of one."""
    complete = complete_versions if "/" in incomplete else complete_models
    return complete(context, parameter, incomplete)


def complete_schedules(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Return the ids of schedules that begin like this."""
    return _known(context, lambda client: _ids(client.list_schedules(), "schedule_id", incomplete))


def complete_tests(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Return the names of A/B tests that begin like this."""
    return _known(context, lambda client: _ids(client.list_ab_tests(), "test", incomplete))


def complete_jobs(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Return the ids of jobs that begin like this."""
    return _known(context, lambda client: _ids(client.list_jobs(), "job_id", incomplete))


def _models(client: "Client", prefix: str) -> Items:
    models = islice(client.list_models(name_prefix=prefix), MAX_NAMES)
    return [CompletionItem(model.name, help=model.description or None) for model in models]


def _versions(client: "Client", incomplete: str) -> Items:
    model, slash, _ = incomplete.partition("/")
    if not slash:
        models = _models(client, model)
        if len(models) != 1:
            return [CompletionItem(f"{one.value}/", help=one.help) for one in models]
        model = models[0].value
    versions = islice(client.list_versions(model), MAX_NAMES)
    items = [CompletionItem(str(version), help=version.stage) for version in versions]
    return [item for item in items if item.value.startswith(incomplete)]


def _ids(listed: Any, field: str, prefix: str) -> Items:
    names = [getattr(one, field) for one in islice(listed, MAX_NAMES)]
    return [CompletionItem(name) for name in names if name.startswith(prefix)]


def _known(context: click.Context, names: Callable[["Client"], Items]) -> Items:
    """Return what the server of the current options and profile knows; nothing where it cannot be asked."""
    from modelward.cli.remote import client_of
    from modelward.errors import ModelwardError

    try:
        with context.scope(cleanup=False), _deadline(), client_of(context.params, SECONDS) as client:
            return names(client)
    except (ModelwardError, ProfileError, click.ClickException, OSError):
        return []  # A message would stand in the middle of the line that the user types.


@contextmanager
def _deadline() -> Iterator[None]:
    """Raise TimeoutError after a while, whatever takes the time: the server, a host name, a command for a token."""

    if not hasattr(signal, "setitimer"):  # As on Windows, where the timeout of each call must do.
        yield
        return

    def end(_number: int, _frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
