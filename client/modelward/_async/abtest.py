"""Client methods for A/B tests of versions on live traffic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Literal

from modelward._abtest import as_metric, batches, name_of, to_variants, total
from modelward._async.connection import AsyncConnection
from modelward._coerce import AnyVersion
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
from modelward.paging import AsyncPager
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


class AsyncAbTests(AsyncConnection):
    """A/B tests of versions on live traffic."""

    async def create_ab_test(
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
            variants: the version of each variant by the variant's name; the first is the control.
            primary_metric: the deciding metric, by key or with its margin; higher is better unless the metric is
                defined otherwise.
            guardrails: metrics that must not become worse than the control's by more than their margins.
            weights: number of units that a variant gets relative to the others; 1 by default.
            coverage: the share of the units that take part, from 0 for none up to 1.
            salt: the seed of the assignment; the test's name when empty.
            namespace: a share of the units that other tests do not use.
            unit: what a unit is, in words, such as "account", "symbol" or "hour".
            shadow: the control decides for every unit while the others run in shadow; they are compared unit by unit.
            confidence_level: of intervals and verdict, from 0.5 to 0.999.
            block: outcomes within each block of this length count as one, for serially dependent outcomes.
            description: the question that the test answers.
            timeout: seconds for the call with all its attempts; those of the client by default.

        Returns:
            The running test, by which `assign` computes variants.

        Raises:
            AbTestExists: the name is taken.
            ModelNotFound, VersionNotFound: a version does not exist.
            InvalidField: a name, a weight, a share or a metric is invalid.

        Examples:
            >>> test = await mw.create_ab_test(
            ...     "spx-trend",
            ...     {"champion": "spx-trend/1", "challenger": "spx-trend/2"},
            ...     primary_metric="pnl_bps",
            ...     guardrails=[AbMetric("slippage_bps", lower_is_better=True, margin=0.2)],
            ... )
            >>> print(test.control.name, test.state)
            champion running
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
        return ab_test_from_proto((await self._call(self._comparison.CreateAbTest, request, timeout)).ab_test)

    async def get_ab_test(self, test: str) -> AbTest:
        """Return a test.

        Args:
            test: the test's name.

        Returns:
            The test as it is now.

        Raises:
            AbTestNotFound: there is no test with this name.
        """
        request = pb.GetAbTestRequest(test=test)
        return ab_test_from_proto((await self._call(self._comparison.GetAbTest, request)).ab_test)

    def list_ab_tests(self, model: str = "", *, state: AbTestState | None = None) -> AsyncPager[AbTest]:
        """List tests, the newest first.

        Args:
            model: only tests with a version of this model; all when empty.
            state: only tests in this state; all when None.

        Returns:
            The tests; their pages are fetched as they are needed.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListAbTestsRequest(model=model, state=state_to_proto(state), page_size=PAGE_SIZE)
        return self._list(self._comparison.ListAbTests, request, "ab_tests", ab_test_from_proto)

    def assign(self, test: AbTest, unit: str) -> Assignment:
        """Return the variant that a unit gets, without a call: the same unit always gets the same one.

        A unit that takes no part gets the control, as does every unit of a shadow test. In a concluded test every unit
        gets the chosen variant, so fetch the test again from time to time.

        Args:
            test: the test, as returned by `create_ab_test` or `get_ab_test`.
            unit: the unit, such as an account's number as text; 1 to 256 characters.

        Returns:
            The variant, and whether the unit takes part.

        Raises:
            InvalidField: the unit is not text of 1 to 256 characters.
            UnexpectedError: the test lacks variants, weights or a winner; tests that Modelward returned always have
                them.
        """
        try:
            return assign(test, unit)
        except (LookupError, ValueError, ZeroDivisionError) as error:
            raise UnexpectedError(f"{test.test!r} is not a test that Modelward returned") from error

    async def assign_variant(self, test: AbTest | str, unit: str) -> Assignment:
        """Return the variant that a unit gets, as computed by the server; the result is that of `assign`.

        Args:
            test: the test, or its name.
            unit: the unit; 1 to 256 characters.

        Returns:
            The variant, and whether the unit takes part.

        Raises:
            AbTestNotFound: there is no such test.
            InvalidField: the unit is not text of 1 to 256 characters.
        """
        check_unit(unit)
        request = pb.AssignVariantRequest(test=name_of(test), unit=unit)
        return assignment_from_proto(await self._call(self._comparison.AssignVariant, request))

    async def record_ab_outcomes(
        self, test: AbTest | str, outcomes: Iterable[AbOutcome], *, timeout: float | None = None
    ) -> RecordedAbOutcomes:
        """Record outcomes of decisions; they may arrive late and be sent repeatedly.

        Each outcome id counts once, with the values that arrived first. If an outcome names a variant, it counts for
        that variant even if another one is assigned to its unit; the result reports the number of such units. Up to
        10,000 outcomes are recorded atomically; more are sent in several calls.

        Args:
            test: the test, or its name.
            outcomes: the outcomes; their values are finite, in the metrics' own units.
            timeout: seconds for each of the calls involved; those of the client by default.

        Returns:
            How many outcomes are new, and how many were known or left out.

        Raises:
            AbTestNotFound: there is no such test.
            AbTestConcluded: it has ended.
            InvalidField: a variant or a metric is not one of the test's, or a value is not finite.

        Examples:
            >>> variants = {"champion": "spx-trend/1", "challenger": "spx-trend/2"}
            >>> test = await mw.create_ab_test("spx-trend", variants, primary_metric="pnl_bps")
            >>> outcome = AbOutcome("order-1", "account-17", {"pnl_bps": 0.4})
            >>> (await mw.record_ab_outcomes(test, [outcome])).recorded
            1
        """
        recorded = []
        for batch in batches(outcomes):
            request = pb.RecordAbOutcomesRequest(test=name_of(test), outcomes=batch)
            recorded.append(recorded_from_proto(await self._call(self._comparison.RecordAbOutcomes, request, timeout)))
        return total(recorded)

    async def ab_test_result(self, test: AbTest | str, *, timeout: float | None = None) -> AbTestResult:
        """Return a test's current result; looking at it often does not affect its validity.

        Args:
            test: the test, or its name.
            timeout: seconds for the call with all its attempts; those of the client by default.

        Returns:
            The estimates of every variant, and the verdict.

        Raises:
            AbTestNotFound: there is no such test.
        """
        request = pb.GetAbTestResultRequest(test=name_of(test))
        return ab_result_from_proto((await self._call(self._comparison.GetAbTestResult, request, timeout)).result)

    async def render_ab_test(
        self,
        test: AbTest | str,
        format: Literal["html", "png"] = "html",  # noqa: A002 - the word of the contract
    ) -> bytes:
        """Render a test's current result.

        Args:
            test: the test, or its name.
            format: `html` for a self-contained page with every number, in the reader's light or dark theme; `png` for
                an image, 2400 pixels wide, with the verdict, its timeline and the intervals.

        Returns:
            The file's content.

        Raises:
            AbTestNotFound: there is no such test.
            InvalidField: the format is unknown.
        """
        request = pb.RenderAbTestRequest(test=name_of(test), format=report_format_to_proto(format))
        return (await self._call(self._comparison.RenderAbTest, request)).content

    async def conclude_ab_test(
        self,
        test: AbTest | str,
        *,
        winner: str = "",
        action: AbAction | str = AbAction.NONE,
        reason: str = "",
        etag: str = "",
        model_etag: str = "",
        dry_run: bool = False,
        request_id: str = "",
        timeout: float | None = None,
    ) -> AbTest:
        """Conclude a test and record the decision.

        Args:
            test: the test, or its name.
            winner: the chosen variant; when empty, the superior one, or else the control.
            action: `"none"` only records, `"promote"` promotes the winner to production through the usual gates,
                `"roll-back"` restores the predecessor, `"by-rule"` acts as the result indicates: a superior variant is
                promoted, and a guardrail violated by the version in production rolls back.
            reason: the reason, for the audit log.
            etag: the test's, so that the test is only concluded as it was read; empty accepts any.
            model_etag: that of the model whose version in production changes, so that no other version leaves
                production than the one that was read; empty accepts any.
            dry_run: change nothing, and only return or raise what the conclusion would.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.
            timeout: seconds for the call with all its attempts; those of the client by default.

        Returns:
            The concluded test, with the decision and the result at that time.

        Raises:
            AbTestNotFound: there is no such test.
            AbTestConcluded: it has already ended.
            AbTestUndecided: the rule does not decide yet; the test continues.
            GatesFailed, IllegalTransition, NoPredecessor: the action is not possible; the test continues.
            EtagMismatch: the test, or the model, changed since it was read.
            InvalidField: the winner is not a variant.
        """
        request = pb.ConcludeAbTestRequest(
            test=name_of(test),
            winner=winner,
            action=action_to_proto(AbAction(action)),
            reason=reason,
            etag=etag,
            model_etag=model_etag,
            dry_run=dry_run,
            request_id=request_id,
        )
        return ab_test_from_proto((await self._call(self._comparison.ConcludeAbTest, request, timeout)).ab_test)
