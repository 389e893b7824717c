"""The results of a comparison's versions, assembled from their evaluations."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelward.comparison import AnyMetric, CostCurve, DeflatedSharpe, Latency, ModelResult, UndefinedMetric
from modelward.leaks import LeakCheck
from modelward.lifecycle import VersionRef
from modelward_server.comparison.leaks import notes_of
from modelward_server.comparison.verdict import Evaluation, ModelEvaluation


@dataclass(frozen=True)
class Results:
    """What was found of each version.

    Attributes:
        evaluation: of the versions that answered, the best first.
        latencies: of these versions; None where they were not run here.
        deflated: their deflated Sharpe ratios, where they have returns that vary.
        curves: their Sharpe ratios over the cost, where they have returns.
        failures: why the other versions did not answer.
        coverage: the share of the rows with a label that each version answered.
        undefined: why a version lacks a metric that others have.
        leaks: what was found of leaks of each version.
    """

    evaluation: Evaluation
    latencies: Mapping[VersionRef, Latency | None]
    deflated: Mapping[VersionRef, DeflatedSharpe]
    curves: Mapping[VersionRef, CostCurve]
    failures: Mapping[VersionRef, str]
    coverage: Mapping[VersionRef, float]
    undefined: Mapping[tuple[VersionRef, AnyMetric], str]
    leaks: Mapping[VersionRef, tuple[LeakCheck, ...]]

    def public(self) -> tuple[ModelResult, ...]:
        """Return the results, the best first and those that failed last."""
        answered = (self._result(version, one) for version, one in self.evaluation.models.items())
        failed = (
            ModelResult(version, (), (), None, None, failure, coverage=self.coverage.get(version))
            for version, failure in self.failures.items()
        )
        return (*answered, *failed)

    def notes(self) -> Iterator[str]:
        """Yield which leaks were found, and which metrics some versions lack."""
        for version, leaks in self.leaks.items():
            yield from notes_of(version, leaks)
        for (version, metric), why in self.undefined.items():
            yield f"{metric} is undefined for {version}: it {why}"

    def _result(self, version: VersionRef, judged: ModelEvaluation) -> ModelResult:
        return ModelResult(
            version=version,
            metrics=judged.metrics,
            differences=judged.differences,
            verdict=judged.verdict,
            latency=self.latencies[version],
            failure="",
            confidence_set_p_value=judged.confidence_set_p_value,
            deflated_sharpe=self.deflated.get(version),
            cost_curve=self.curves.get(version),
            coverage=self.coverage[version],
            leaks=self.leaks.get(version, ()),
            undefined=tuple(
                UndefinedMetric(metric, why) for (other, metric), why in self.undefined.items() if other == version
            ),
        )
