"""A stored comparison: its verdict, and each version by the deciding metric; its report has the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient, Comparison
from modelward.comparison import MetricDifference, MetricEstimate, ModelResult, Verdict
from modelward.leaks import LeakCheck
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
    coverage: float | None
    """The share of the rows that it answered; None where it failed."""
    leaks: Sequence[LeakCheck]
    """The leaks that were found."""


@dataclass(frozen=True)
class View:
    """What the page shows."""

    comparison: Comparison
    rows: Sequence[Row]
    """The best first."""

    @property
    def is_partial(self) -> bool:
        """Whether a version did not answer every row."""
        return any(row.coverage not in {None, 1} for row in self.rows)

    @property
    def has_leaks(self) -> bool:
        """Whether a leak was found."""
        return any(row.leaks for row in self.rows)


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
    leaks = [check for check in result.leaks if check.found]
    return Row(result.version, estimate, difference, result.verdict, result.failure, result.coverage, leaks)
