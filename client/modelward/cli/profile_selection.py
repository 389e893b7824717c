"""The profile that a command uses, selected by the options of the whole command."""

from collections.abc import Callable
from typing import Any

import click

from modelward.cli.output import Failure
from modelward.shared.profiles import Configuration, Profile, ProfileError

SELECTED = "modelward.profile"
"""Where the context has the profile, so that its file is read once and its token is fetched once."""


def complete_profiles(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of profiles that begin like this."""
    try:
        names = Configuration(context.find_root().params.get("config")).names
    except ProfileError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def _select(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.find_root().params[str(parameter.name)] = value


PROFILE_OF_COMMAND = click.option(
    "--profile",
    metavar="NAME",
    shell_complete=complete_profiles,
    is_eager=True,  # It has the defaults of other options.
    expose_value=False,
    callback=_select,
    help="The profile to use; it may stand before the command, too.",
)


def configuration() -> Configuration:
    """Return the configuration file of the current command."""
    root = click.get_current_context().find_root()
    return Configuration(root.params.get("config"))


def selected_profile() -> Profile:
    """Return the profile of the current command.

    Raises:
        Failure: there is none of the name that the user gave, or it is not valid.
    """
    context = click.get_current_context()
    if SELECTED not in context.meta:
        try:
            context.meta[SELECTED] = configuration().profile(context.find_root().params.get("profile"))
        except ProfileError as error:
            raise Failure(str(error)) from None
    profile: Profile = context.meta[SELECTED]
    return profile


def from_profile(key: str, otherwise: Any = None) -> Callable[[], Any]:
    """Return the default of an option: the profile's value, or `otherwise` where it has none."""

    def default() -> Any:
        try:
            value = getattr(selected_profile(), key)
        except Failure:
            if not click.get_current_context().resilient_parsing:
                raise
            value = None  # The shell asks for completions, which a mistake in a file must not disturb.
        return otherwise if value is None else value

    return default
