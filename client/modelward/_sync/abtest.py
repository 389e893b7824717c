# Derived from modelward/_async/abtest.py by client/unasync.py: change that one.
"""The calls about A/B tests: versions on live traffic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Literal

from modelward._abtest import as_metric, batches, name_of, to_variants, total
from modelward._coerce import AnyVersion
from modelward._sync.connection import Connection
from modelward.abtest import (
    AbAction,
    AbMetric,
    AbNamespace,
    AbOutcome,
    AbTest,
    AbTestResult,
    AbTestState,
    Assignment,
    RecordedAbOutcomes,
)
from modelward.assignment import assign, check_unit
from modelward.errors import UnexpectedError
from modelward.shared.convert.abtest import (
    ab_metric_to_proto,
    ab_result_from_proto,
    ab_test_from_proto,
    action_to_proto,
    assignment_from_proto,
    namespace_to_proto,
    recorded_from_proto,
    state_to_proto,
)
from modelward.shared.convert.common import report_format_to_proto, span_to_proto
from modelward.v1 import comparison_pb2 as pb

PAGE_SIZE = 50


class AbTests(Connection):
    """Tests of versions on live traffic."""

    def create_ab_test(
        self,
        test: str,
        variants: Mapping[str, AnyVersion],
        *,
        primary_metric: AbMetric | str,
        guardrails: Iterable[AbMetric | str] = (),
        weights: Mapping[str, float] | None = None,
        coverage: float = 1.0,
        salt: str = "",
        namespace: AbNamespace | None = None,
        unit: str = "",
        shadow: bool = False,
        confidence_level: float = 0.95,
        block: timedelta | None = None,
        description: str = "",
        timeout: float | None = None,
    ) -> AbTest:
        """Start a test of versions on live traffic.

        Args:
            test: its name, unique on the server.
            variants: the version of each variant by its name; the first is the control.
            primary_metric: what decides, by its key or with its margin; higher is better unless it says otherwise.
            guardrails: metrics that must not become worse than the control's by more than their margins.
            weights: how many units a variant gets relative to the others; 1 when it is left out.
            coverage: the share of the units that take part, from 0 for nobody up to 1.
            salt: the seed of the assignment; the test's name when it is empty.
            namespace: a share of the units that other tests leave alone.
            unit: what a unit is, in words, as "account", "symbol" or "hour".
            shadow: the control decides for every unit and the others only look on; they are compared unit by unit.
            confidence_level: of intervals and verdict, from 0.5 to 0.999.
            block: outcomes within so long a span of time count as one, for outcomes that hang together.

        Raises:
            AbTestExists: the name is taken.
            ModelNotFound, VersionNotFound: a version does not exist.
            InvalidField: a name, a weight, a share or a metric is not what it should be.
        """
        message = pb.AbTest(
            test=test,
            description=description,
            variants=to_variants(variants, weights or {}),
            coverage=coverage,
            salt=salt,
            namespace=namespace_to_proto(namespace),
            unit=unit,
            primary_metric=ab_metric_to_proto(as_metric(primary_metric)),
            guardrails=[ab_metric_to_proto(as_metric(metric)) for metric in guardrails],
            shadow=shadow,
            confidence_level=confidence_level,
            block=span_to_proto(block),
        )
        request = pb.CreateAbTestRequest(ab_test=message)
        return ab_test_from_proto((self._call(self._comparison.CreateAbTest, request, timeout)).ab_test)

    def get_ab_test(self, test: str) -> AbTest:
        """Return a test.

        Raises:
            AbTestNotFound: there is none of that name.
        """
        request = pb.GetAbTestRequest(test=test)
        return ab_test_from_proto((self._call(self._comparison.GetAbTest, request)).ab_test)

    def list_ab_tests(self, model: str = "", *, state: AbTestState | None = None) -> Iterator[AbTest]:
        """Iterate over tests, the newest first; of those with a version of one model, or of all.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListAbTestsRequest(model=model, state=state_to_proto(state), page_size=PAGE_SIZE)
        for page in self._pages(self._comparison.ListAbTests, request):
            for test in page.ab_tests:
                yield ab_test_from_proto(test)

    def assign(self, test: AbTest, unit: str) -> Assignment:
        """Say which variant a unit gets, without a call: the same unit always gets the same one.

        A unit that takes no part gets the control, as does every unit of a shadow test. Of a concluded test every unit
        gets the variant that was chosen; so read the test again now and then.

        Raises:
            InvalidField: the unit is no text of 1 to 256 characters.
            UnexpectedError: the test has no variants, weights or winner, as none has that Modelward gives.
        """
        try:
            return assign(test, unit)
        except (LookupError, ValueError, ZeroDivisionError) as error:
            raise UnexpectedError(f"{test.test!r} is no test that Modelward gives") from error

    def assign_variant(self, test: AbTest | str, unit: str) -> Assignment:
        """Ask the server which variant a unit gets; it says the same as `assign`.

        Raises:
            AbTestNotFound: there is no such test.
            InvalidField: the unit is no text of 1 to 256 characters.
        """
        check_unit(unit)
        request = pb.AssignVariantRequest(test=name_of(test), unit=unit)
        return assignment_from_proto(self._call(self._comparison.AssignVariant, request))

    def record_ab_outcomes(
        self, test: AbTest | str, outcomes: Iterable[AbOutcome], *, timeout: float | None = None
    ) -> RecordedAbOutcomes:
        """Send what came of decisions; late is as good, and the same may be sent again.

        Each outcome id counts once, with the values that came first. A variant that an outcome names counts, though
        the assignment may give its unit another one; how many units that befell is part of the result. Up to 10,000
        outcomes are kept all or none; more travel in several calls.

        Args:
            timeout: seconds for each call.

        Raises:
            AbTestNotFound: there is no such test.
            AbTestConcluded: it has ended.
            InvalidField: a variant or a metric is not one of the test's, or a value is not finite.
        """
        recorded = []
        for batch in batches(outcomes):
            request = pb.RecordAbOutcomesRequest(test=name_of(test), outcomes=batch)
            recorded.append(recorded_from_proto(self._call(self._comparison.RecordAbOutcomes, request, timeout)))
        return total(recorded)

    def ab_test_result(self, test: AbTest | str, *, timeout: float | None = None) -> AbTestResult:
        """Say how a test stands; look as often as you like, the answer does not suffer.

        Raises:
            AbTestNotFound: there is no such test.
        """
        request = pb.GetAbTestResultRequest(test=name_of(test))
        return ab_result_from_proto((self._call(self._comparison.GetAbTestResult, request, timeout)).result)

    def render_ab_test(
        self,
        test: AbTest | str,
        format: Literal["html", "png"] = "html",  # noqa: A002 - the word of the contract
    ) -> bytes:
        """Draw how a test stands.

        Args:
            format: `html` for a page that needs nothing else, light or dark as the reader likes it, with every figure;
                `png` for a picture, 2400 pixels wide, with the verdict, its course and the intervals.

        Returns:
            The file's content.

        Raises:
            AbTestNotFound: there is no such test.
            InvalidField: the format is another one.
        """
        request = pb.RenderAbTestRequest(test=name_of(test), format=report_format_to_proto(format))
        return (self._call(self._comparison.RenderAbTest, request)).content

    def conclude_ab_test(
        self,
        test: AbTest | str,
        *,
        winner: str = "",
        action: AbAction | str = AbAction.NONE,
        reason: str = "",
        etag: str = "",
        timeout: float | None = None,
    ) -> AbTest:
        """End a test and record what was decided.

        Args:
            winner: the variant that is chosen; the superior one when it is empty, or else the control.
            action: `"none"` only records, `"promote"` puts the winner into production through the usual gates,
                `"roll-back"` puts the predecessor back, `"by-rule"` does what the result says: a superior variant is
                promoted, and a guardrail that is broken by what is in production rolls back.
            etag: the test's, so that only what was looked at is concluded; any when it is empty.

        Raises:
            AbTestNotFound: there is no such test.
            AbTestConcluded: it has ended already.
            AbTestUndecided: the rule decides nothing yet; the test goes on.
            GatesFailed, IllegalTransition, NoPredecessor: the action is not possible; the test goes on.
            EtagMismatch: the test changed since it was read.
            InvalidField: the winner is no variant.
        """
        request = pb.ConcludeAbTestRequest(
            test=name_of(test),
            winner=winner,
            action=action_to_proto(AbAction(action)),
            reason=reason,
            etag=etag,
        )
        return ab_test_from_proto((self._call(self._comparison.ConcludeAbTest, request, timeout)).ab_test)
