"""Dataclasses of A/B tests: variants, assignment, outcomes, and results with their uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from modelward._given import check_given
from modelward._record import Record, TableRecord, brief, counted, quoted, sentence
from modelward.comparison import Verdict
from modelward.lifecycle import VersionRef
from modelward.shared.figures import difference, metric


class AbTestState(StrEnum):
    """The state of an A/B test."""

    RUNNING = "running"
    """Units are assigned and outcomes accepted."""
    CONCLUDED = "concluded"
    """It has ended: every unit gets the chosen variant."""


class AbAction(StrEnum):
    """The action that concluding a test takes."""

    NONE = "none"
    """Only record the conclusion; no stage changes."""
    PROMOTE = "promote"
    """Promote the winner to production, through the usual gates."""
    ROLL_BACK = "roll-back"
    """Roll the model back."""
    BY_RULE = "by-rule"
    """Act as the result indicates; used in requests, never recorded."""


@dataclass(frozen=True, repr=False)
class Variant(Record):
    """One arm of a test: a version, and its share of the units relative to the other arms."""

    name: str
    """Its name, such as `champion`; unique in the test."""
    version: VersionRef
    """The version that its units get."""
    weight: float = 1.0
    """Its share relative to the other variants' weights; above 0."""

    def _describe(self) -> str:
        return f"{quoted(self.name)}: {quoted(self.version)}, weight {self.weight:g}"


@dataclass(frozen=True, repr=False)
class AbNamespace(Record):
    """A share of the units that is reserved for one of several tests."""

    name: str
    """Its name; tests with disjoint shares of one namespace have no unit in common."""
    start: float
    """Start of the share, from 0."""
    until: float
    """End of the share, up to 1."""


@dataclass(frozen=True, repr=False)
class AbMetric(Record):
    """A metric of a test's outcomes."""

    key: str
    """Its name, such as `pnl_bps`; outcomes have their values under it."""
    lower_is_better: bool = False
    """Whether a lower value is better, as for a loss."""
    margin: float = 0.0
    """Non-inferiority margin: how much worse than the control is still acceptable, in the metric's own unit."""


@dataclass(frozen=True, repr=False)
class AbEstimate(Record):
    """The estimate of one metric for one variant; its interval is valid at every look simultaneously."""

    key: str
    """The metric's name."""
    outcomes: int
    """Number of units, or blocks of time, that are counted."""
    mean: float
    """Mean over these."""
    difference: float
    """Mean minus the control's, adjusted for the pre-test values; 0 for the control itself."""
    low: float
    """Lower limit of the difference's confidence sequence; -inf while there are too few outcomes."""
    high: float
    """Upper limit of the difference's confidence sequence."""
    verdict: Verdict | None
    """Verdict against the control; None for the control itself."""
    variance_explained: float
    """Share of the variance explained by the pre-test values (CUPED), from 0 to 1."""

    def _describe(self) -> str:
        interval = f"{metric(self.low)} to {metric(self.high)}"
        against = f"difference {difference(self.difference)}, {interval}, {self.verdict}" if self.verdict else "control"
        return sentence(f"{quoted(self.key)}: mean {metric(self.mean)}", against, counted(self.outcomes, "outcome"))


@dataclass(frozen=True, repr=False)
class VariantResult(Record):
    """The result of one variant."""

    variant: str
    """The variant's name."""
    units: int
    """Number of units seen."""
    metrics: tuple[AbEstimate, ...]
    """The primary metric first, then the guardrails."""
    exposed_units: int = 0
    """Number of units of the test that the server has scored with this variant."""

    def __getitem__(self, key: str) -> AbEstimate:
        """Return the estimate of one metric, for example `result["pnl_bps"]`.

        Args:
            key: the metric's key.

        Returns:
            The metric's estimate.

        Raises:
            KeyError: the test has no such metric.
        """
        return {result.key: result for result in self.metrics}[key]

    def _describe(self) -> str:
        verdict = next((one.verdict for one in self.metrics if one.verdict), "control")
        return (
            f"{quoted(self.variant)}: {verdict}, {counted(self.units, 'unit')}, {counted(len(self.metrics), 'metric')}"
        )


@dataclass(frozen=True, repr=False)
class AbLook(Record):
    """The comparison of one challenger with the control at one point in time."""

    variant: str
    """The challenger's name."""
    at: datetime
    """Outcomes up to this time were counted."""
    outcomes: int
    """Number of units, or blocks of time, of both that were counted."""
    difference: float
    """Mean minus the control's."""
    low: float
    """Lower limit of the difference's confidence sequence; -inf while there are too few outcomes."""
    high: float
    """Upper limit of the difference's confidence sequence; inf while there are too few outcomes."""

    def _describe(self) -> str:
        interval = f"{metric(self.low)} to {metric(self.high)}"
        return f"{quoted(self.variant)}: {difference(self.difference)}, {interval}, at {brief(self.at)}"


@dataclass(frozen=True, repr=False)
class AbTestResult(TableRecord):
    """The result of a test at a point in time; looking at it often does not invalidate it."""

    test: str
    """The test's name."""
    as_of: datetime
    """Outcomes up to this time are counted."""
    variants: tuple[VariantResult, ...]
    """The control first."""
    sample_ratio_p_value: float
    """The p-value of the observed split under the weights, for a single look (chi-square)."""
    sample_ratio_sequential_p_value: float
    """The same p-value, valid for any number of looks (Lindon and Malek 2022)."""
    sample_ratio_broken: bool
    """Whether there is a sample ratio mismatch; if so, there is no verdict."""
    mismatched_units: int
    """Number of units that got a variant other than the assigned one."""
    verdict: Verdict | None
    """Verdict of the best challenger against the control by the primary metric; None when there is none."""
    best: str
    """The variant with the best primary metric, statistically significant or not."""
    broken_guardrails: tuple[str, ...]
    """Keys of the guardrails that a challenger violated."""
    summary: str
    """The result in one or two sentences."""
    looks: tuple[AbLook, ...] = ()
    """The challengers' comparisons with the control by the primary metric over time, the oldest first."""

    def __getitem__(self, variant: str) -> VariantResult:
        """Return the result of one variant, for example `result["challenger"]`.

        Args:
            variant: the variant's name.

        Returns:
            The variant's result.

        Raises:
            KeyError: the test has no such variant.
        """
        return {result.variant: result for result in self.variants}[variant]

    _html_columns = ("variant", "units", "key", "mean", "difference", "low", "high", "verdict")

    def _describe(self) -> str:
        units = counted(sum(variant.units for variant in self.variants), "unit")
        verdict = f"best {quoted(self.best)} {self.verdict}" if self.verdict else "no verdict"
        broken = "sample ratio mismatch" if self.sample_ratio_broken else ""
        return sentence(f"{quoted(self.test)}: {verdict}", broken, *self._violations(), units)

    def _violations(self) -> list[str]:
        return [f"guardrail {quoted(key)} violated" for key in self.broken_guardrails[:1]]

    def _rows(self) -> Sequence[Mapping[str, object]]:
        """Return one row for each variant and metric."""
        return [
            {"variant": variant.variant, "units": variant.units, **vars(estimate)}
            for variant in self.variants
            for estimate in variant.metrics
        ]


@dataclass(frozen=True, repr=False)
class AbConclusion(Record):
    """The decision that concluded a test."""

    winner: str
    """The chosen variant's name."""
    action: AbAction
    """The action that was taken."""
    actor: str
    """Who concluded the test."""
    reason: str
    """The reason given; may be empty."""
    concluded_at: datetime
    """Time of the decision, in UTC."""
    result: AbTestResult
    """The test's result at that time."""

    def _describe(self) -> str:
        winner = f"{quoted(self.winner)} won" if self.winner else "no winner"
        return f"{winner}, action {self.action}, by {quoted(self.actor)}, {brief(self.concluded_at)}"


@dataclass(frozen=True, repr=False)
class AbTest(Record):
    """An A/B test of versions on live traffic."""

    test: str
    """Its name, unique on the server."""
    description: str
    """The question that it answers, as free text; may be empty."""
    variants: tuple[Variant, ...]
    """The first is the control."""
    coverage: float
    """Share of the units that take part."""
    salt: str
    """Seed of the assignment."""
    namespace: AbNamespace | None
    """The reserved share of the units; None without a namespace."""
    unit: str
    """What a unit is, in words."""
    primary_metric: AbMetric
    """The deciding metric."""
    guardrails: tuple[AbMetric, ...]
    """Metrics that must not become worse than the control's by more than their margins."""
    shadow: bool
    """Whether the control decides for every unit while the other variants run in shadow."""
    confidence_level: float
    """Confidence level of the intervals and the verdict, from 0.5 to 0.999."""
    block: timedelta | None
    """Outcomes within each block of this length count as one; None for no blocks."""
    state: AbTestState
    """Whether it runs or is concluded."""
    conclusion: AbConclusion | None
    """The decision that ended it; None while it runs."""
    created_by: str
    """Who started it."""
    created_at: datetime
    """When it was started, in UTC."""
    etag: str
    """Changes with every change of the test; pass it with a change to detect concurrent ones."""

    @property
    def control(self) -> Variant:
        """The variant that challengers are compared with."""
        return self.variants[0]

    @property
    def challengers(self) -> tuple[Variant, ...]:
        """Every variant but the control."""
        return self.variants[1:]

    @property
    def metrics(self) -> tuple[AbMetric, ...]:
        """The primary metric, then the guardrails."""
        return (self.primary_metric, *self.guardrails)

    def variant(self, name: str) -> Variant:
        """Return the variant with a name.

        Args:
            name: the variant's name.

        Returns:
            The variant.

        Raises:
            KeyError: there is no such variant.
            InvalidField: the name is no text.
        """
        check_given("name", name, str)
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)

    def _describe(self) -> str:
        variants = ", ".join(quoted(variant.name) for variant in self.variants[:3])
        return f"{quoted(self.test)}: {self.state}, {variants} by {quoted(self.primary_metric.key)}"


@dataclass(frozen=True, repr=False)
class Assignment(Record):
    """The assigned variant."""

    variant: Variant
    """The control when the unit takes no part."""
    in_test: bool
    """Whether the unit takes part."""
    bucket: int
    """The unit's bucket, from 0 to 9,999."""

    def _describe(self) -> str:
        return (
            f"{quoted(self.variant.name)}: {quoted(self.variant.version)}, {'' if self.in_test else 'not '}in the test"
        )


@dataclass(frozen=True, repr=False)
class AbOutcome(Record):
    """The outcome of one decision for one unit."""

    outcome_id: str
    """Unique id; a repeated id is not counted again."""
    unit: str
    """The unit that the decision was for: text of 1 to 256 characters."""
    metrics: Mapping[str, float]
    """Values by metric key, each finite."""
    before: Mapping[str, float] = field(default_factory=dict)
    """Pre-test values of the same metrics for the unit (CUPED)."""
    variant: str = ""
    """The variant that the unit got, or in a shadow test the one that made this decision. Empty: the assigned one."""
    observed_at: datetime | None = None
    """Time of the observation; None means the time of receipt by the server."""
    cluster: str = ""
    """What its unit shares shocks with, such as the trading day of an order: outcomes of one cluster may depend on each
    other. Clusters that share a unit count as one. Empty: the unit alone."""


@dataclass(frozen=True, repr=False)
class RecordedAbOutcomes(Record):
    """The number of outcomes recorded, by how they were counted."""

    recorded: int
    """Number of new outcomes."""
    repeated_ids: int
    """Number of outcomes with a known id, which were not counted again."""
    mismatched: int
    """Number of new outcomes whose variant differs from the assigned one."""
    outside: int
    """Number of outcomes left out, because their unit takes no part in the test and they name no variant."""
