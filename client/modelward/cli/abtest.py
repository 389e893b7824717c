"""Commands about A/B tests: how they stand, and their end."""

from itertools import islice
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

import click
from rich.text import Text

from modelward import AbAction, AbEstimate, AbTest, AbTestResult, AbTestState, Client
from modelward.cli.drift import FORMATS, SAVE
from modelward.cli.options import Confirm, ending, limit
from modelward.cli.output import Output, make_table
from modelward.cli.remote import remote
from modelward.shared.figures import difference, p_equals, probability

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.group()
def ab() -> None:
    """Look at tests of versions on live traffic, and end them."""


@ab.command("list")
@click.argument("model", default="")
@click.option("--state", type=click.Choice([state.value for state in AbTestState]), help="Only tests in this state.")
@limit(20)
@remote
def list_tests(client: Client, out: Output, model: str, state: str | None, limit: int) -> None:
    """List the A/B tests of MODEL, or of all, the newest first."""
    out.rows(
        list(islice(client.list_ab_tests(model, state=AbTestState(state) if state else None), limit)),
        ["test", "state", "control", "challengers", "decided by", "started (UTC)", "winner"],
        lambda test: [
            test.test,
            test.state,
            test.control.version,
            ", ".join(str(variant.version) for variant in test.challengers),
            test.primary_metric.key,
            test.created_at,
            test.conclusion.winner if test.conclusion else "",
        ],
        none="there is no A/B test",
    )


@ab.command()
@click.argument("test")
@remote
def show(client: Client, out: Output, test: str) -> None:
    """Show how TEST stands; it may be looked at at any time."""
    found, result = client.get_ab_test(test), client.ab_test_result(test)
    facts = {
        "state": found.state,
        "of": ", ".join(f"{variant.name} {variant.version}" for variant in found.variants),
        "decided by": found.primary_metric.key,
        "coverage": found.coverage,
        "shadow": found.shadow,
        "block": found.block,
        "split": _split(result),
        "outcomes up to": result.as_of,
        "winner": found.conclusion.winner if found.conclusion else "",
    }
    out.record(result, facts, make_table(_HEADINGS, _rows(found, result)), result.summary)


def _split(result: AbTestResult) -> str:
    stands = "broken" if result.sample_ratio_broken else "as it should be"
    at_any_look = probability(result.sample_ratio_sequential_p_value)
    return f"{stands}: {p_equals(result.sample_ratio_p_value)}, {at_any_look} at any look"


_HEADINGS = ["metric", "variant", "counted", "mean", "difference", "from", "to", "verdict"]


def _rows(test: AbTest, result: AbTestResult) -> "Iterator[list[object]]":
    for metric in test.metrics:
        for variant in result.variants:
            style = "bold" if metric == test.primary_metric else ""
            yield [Text(metric.key, style), variant.variant, *_figures(variant[metric.key], test, variant.variant)]


def _figures(found: AbEstimate, test: AbTest, variant: str) -> list[object]:
    if variant == test.control.name:
        return [found.outcomes, found.mean, "", "", "", "control"]
    return [found.outcomes, found.mean, difference(found.difference), found.low, found.high, found.verdict or "none"]


@ab.command("report")
@click.argument("test")
@SAVE
@click.option("--open", "opened", is_flag=True, help="Open the file that was saved.")
@remote
def draw_test(client: Client, out: Output, test: str, save: Path | None, opened: bool) -> None:
    """Draw how TEST stands as a page or a picture.

    Without --save a page is written into the folder for temporary files and opened.
    """
    drawn = save or Path(gettempdir(), f"modelward-ab-{test}.html")
    drawn.write_bytes(client.render_ab_test(test, FORMATS[drawn.suffix.lower()]))
    out.say({"file": str(drawn)}, f"{drawn} holds the report")
    if opened or not save:
        click.launch(str(drawn))


@ab.command()
@click.argument("test")
@click.option(
    "--winner", default="", metavar="VARIANT", help="The variant that is chosen; what is superior by default."
)
@click.option(
    "--action",
    type=click.Choice([action.value for action in AbAction]),
    default=AbAction.NONE.value,
    show_default=True,
    help="What to do about it; by-rule does what the result says.",
)
@ending
@remote
def conclude(client: Client, out: Output, test: str, winner: str, action: str, reason: str, confirm: Confirm) -> None:
    """End TEST: every unit gets the winner from now on."""
    confirm(f"{client.ab_test_result(test).summary}\nEnd {test} for good?")
    done = client.conclude_ab_test(test, winner=winner, action=action, reason=reason)
    out.say(done, _ended(done))


def _ended(test: AbTest) -> str:
    assert test.conclusion is not None
    version = test.variant(test.conclusion.winner).version
    done = {
        AbAction.PROMOTE: f"; {version} is now in production",
        AbAction.ROLL_BACK: "; the version before is in production again",
    }
    return f"{test.test} is concluded in favour of {test.conclusion.winner}{done.get(test.conclusion.action, '')}"
