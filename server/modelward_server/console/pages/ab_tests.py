"""The A/B tests with versions of a model: their state, their split, and the difference over time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.abtest import AbTest, AbTestResult, AbTestState
from modelward.lifecycle import EventKind
from modelward_server.console.pages.lists import ROWS, first
from modelward_server.reports.abtest.timeline import Course, courses
from modelward_server.reports.abtest.wording import headline

TEMPLATE = "ab_tests"
FOLLOWS = frozenset({EventKind.TRANSITION})
RESULTS = 5
"""The most running tests whose results are computed for the page; the reports have those of the others."""


@dataclass(frozen=True)
class Row:
    """One test."""

    test: AbTest
    result: AbTestResult | None
    """As it is now, or was when the test was concluded; None where it was not computed for the page."""

    @property
    def headline(self) -> str:
        """The result in a few words."""
        return headline(self.test, self.result) if self.result else ""

    @property
    def courses(self) -> list[Course]:
        """The differences over time as drawings."""
        return courses(self.result) if self.result else []

    @property
    def split(self) -> list[tuple[str, float, int | None]]:
        """Name, expected share and units of each variant."""
        total = sum(one.weight for one in self.test.variants)
        units = {one.variant: one.units for one in self.result.variants} if self.result else {}
        return [(one.name, one.weight / total, units.get(one.name)) for one in self.test.variants]


@dataclass(frozen=True)
class View:
    """What the page shows."""

    model: str
    tests: Sequence[Row]
    """The newest first."""
    more: bool
    """Whether there may be older ones, which the page does not show."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the newest A/B tests with versions of the model in the address.

    Raises:
        ModelNotFound: there is no such model.
    """
    model = await client.get_model(request.path_params["model"])
    tests = await first(client.list_ab_tests(model.name), ROWS)
    running = [test for test in tests if test.state is AbTestState.RUNNING][:RESULTS]
    results = {result.test: result for result in await asyncio.gather(*map(client.ab_test_result, running))}
    rows = [Row(test, _concluded(test) or results.get(test.test)) for test in tests]
    return View(model.name, rows, len(tests) == ROWS)


def _concluded(test: AbTest) -> AbTestResult | None:
    return test.conclusion.result if test.conclusion else None
