"""Every dataclass survives the way into its message and back."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelward import (
    AbAction,
    AbConclusion,
    AbEstimate,
    AbLook,
    AbMetric,
    AbNamespace,
    AbOutcome,
    AbTest,
    AbTestResult,
    AbTestState,
    ArtifactFile,
    Assignment,
    Attention,
    AttentionKind,
    AuditRecord,
    AuditVerification,
    Caller,
    DriftPoint,
    DriftPolicy,
    DriftReport,
    DriftThresholds,
    EngineCounts,
    EnginePeriod,
    EngineStatus,
    Environment,
    EventKind,
    FeatureDrift,
    FeatureThresholds,
    FreezeWindow,
    GateResult,
    Halt,
    HaltResult,
    Histogram,
    Inventory,
    InventoryScope,
    JobChange,
    JointDrift,
    Lineage,
    LoadFailure,
    LoggedAnswer,
    MetricMargin,
    MetricRange,
    Model,
    ModelEvent,
    ModelFormat,
    ModelOverview,
    ModelRollout,
    ModelVersion,
    Outcome,
    Overview,
    OverviewTotals,
    Performance,
    PerformanceAlarm,
    ProductionVersion,
    PromotionPolicy,
    RecordedAbOutcomes,
    RecordedOutcomes,
    Reference,
    ReferenceDistance,
    Replica,
    Role,
    RollbackResult,
    Rollout,
    RolloutState,
    ScoreRecord,
    Setting,
    Severity,
    SourceCode,
    Stage,
    SystemInfo,
    TrainingData,
    Transition,
    TransitionResult,
    Trial,
    TrialResult,
    Variant,
    VariantResult,
    Verdict,
    VersionRef,
)
from modelward.drift import FeatureKind, FeatureProfile
from modelward.lifecycle import AuditDefect, DriftAlarm
from modelward.shared.convert import (
    abtest,
    caller,
    common,
    drift,
    events,
    lifecycle,
    outcomes,
    overview,
    policy,
    scoring,
    system,
)
from modelward.v1 import lifecycle_pb2 as pb

NOW = datetime(2026, 3, 2, 14, 31, 7, 123456, tzinfo=UTC)
REF = VersionRef("spx-direction", 3)
FILE = ArtifactFile("data/vocab.txt", 10, "a" * 64)
SCORE = ScoreRecord(
    "r", NOW, "ann", True, REF, "d" * 64, Stage.PRODUCTION, "Score", 2, "a" * 64, "b" * 64, ("numpy 2.1.0",)
)
HALT = Halt("ann", "prices are wrong", NOW)
INVENTORY = Inventory(
    owners=("ada", "index desk"),
    accountable_manager="Grace Hopper",
    purpose="direction at the close",
    tier=1,
    scope=InventoryScope(("US",), ("futures",), ("ES",), ("XCME",), ("index",), ("overnight",)),
    restrictions=("not for clients",),
    limits=("10 contracts",),
    assumptions=("liquid",),
    weaknesses=("slow",),
    depends_on=("spx-vol",),
    next_review=NOW.date(),
)
LINEAGE = Lineage(
    code=SourceCode("https://git.example.com/x.git", "0123abc", dirty=False),
    data=(TrainingData("s3://bucket/x", "a" * 64),),
    environment=Environment("3.11.9", "Linux", {"numpy": "2.1.0"}),
    parent_version=2,
    restrictions=("regular hours",),
    limits=("5 contracts",),
    assumptions=("costs of 1 basis point",),
    weaknesses=("no crisis",),
)
MODEL = Model("spx-direction", "direction", {"desk": "index"}, NOW, NOW, 3, 2, HALT, "r5", INVENTORY)
VERSION = ModelVersion(
    model="spx-direction",
    version=3,
    stage=Stage.STAGING,
    description="forest",
    tags={"asset": "SPX"},
    params={"depth": "4"},
    metrics={"accuracy": 0.57},
    files=(FILE,),
    format=ModelFormat.SKOPS,
    framework="scikit-learn 1.7.2",
    digest="b" * 64,
    created_by="ann",
    created_at=NOW,
    updated_at=NOW,
    stage_since=NOW,
    run_id="run",
    mlflow_version="7",
    references=("calm", "default"),
    etag="r2",
    lineage=LINEAGE,
    job_id="job-1",
)
GATE = GateResult("metrics.accuracy", True, "accuracy 0.57 is in range")
TRANSITION = Transition(9, REF, Stage.STAGING, Stage.PRODUCTION, "bob", "review", NOW, 2, (GATE,))
POLICY = PromotionPolicy(
    "spx-direction",
    metrics=(MetricRange("accuracy", 0.5, None), MetricRange("loss", None, 1.0)),
    no_worse_than_production=(MetricMargin("loss", 0.1, lower_is_better=True),),
    require_comparison=True,
    forbid_drift_alarm=True,
    required_tags=("reviewed",),
    freezes=(FreezeWindow(NOW, NOW + timedelta(days=2), "FOMC week"),),
    material=True,
    etag="r1",
)
THRESHOLDS = DriftThresholds(0.3, None, 0.01, {"ret": FeatureThresholds(0.5, None, True, 0.2, 0.3)}, 0.1, 0.8, 0.9)
PROFILE = FeatureProfile("ret", FeatureKind.NUMBER, 0.1, 0.2, 0.3, -1.0, 1.0, (0.1, 0.2), {}, 100.0)
CATEGORIES = FeatureProfile("regime", FeatureKind.CATEGORY, 0, 0, 0, 0, 0, (), {"calm": 0.75, "crisis": 0.25}, 9.0)
REFERENCE = Reference(REF, "calm", 1000, (PROFILE, CATEGORIES), NOW, "ann", "c" * 64)
FEATURE = FeatureDrift(
    name="regime",
    kind=FeatureKind.CATEGORY,
    drifted=True,
    score=0.01,
    ks=0.02,
    ks_threshold=0.03,
    ks_p_value=0.04,
    ks_method="chi-square",
    kl=0.05,
    kl_threshold=0.06,
    kl_reverse=0.07,
    js=0.08,
    psi=0.09,
    wasserstein=0.1,
    p_value=0.11,
    adjusted_p_value=0.12,
    effective_rows=0.13,
    missing_share=0.14,
    reference_missing_share=0.15,
    out_of_range_share=0.16,
    new_categories=("war",),
    vanished_categories=("calm",),
    chi_square=0.17,
    missing_threshold=0.18,
    wasserstein_threshold=0.19,
    histogram=Histogram((1.0, 2.0), ("calm", "(other)"), (0.25, 0.75), (0.5, 0.5)),
)
REPORT = DriftReport(
    "id",
    REF,
    "calm",
    "2008Q4",
    NOW,
    "ann",
    63,
    1000,
    True,
    0.9,
    0.99,
    ("regime",),
    "Drift.",
    (FEATURE,),
    ("few",),
    (ReferenceDistance("calm", True, 0.9, 0.99, 0.4), ReferenceDistance("crisis", False, 0.3, 0.2, 0.5)),
    JointDrift(True, 0.9, 0.75, 0.1, 0.01, 63),
)

PERFORMANCE = Performance(NOW, NOW + timedelta(days=1), 9, 8, 6, {"accuracy": 0.5}, False, 0.0, True)
AB_RESULT = AbTestResult(
    test="exits",
    as_of=NOW,
    variants=(
        VariantResult("champion", 50, (AbEstimate("pnl", 50, 0.1, 0.0, 0.0, 0.0, None, 0.0),)),
        VariantResult(
            "challenger",
            49,
            (AbEstimate("pnl", 49, 0.2, 0.1, -math.inf, math.inf, Verdict.INCONCLUSIVE, 0.5),),
            12,
        ),
    ),
    sample_ratio_p_value=0.9,
    sample_ratio_sequential_p_value=1.0,
    sample_ratio_broken=False,
    mismatched_units=3,
    verdict=Verdict.NON_INFERIOR,
    best="challenger",
    broken_guardrails=("loss",),
    summary="no worse",
    looks=(AbLook("challenger", NOW, 99, 0.1, -0.2, 0.4),),
)
AB_TEST = AbTest(
    test="exits",
    description="do they pay?",
    variants=(Variant("champion", REF), Variant("challenger", VersionRef("spx-direction", 4), 0.5)),
    coverage=0.5,
    salt="salt",
    namespace=AbNamespace("desk", 0.25, 0.75),
    unit="account",
    primary_metric=AbMetric("pnl", margin=0.1),
    guardrails=(AbMetric("loss", lower_is_better=True),),
    shadow=True,
    confidence_level=0.9,
    block=timedelta(minutes=5),
    state=AbTestState.CONCLUDED,
    conclusion=AbConclusion("challenger", AbAction.PROMOTE, "ann", "it pays", NOW, AB_RESULT),
    created_by="ann",
    created_at=NOW,
    etag="r2",
)
OVERVIEW = Overview(
    attention=(
        Attention(AttentionKind.DRIFT_ALARM, Severity.WARNING, "spx", 3, "report", "it drifted", NOW, "look"),
        Attention(AttentionKind.MLFLOW_BEHIND, Severity.NOTICE, "", 0, "", "behind", None, "look"),
    ),
    attention_total=51,
    totals=OverviewTotals(1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    models=(
        ModelOverview(
            model="spx",
            version=3,
            since=NOW,
            promoted_by="ann",
            halt=HALT,
            trial=Trial(TrialResult.USABLE, "", "100 rows of its reference", NOW),
            drift=(DriftPoint("report", 0.4, True, NOW),),
            drift_alarm=DriftAlarm(REF, "report", 0.9),
            performance_alarm=PerformanceAlarm(REF, "rmse", 0.4, 0.1, NOW, NOW + timedelta(days=1), 0.001),
            engines=EngineCounts(10, 1, 2, 3, 4),
            due_reasons=("every 30 days",),
            severity=Severity.CRITICAL,
        ),
        ModelOverview("ndx", 1, NOW, "", None, None, (), None, None, EngineCounts(), (), Severity.OK),
    ),
    next_page_token="next",
)
PAIRS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Any]] = {
    "time": (common.time_to_proto, common.time_from_proto, NOW),
    "span": (common.span_to_proto, common.span_from_proto, timedelta(days=1, microseconds=1)),
    "reference to a version": (common.ref_to_proto, common.ref_from_proto, REF),
    "file": (common.file_to_proto, common.file_from_proto, FILE),
    "halt": (lifecycle.halt_to_proto, lifecycle.halt_from_proto, HALT),
    "model": (lifecycle.model_to_proto, lifecycle.model_from_proto, MODEL),
    "version": (lifecycle.version_to_proto, lifecycle.version_from_proto, VERSION),
    "gate": (lifecycle.gate_to_proto, lifecycle.gate_from_proto, GATE),
    "transition": (lifecycle.transition_to_proto, lifecycle.transition_from_proto, TRANSITION),
    "transition result": (
        lifecycle.transition_result_to_proto,
        lifecycle.transition_result_from_proto,
        TransitionResult(VERSION, VERSION, TRANSITION, (GATE,)),
    ),
    "rollback result": (
        lifecycle.rollback_result_to_proto,
        lifecycle.rollback_result_from_proto,
        RollbackResult(VERSION, None, TRANSITION),
    ),
    "halt result": (
        lifecycle.halt_result_to_proto,
        lifecycle.halt_result_from_proto,
        HaltResult((MODEL,), (MODEL,)),
    ),
    "metric range": (lifecycle.metric_range_to_proto, lifecycle.metric_range_from_proto, MetricRange("a", None, 2.0)),
    "caller": (
        caller.caller_to_proto,
        caller.caller_from_proto,
        Caller("ada", Role.OPERATOR, ("spx-",), NOW, authenticated=True),
    ),
    "system": (
        system.system_to_proto,
        system.system_from_proto,
        SystemInfo(
            (Setting("port", "50061", secret=False, given=False), Setting("database_url", "", secret=True, given=True)),
            (Replica("r1", "127.0.0.1:50061", "host", 7, "0.1.0", NOW, NOW, silent=True),),
            "r1",
        ),
    ),
    "policy": (policy.policy_to_proto, policy.policy_from_proto, POLICY),
    "audit record": (
        policy.audit_record_to_proto,
        policy.audit_record_from_proto,
        AuditRecord(1, NOW, "ann", "model", "spx", 3, "{}", "d" * 64, "e" * 64),
    ),
    "verification": (
        policy.verification_to_proto,
        policy.verification_from_proto,
        AuditVerification(7, "f" * 64, (AuditDefect(3, "changed"),)),
    ),
    "engine period": (events.period_to_proto, events.period_from_proto, EnginePeriod("e", REF, NOW, None)),
    "ended engine period": (events.period_to_proto, events.period_from_proto, EnginePeriod("e", REF, NOW, NOW)),
    "rollout": (
        events.rollout_to_proto,
        events.rollout_from_proto,
        Rollout(
            REF,
            (
                *(EngineStatus(state.value, 3, state, NOW) for state in RolloutState),
                EngineStatus("e", 3, RolloutState.FAILED, NOW, LoadFailure(4, "ImportError: no onnxruntime")),
            ),
        ),
    ),
    "rollout of one of many": (
        events.model_rollout_to_proto,
        events.model_rollout_from_proto,
        ModelRollout("spx", True, Rollout(None, (EngineStatus("e", 3, RolloutState.LAGGING, NOW),))),
    ),
    "nothing in production": (
        events.production_version_to_proto,
        events.production_version_from_proto,
        ProductionVersion("spx", None, INVENTORY),
    ),
    "overview": (overview.overview_to_proto, overview.overview_from_proto, OVERVIEW),
    "A/B test": (abtest.ab_test_to_proto, abtest.ab_test_from_proto, AB_TEST),
    "A/B outcome": (
        abtest.ab_outcome_to_proto,
        abtest.ab_outcome_from_proto,
        AbOutcome("o-1", "account-1", {"pnl": 1.5}, {"pnl": -0.5}, "challenger", NOW, "2026-07-01"),
    ),
    "A/B outcomes recorded": (
        abtest.recorded_to_proto,
        abtest.recorded_from_proto,
        RecordedAbOutcomes(recorded=4, repeated_ids=3, mismatched=2, outside=1),
    ),
    "assignment": (
        abtest.assignment_to_proto,
        abtest.assignment_from_proto,
        Assignment(AB_TEST.control, in_test=True, bucket=9999),
    ),
    "drift thresholds": (drift.thresholds_to_proto, drift.thresholds_from_proto, THRESHOLDS),
    "drift policy": (drift.drift_policy_to_proto, drift.drift_policy_from_proto, DriftPolicy("spx", THRESHOLDS, "r1")),
    "reference": (drift.reference_to_proto, drift.reference_from_proto, REFERENCE),
    "drift report": (drift.report_to_proto, drift.report_from_proto, REPORT),
    "prediction": (
        outcomes.outcome_to_proto,
        outcomes.outcome_from_proto,
        Outcome("p-1", prediction=0.0, probability=0.0, predicted_at=NOW),
    ),
    "score record": (scoring.score_record_to_proto, scoring.score_record_from_proto, SCORE),
    "score record of the past": (
        scoring.score_record_to_proto,
        scoring.score_record_from_proto,
        replace(SCORE, as_of=NOW, ab_test="t", unit="u", variant="v", error="MODEL_FAILED", answer_sha256=""),
    ),
    "logged answer": (
        scoring.logged_to_proto,
        scoring.logged_from_proto,
        LoggedAnswer("r", NOW, same_answer=False, library_changes=("numpy 1 then, 2 now",)),
    ),
    "no logged answer": (scoring.logged_to_proto, scoring.logged_from_proto, LoggedAnswer(library_changes=("x",))),
    "label": (outcomes.outcome_to_proto, outcomes.outcome_from_proto, Outcome("p-1", label=0.0, labelled_at=NOW)),
    "recorded": (outcomes.recorded_to_proto, outcomes.recorded_from_proto, RecordedOutcomes(3, 2, 1, 4)),
    "performance": (outcomes.performance_to_proto, outcomes.performance_from_proto, PERFORMANCE),
    "estimate": (
        outcomes.performance_to_proto,
        outcomes.performance_from_proto,
        replace(PERFORMANCE, labelled=0, estimated=True, calibration_error=None, declined=False),
    ),
}


@pytest.mark.parametrize("what", PAIRS)
def test_every_value_comes_back_as_it_went(what: str) -> None:
    to_proto, from_proto, value = PAIRS[what]
    message = to_proto(value)
    assert from_proto(type(message).FromString(message.SerializeToString())) == value


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        (EventKind.STATE, MODEL),
        (EventKind.REGISTERED, VERSION),
        (EventKind.VERSION_CHANGED, VERSION),
        (EventKind.TRANSITION, TRANSITION),
        (EventKind.HALTED, HALT),
        (EventKind.RESUMED, MODEL),
        (EventKind.POLICY, POLICY),
        (EventKind.DRIFT_ALARM, DriftAlarm(REF, "report", 0.9)),
        (EventKind.PERFORMANCE_ALARM, PerformanceAlarm(REF, "accuracy", 0.4, 0.6, NOW, NOW + timedelta(days=1), 0.001)),
        (EventKind.ENGINE, EngineStatus("ny4", 3, RolloutState.FAILED, NOW, LoadFailure(4, "no memory"))),
        (EventKind.JOB, JobChange("job-1", "leased", "gpu", "trainer-1", 2, 5)),
    ],
)
def test_every_event_comes_back_as_it_went(kind: EventKind, subject: Any) -> None:
    event = ModelEvent(9, NOW, "spx-direction", kind, subject, resume_token="9")
    sent = events.event_to_proto(event).SerializeToString()
    assert events.event_from_proto(pb.ModelEvent.FromString(sent)) == event


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_its_value(stage: Stage) -> None:
    assert common.stage_from_proto(common.stage_to_proto(stage)) is stage


@pytest.mark.parametrize("format_", ModelFormat)
def test_every_format_has_its_value(format_: ModelFormat) -> None:
    assert lifecycle.format_from_proto(lifecycle.format_to_proto(format_)) is format_
