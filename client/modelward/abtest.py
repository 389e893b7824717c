"""What an A/B test knows: its variants, who gets which, the outcomes, and how sure the difference is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from modelward.comparison import Verdict
from modelward.lifecycle import VersionRef


class AbTestState(StrEnum):
    """How an A/B test stands."""

    RUNNING = "running"
    """Units are assigned and outcomes taken."""
    CONCLUDED = "concluded"
    """It has ended: every unit gets the variant that was chosen."""


class AbAction(StrEnum):
    """What follows from the end of a test."""

    NONE = "none"
    """Only the record: nothing is moved."""
    PROMOTE = "promote"
    """The winner is promoted to production, through the usual gates."""
    ROLL_BACK = "roll-back"
    """The model is rolled back."""
    BY_RULE = "by-rule"
    """As the result says; asked for, never recorded."""


@dataclass(frozen=True)
class Variant:
    """One arm of a test: a version, and its share of the units relative to the other arms'."""

    name: str
    version: VersionRef
    weight: float = 1.0


@dataclass(frozen=True)
class AbNamespace:
    """A share of the units that is set aside for one of several tests."""

    name: str
    start: float
    """Where the share begins, from 0."""
    until: float
    """Where the share ends, up to 1."""


@dataclass(frozen=True)
class AbMetric:
    """A metric of a test's outcomes."""

    key: str
    lower_is_better: bool = False
    margin: float = 0.0
    """How much worse than the control is still as good, in the metric's own unit."""


@dataclass(frozen=True)
class AbEstimate:
    """One metric of one variant; its interval holds at every look at once."""

    key: str
    outcomes: int
    """How many units, or blocks of time, are counted."""
    mean: float
    """Their mean."""
    difference: float
    """The mean minus the control's, less what the values from before the test explain; 0 for the control itself."""
    low: float
    """Lower end of the difference's confidence sequence; -inf while there is too little to say."""
    high: float
    """Upper end of the difference's confidence sequence."""
    verdict: Verdict | None
    """How it stands to the control; None for the control itself."""
    variance_explained: float
    """The share of the variance that the values from before the test explained away (CUPED), from 0 to 1."""


@dataclass(frozen=True)
class VariantResult:
    """How one variant stands."""

    variant: str
    units: int
    """How many units were seen."""
    metrics: tuple[AbEstimate, ...]
    """The primary one first, then the guardrails."""

    def __getitem__(self, key: str) -> AbEstimate:
        """Return one metric, as `result["pnl_bps"]`.

        Raises:
            KeyError: the test has no such metric.
        """
        return {found.key: found for found in self.metrics}[key]


@dataclass(frozen=True)
class AbLook:
    """How one challenger stood to the control at one instant."""

    variant: str
    at: datetime
    """Up to when outcomes were counted."""
    outcomes: int
    """How many units, or blocks of time, of both were counted."""
    difference: float
    """The mean minus the control's."""
    low: float
    high: float


@dataclass(frozen=True)
class AbTestResult:
    """How a test stands; it may be looked at at any time without spoiling the answer."""

    test: str
    as_of: datetime
    """Up to when outcomes are counted."""
    variants: tuple[VariantResult, ...]
    """The control first."""
    sample_ratio_p_value: float
    """How likely a split so far from the weights is by luck, at one look (chi-square)."""
    sample_ratio_sequential_p_value: float
    """The same, good for any number of looks (Lindon and Malek 2022)."""
    sample_ratio_broken: bool
    """Whether the split is broken; then there is no verdict."""
    mismatched_units: int
    """How many units got another variant than the assignment gives them."""
    verdict: Verdict | None
    """The best challenger's standing to the control by the primary metric; None when there is none."""
    best: str
    """The variant that is best by the primary metric, be it by luck or not."""
    broken_guardrails: tuple[str, ...]
    """Keys of the guardrails that a challenger broke."""
    summary: str
    """The result in a sentence or two."""
    looks: tuple[AbLook, ...] = ()
    """How the challengers stood to the control by the primary metric as outcomes came, the oldest first."""

    def __getitem__(self, variant: str) -> VariantResult:
        """Return how one variant stands, as `result["challenger"]`.

        Raises:
            KeyError: the test has no such variant.
        """
        return {found.variant: found for found in self.variants}[variant]


@dataclass(frozen=True)
class AbConclusion:
    """What was decided at the end of a test."""

    winner: str
    action: AbAction
    actor: str
    reason: str
    concluded_at: datetime
    result: AbTestResult
    """How the test stood then."""


@dataclass(frozen=True)
class AbTest:
    """A test of versions on live traffic."""

    test: str
    """Its name, unique on the server."""
    description: str
    variants: tuple[Variant, ...]
    """The first is the control."""
    coverage: float
    """Share of the units that take part."""
    salt: str
    """Seed of the assignment."""
    namespace: AbNamespace | None
    unit: str
    """What a unit is, in words."""
    primary_metric: AbMetric
    guardrails: tuple[AbMetric, ...]
    shadow: bool
    """Whether the control decides for every unit and the others only look on."""
    confidence_level: float
    block: timedelta | None
    """Outcomes within so long a span of time count as one."""
    state: AbTestState
    conclusion: AbConclusion | None
    created_by: str
    created_at: datetime
    etag: str

    @property
    def control(self) -> Variant:
        """What the challengers are held against."""
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
        """Return the variant of that name.

        Raises:
            KeyError: there is none.
        """
        for found in self.variants:
            if found.name == name:
                return found
        raise KeyError(name)


@dataclass(frozen=True)
class Assignment:
    """The variant that a unit gets."""

    variant: Variant
    """The control when the unit takes no part."""
    in_test: bool
    """Whether the unit takes part."""
    bucket: int
    """The bucket that the unit fell into, from 0 to 9,999."""


@dataclass(frozen=True)
class AbOutcome:
    """What came of one decision for one unit."""

    outcome_id: str
    """An id that came before is not counted again."""
    unit: str
    metrics: Mapping[str, float]
    """Values by metric key, each finite."""
    before: Mapping[str, float] = field(default_factory=dict)
    """The same metrics of the unit from before the test (CUPED)."""
    variant: str = ""
    """The variant that the unit got, or in a shadow test the one whose decision this is. Empty: the assigned one."""
    observed_at: datetime | None = None
    """When it was seen; None is when the server takes it."""


@dataclass(frozen=True)
class RecordedAbOutcomes:
    """What became of outcomes."""

    recorded: int
    """How many were new."""
    repeated_ids: int
    """How many were known by their id, and did not count again."""
    mismatched: int
    """How many of the new ones name another variant than the assignment gives their unit."""
    outside: int
    """How many were left out, because their unit takes no part in the test and they name no variant."""
