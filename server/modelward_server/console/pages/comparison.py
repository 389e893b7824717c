"""A stored comparison: its verdict, and each version by the deciding metric; its report has the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient, Comparison
from modelward.comparison import MetricDifference, MetricEstimate, ModelResult, Verdict
from modelward.lifecycle import VersionRef

TEMPLATE = "comparison"


@dataclass(frozen=True)
class Row:
    """A version by the deciding metric."""

    version: VersionRef
    estimate: MetricEstimate | None
    """None where it failed."""
    difference: MetricDifference | None
    """From the baseline; None for the baseline itself."""
    verdict: Verdict | None
    failure: str


@dataclass(frozen=True)
class View:
    """What the page shows."""

    comparison: Comparison
    rows: Sequence[Row]
    """The best first."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the comparison of the address.

    Raises:
        ComparisonNotFound: there is none.
    """
    found = await client.get_comparison(request.path_params["comparison"])
    return View(found, [_row(found, result) for result in found.results])


def _row(comparison: Comparison, result: ModelResult) -> Row:
    primary = comparison.primary_metric
    estimate = next((one for one in result.metrics if one.metric == primary), None)
    difference = next((one for one in result.differences if one.metric == primary), None)
    return Row(result.version, estimate, difference, result.verdict, result.failure)
