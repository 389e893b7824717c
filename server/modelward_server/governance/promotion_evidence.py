"""Evidence of other services about a candidate, for the promotion gates; read before its promotion locks the model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelward.abtest import AbTest, VariantResult
from modelward.comparison import Comparison, ModelResult, Verdict
from modelward.lifecycle import DriftAlarm, VersionRef
from modelward_server.abtest.readings import Reading, recent_reading
from modelward_server.abtest.repository import list_ab_tests
from modelward_server.abtest.verdict import broken_guardrails
from modelward_server.comparison.repository import list_comparisons
from modelward_server.drift.live_monitoring import active_drift_alarm
from modelward_server.drift.reports import latest_report
from modelward_server.lifecycle.backtest_gates import ReturnsEvidence, asks_for_returns, needs_returns
from modelward_server.lifecycle.comparison_gates import ComparisonEvidence, asks_for_comparison
from modelward_server.lifecycle.gates import EvidenceVerdict
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.repository import production_version
from modelward_server.lifecycle.versions import get_version
from modelward_server.security.trusted_signers import TrustedSigners
from modelward_server.storage.ab_tables import AbTestModelRow
from modelward_server.storage.comparison_tables import ComparedModelRow
from modelward_server.storage.prepared import Outdated

MAX_RECENT = 50
"""Maximum number of comparisons and tests of a model that are considered, the newest first."""
NO_WORSE = {Verdict.SUPERIOR, Verdict.NON_INFERIOR}


@dataclass(frozen=True)
class GatheredEvidence:
    """The evidence about a candidate compared with the version in production, and its sources."""

    candidate: VersionRef
    production: VersionRef | None = None
    """None: no gate requires a verdict."""
    found: EvidenceVerdict | None = None
    newest: tuple[int, int] = (0, 0)
    """The newest A/B test and the newest comparison of the model."""
    running: tuple[Reading, ...] = ()
    """The running tests that were read."""
    compared: ReturnsEvidence | None = None
    """What the newest comparison with returns says."""
    tested: ComparisonEvidence | None = None
    """What the newest comparison says of the test."""
    compared_until: int | None = None
    """The newest comparison of the model when these were read; None: no gate needs them, so they were not."""
    trusted: frozenset[str] | None = None
    """The fingerprints of trusted signers; None: no gate needs them, so they were not read."""

    def verdict(self, session: Session, candidate: VersionRef, production: VersionRef) -> EvidenceVerdict | None:
        """Return the verdict, if it is still valid.

        Raises:
            Outdated: it was not read, or for other versions, or there are newer tests or comparisons now.
        """
        if (candidate, production) != (self.candidate, self.production):
            raise Outdated
        if _newest(session, candidate.model) != self.newest:
            raise Outdated
        for reading in self.running:
            reading.check(session)
        return self.found

    def drift_alarm(self, session: Session, candidate: VersionRef) -> DriftAlarm | None:
        """Return the alarm that is active now: reading two indexed rows again is faster than validating them."""
        return drift_alarm(session, candidate)

    def returns(self, session: Session, candidate: VersionRef) -> ReturnsEvidence | None:
        """Return what the newest comparison with returns says, if none came after it was read.

        Raises:
            Outdated: it was not read, or for another version, or there are newer comparisons now.
        """
        self._check_comparisons(session, candidate)
        return self.compared

    def comparison(self, session: Session, candidate: VersionRef) -> ComparisonEvidence | None:
        """Return what the newest comparison says of the test, if none came after it was read. Raises as `returns`."""
        self._check_comparisons(session, candidate)
        return self.tested

    def trusted_signers(self) -> frozenset[str]:
        """Return the fingerprints of the signers that were trusted just before.

        Raises:
            Outdated: they were not read.
        """
        if self.trusted is None:
            raise Outdated
        return self.trusted

    def _check_comparisons(self, session: Session, candidate: VersionRef) -> None:
        if candidate != self.candidate or self.compared_until != _newest(session, candidate.model)[1]:
            raise Outdated


def gather(
    signers: TrustedSigners, session: Session, candidate: VersionRef, known: Reading | None = None
) -> GatheredEvidence:
    """Read the evidence that the gates of the candidate's model require, and nothing else.

    Args:
        signers: whose signatures the operator trusts.
        session: the transaction.
        candidate: the version to be promoted.
        known: a test that was read in this session.

    Raises:
        ModelNotFound, VersionNotFound: the candidate does not exist.
        SignerUnusable: a trusted signer cannot be read.
    """
    policy, production = get_policy(session, candidate.model), production_version(session, candidate.model)
    gathered = GatheredEvidence(candidate)
    if production and policy.require_comparison:
        gathered = _EvidenceReader(session, candidate, VersionRef(candidate.model, production), known).done()
    if asks_for_comparison(policy) or asks_for_returns(policy):
        gathered = replace(gathered, compared_until=_newest(session, candidate.model)[1])
    lacks_returns = asks_for_returns(policy) and needs_returns(policy, get_version(session, candidate))
    if asks_for_comparison(policy) or lacks_returns:
        found = _compared_results(session, candidate)
        gathered = replace(gathered, tested=_tested(found), compared=_returns(found))
    return replace(gathered, trusted=signers.fingerprints()) if policy.require_signature else gathered


class _EvidenceReader:
    def __init__(self, session: Session, candidate: VersionRef, production: VersionRef, known: Reading | None) -> None:
        self._session, self._candidate, self._production, self._known = session, candidate, production, known
        self._running: list[Reading] = []

    def done(self) -> GatheredEvidence:
        """Return the verdict of the newest conclusive A/B test, or otherwise of the newest comparison.

        Live traffic is stronger evidence than a test set: a comparison counts only without a conclusive A/B test.
        """
        found = self._ab_test_verdict() or self._comparison_verdict()
        newest = _newest(self._session, self._candidate.model)
        return GatheredEvidence(self._candidate, self._production, found, newest, tuple(self._running))

    def _ab_test_verdict(self) -> EvidenceVerdict | None:
        tests = list_ab_tests(self._session, self._candidate.model, None, MAX_RECENT, "").items
        return next((verdict for test in tests for verdict in self._test_verdicts(test)), None)

    def _test_verdicts(self, test: AbTest) -> Iterator[EvidenceVerdict]:
        arms = [variant.name for variant in test.challengers if variant.version == self._candidate]
        if test.control.version != self._production or not arms:
            return
        result = test.conclusion.result if test.conclusion else self._read(test).result
        sentence = f"{self._candidate} is {{}} to {self._production} by {test.primary_metric.key}"
        if verdict := _test_verdict(test, result[arms[0]], sentence):
            yield verdict

    def _read(self, test: AbTest) -> Reading:
        known = self._known is not None and self._known.test.test == test.test
        self._running.append(self._known if known and self._known else recent_reading(self._session, test))
        return self._running[-1]

    def _comparison_verdict(self) -> EvidenceVerdict | None:
        for comparison in list_comparisons(self._session, self._candidate.model, MAX_RECENT, "").items:
            if comparison.baseline == self._production and (result := _result(comparison, self._candidate)):
                summary = f"{self._candidate} is {result.verdict} to {self._production} by {comparison.primary_metric}"
                return EvidenceVerdict(f"comparison {comparison.comparison_id}", result.verdict in NO_WORSE, summary)
        return None


def _test_verdict(test: AbTest, found: VariantResult, sentence: str) -> EvidenceVerdict | None:
    """Return a test's verdict on a challenger; None while it is inconclusive."""
    verdict, broken = found.metrics[0].verdict, broken_guardrails(test, found)
    if verdict in {None, Verdict.INCONCLUSIVE}:
        return None
    summary = sentence.format(verdict) + (f", but violates the guardrail {', '.join(broken)}" if broken else "")
    return EvidenceVerdict(f"A/B test {test.test}", verdict in NO_WORSE and not broken, summary)


def _result(comparison: Comparison, candidate: VersionRef) -> ModelResult | None:
    return next((r for r in comparison.results if r.version == candidate and r.verdict is not None), None)


def _newest(session: Session, model: str) -> tuple[int, int]:
    """Return the numbers of a model's newest A/B test and newest comparison; 0 where there is none."""
    test = select(func.max(AbTestModelRow.sequence)).where(AbTestModelRow.model == model)
    comparison = select(func.max(ComparedModelRow.sequence)).where(ComparedModelRow.model == model)
    return session.scalar(test) or 0, session.scalar(comparison) or 0


def _compared_results(session: Session, candidate: VersionRef) -> list[tuple[Comparison, ModelResult]]:
    """Return the results of a version in the recent comparisons of its model, the newest first."""
    recent = list_comparisons(session, candidate.model, MAX_RECENT, "").items
    return [(comparison, one) for comparison in recent for one in comparison.results if one.version == candidate]


def _returns(found: Sequence[tuple[Comparison, ModelResult]]) -> ReturnsEvidence | None:
    """Return what a version's newest comparison with returns says of its Sharpe ratio."""
    for comparison, result in found:
        if sharpe := result.deflated_sharpe:
            periods = comparison.window.times if comparison.window else comparison.rows
            rates = sharpe.probabilistic, sharpe.probability
            return ReturnsEvidence(f"comparison {comparison.comparison_id}", periods, sharpe.trials, *rates)
    return None


def _tested(found: Sequence[tuple[Comparison, ModelResult]]) -> ComparisonEvidence | None:
    """Return what a version's newest comparison says of its test."""
    for comparison, result in found:
        if result.coverage is not None:
            return ComparisonEvidence(f"comparison {comparison.comparison_id}", result.coverage, result.leaks)
    return None


def drift_alarm(session: Session, candidate: VersionRef) -> DriftAlarm | None:
    """Return the active drift alarm of a version: of its live data, or its newest report, if that detected drift."""
    if active := active_drift_alarm(session, candidate):
        return active[0]
    report = latest_report(session, candidate.model, candidate.version)
    return DriftAlarm(candidate, report.report_id, report.score) if report and report.drift_detected else None
