"""Commands for A/B tests."""

from itertools import islice
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

import click
from rich.text import Text

from modelward import AbAction, AbEstimate, AbTest, AbTestResult, AbTestState
from modelward.cli.cells import Cell
from modelward.cli.completion import complete_models, complete_tests
from modelward.cli.drift import FORMATS, SAVE
from modelward.cli.options import DRY_RUN, Confirm, confirmed, limit
from modelward.cli.output import Output, make_table
from modelward.cli.remote import remote
from modelward.shared.figures import difference, p_equals, probability

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelward import Client


@click.group()
def ab() -> None:
    """Show and conclude A/B tests on live traffic."""


@ab.command("list")
@click.argument("model", default="", shell_complete=complete_models)
@click.option("--state", type=click.Choice([state.value for state in AbTestState]), help="Only tests in this state.")
@limit(20)
@remote
def list_tests(client: "Client", out: Output, model: str, state: str | None, limit: int) -> None:
    """List the A/B tests of MODEL, or of all models, the newest first."""
    out.rows(
        list(islice(client.list_ab_tests(model, state=AbTestState(state) if state else None), limit)),
        ["test", "state", "control", "challengers", "primary metric", "started (UTC)", "winner"],
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
@click.argument("test", shell_complete=complete_tests)
@remote
def show(client: "Client", out: Output, test: str) -> None:
    """Show the current result of TEST."""
    ab_test, result = client.get_ab_test(test), client.ab_test_result(test)
    facts = {
        "state": ab_test.state,
        "variants": ", ".join(f"{variant.name} {variant.version}" for variant in ab_test.variants),
        "primary metric": ab_test.primary_metric.key,
        "coverage": ab_test.coverage,
        "shadow": ab_test.shadow,
        "block": ab_test.block,
        "split": _split(result),
        "outcomes up to": result.as_of,
        "winner": ab_test.conclusion.winner if ab_test.conclusion else "",
    }
    table = make_table(_HEADINGS, _rows(ab_test, result))
    out.record(result, facts, table, result.summary, rows=table)


def _split(result: AbTestResult) -> str:
    state = "broken" if result.sample_ratio_broken else "as expected"
    at_any_look = probability(result.sample_ratio_sequential_p_value)
    return f"{state}: {p_equals(result.sample_ratio_p_value)}, {at_any_look} at any look"


_HEADINGS = ["metric", "variant", "counted", "mean", "difference", "from", "to", "verdict"]


def _rows(test: AbTest, result: AbTestResult) -> "Iterator[list[object]]":
    for metric in test.metrics:
        for variant in result.variants:
            style = "bold" if metric == test.primary_metric else ""
            yield [Text(metric.key, style), variant.variant, *_figures(variant[metric.key], test, variant.variant)]


def _figures(estimate: AbEstimate, test: AbTest, variant: str) -> list[object]:
    if variant == test.control.name:
        return [estimate.outcomes, estimate.mean, "", "", "", "control"]
    return [
        estimate.outcomes,
        estimate.mean,
        Cell(estimate.difference, difference(estimate.difference)),
        estimate.low,
        estimate.high,
        estimate.verdict or "none",
    ]


@ab.command("report")
@click.argument("test", shell_complete=complete_tests)
@SAVE
@click.option("--open", "open_file", is_flag=True, help="Open the rendered file.")
@remote
def render_test(client: "Client", out: Output, test: str, save: Path | None, open_file: bool) -> None:
    """Render the result of TEST as an HTML page or a PNG image.

    Without --save a page is written to the temporary folder and open_file.
    """
    path = save or Path(gettempdir(), f"modelward-ab-{test}.html")
    path.write_bytes(client.render_ab_test(test, FORMATS[path.suffix.lower()]))
    out.say({"file": str(path)}, f"the report is in {path}")
    if open_file or not save:
        click.launch(str(path))


@ab.command()
@click.argument("test", shell_complete=complete_tests)
@click.option("--winner", default="", metavar="VARIANT", help="The chosen variant; the superior one by default.")
@click.option(
    "--action",
    type=click.Choice([action.value for action in AbAction]),
    default=AbAction.NONE.value,
    show_default=True,
    help="The action to take; by-rule acts as the result indicates.",
)
@DRY_RUN
@confirmed
@remote
def conclude(
    client: "Client", out: Output, test: str, winner: str, action: str, dry_run: bool, reason: str, confirm: Confirm
) -> None:
    """Conclude TEST: every unit gets the winner from now on."""
    if dry_run:
        expected = client.conclude_ab_test(test, winner=winner, action=action, reason=reason, dry_run=True)
        out.say(expected, _expected(expected))
        return
    confirm(f"{client.ab_test_result(test).summary}\nConclude {test} permanently?")
    concluded = client.conclude_ab_test(test, winner=winner, action=action, reason=reason)
    out.say(concluded, _ended(concluded))


def _expected(test: AbTest) -> str:
    assert test.conclusion is not None
    return f"{test.test} would be concluded in favour of {test.conclusion.winner}; action: {test.conclusion.action}"


def _ended(test: AbTest) -> str:
    assert test.conclusion is not None
    version = test.variant(test.conclusion.winner).version
    effects = {
        AbAction.PROMOTE: f"; {version} is now in production",
        AbAction.ROLL_BACK: "; the previous version is in production again",
    }
    return f"{test.test} is concluded in favour of {test.conclusion.winner}{effects.get(test.conclusion.action, '')}"
