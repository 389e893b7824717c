"""The command that changes what the inventory states of a model, and the lineage of a version."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from modelward.cli.options import Command, Day, about
from modelward.cli.output import Output
from modelward.cli.remote import remote

if TYPE_CHECKING:
    from modelward import Client

SCOPE = ("regions", "asset_classes", "instruments", "venues", "desks", "portfolios")
OF_VERSIONS = ("restrictions", "limits", "assumptions", "weaknesses")
"""What versions state too."""


def texts(flag: str, name: str, text: str) -> Callable[[Command], Command]:
    """Create a repeatable option with a text."""
    return click.option(flag, name, multiple=True, metavar="TEXT", help=f"{text}; repeatable.")


def _tier(context: click.Context, parameter: click.Parameter, given: str | None) -> Any:
    return int(given) if given else given


def _day(context: click.Context, parameter: click.Parameter, given: str | None) -> Any:
    return Day().convert(given, parameter, context) if given else given


@click.command()
@about(required=True)
@texts("--owner", "owners", "A person or team that owns the model")
@click.option("--accountable-manager", metavar="NAME", help="The manager who is accountable for the model.")
@click.option("--purpose", metavar="TEXT", help="What the model is used for, in plain words.")
@click.option(
    "--tier",
    type=click.Choice(["1", "2", "3", "4", ""]),
    callback=_tier,
    metavar="1-4",
    help="How material the model is; 1 is the most.",
)
@texts("--region", "regions", "A region that the model is approved for")
@texts("--asset-class", "asset_classes", "A class of assets that it is approved for")
@texts("--instrument", "instruments", "An instrument that it is approved for")
@texts("--venue", "venues", "A venue that it is approved for")
@texts("--desk", "desks", "A desk that may use it")
@texts("--portfolio", "portfolios", "A portfolio that may use it")
@texts("--depends-on", "depends_on", "A model whose results it uses")
@click.option("--next-review", callback=_day, metavar="DATE", help="The day of its next review.")
@texts("--restriction", "restrictions", "A use of the model or version that is forbidden or needs consent")
@texts("--limit", "limits", "A limit within which it may be used")
@texts("--assumption", "assumptions", "An assumption that it rests on")
@texts("--weakness", "weaknesses", "A known weakness")
@remote
def update(client: "Client", out: Output, about: tuple[str, int], **given: Any) -> None:
    """Change what is stated of a model or a version.

    A version states restrictions, limits, assumptions and weaknesses of its own.

    A field that is given replaces the previous value, with all its texts; an empty text clears it. Others stay.
    """
    model, version = about
    stated = {name: _without_empty(value) for name, value in given.items() if value not in (None, ())}
    if not stated:
        raise click.UsageError("give a field that is to be changed")
    if version:
        _check_version(stated)
        changed: Any = client.update_version(f"{model}/{version}", lineage=stated)
    else:
        changed = client.update_model(model, inventory=_with_scope(stated))
    name = f"{model}/{version}" if version else model
    out.say(changed, f"{', '.join(stated).replace('_', ' ')} of {name} changed")


def _without_empty(given: Any) -> Any:
    return [text for text in given if text] if isinstance(given, tuple) else given


def _check_version(stated: dict[str, Any]) -> None:
    if of_models := [name for name in stated if name not in OF_VERSIONS]:
        raise click.UsageError(f"{', '.join(of_models).replace('_', ' ')}: stated of models, not of versions")


def _with_scope(stated: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an inventory, with those of its scope as one."""
    fields = {name: value for name, value in stated.items() if name not in SCOPE}
    scope = {name: value for name, value in stated.items() if name in SCOPE}
    fields |= {name: None for name in ("tier", "next_review") if fields.get(name) == ""}
    return fields | ({"scope": scope} if scope else {})
