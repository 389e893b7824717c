"""Convert drift reports, references and policies between dataclasses and messages."""

from __future__ import annotations

from collections.abc import Sequence

from modelward.drift import (
    DriftPolicy,
    DriftReport,
    DriftThresholds,
    FeatureDrift,
    FeatureKind,
    FeatureProfile,
    FeatureThresholds,
    Histogram,
    JointDrift,
    Observed,
    Reference,
    ReferenceDistance,
    ReferenceSegment,
    SegmentDrift,
)
from modelward.errors import UnexpectedError
from modelward.shared.convert.common import (
    ref_from_proto,
    ref_to_proto,
    time_from_proto,
    time_to_proto,
    window_from_proto,
    window_to_proto,
)
from modelward.shared.convert.segments import (
    adjustment_from_proto,
    adjustment_to_proto,
    regime_from_proto,
    regime_to_proto,
)
from modelward.v1 import drift_pb2 as pb

KINDS = {FeatureKind.NUMBER: pb.FEATURE_KIND_NUMBER, FeatureKind.CATEGORY: pb.FEATURE_KIND_CATEGORY}


def kind_to_proto(kind: FeatureKind) -> pb.FeatureKind.ValueType:
    return KINDS[kind]


def kind_from_proto(value: pb.FeatureKind.ValueType) -> FeatureKind:
    return FeatureKind.CATEGORY if value == pb.FEATURE_KIND_CATEGORY else FeatureKind.NUMBER


def profile_to_proto(profile: FeatureProfile) -> pb.FeatureProfile:
    return pb.FeatureProfile(
        name=profile.name,
        kind=kind_to_proto(profile.kind),
        missing_share=profile.missing_share,
        mean=profile.mean,
        standard_deviation=profile.standard_deviation,
        minimum=profile.minimum,
        maximum=profile.maximum,
        bin_edges=profile.bin_edges,
        categories=[pb.CategoryShare(category=name, share=share) for name, share in profile.categories.items()],
        effective_rows=profile.effective_rows,
    )


def profile_from_proto(message: pb.FeatureProfile) -> FeatureProfile:
    return FeatureProfile(
        name=message.name,
        kind=kind_from_proto(message.kind),
        missing_share=message.missing_share,
        mean=message.mean,
        standard_deviation=message.standard_deviation,
        minimum=message.minimum,
        maximum=message.maximum,
        bin_edges=tuple(message.bin_edges),
        categories={part.category: part.share for part in message.categories},
        effective_rows=message.effective_rows,
    )


def reference_to_proto(reference: Reference) -> pb.Reference:
    return pb.Reference(
        version=ref_to_proto(reference.version),
        name=reference.name,
        rows=reference.rows,
        features=map(profile_to_proto, reference.features),
        created_at=time_to_proto(reference.created_at),
        created_by=reference.created_by,
        digest=reference.digest,
        ignored_columns=reference.ignored_columns,
        window=window_to_proto(reference.window),
        regime=None if reference.regime is None else regime_to_proto(reference.regime),
        segments=(pb.ReferenceSegment(**vars(one)) for one in reference.segments),
    )


def reference_from_proto(message: pb.Reference) -> Reference:
    return Reference(
        version=ref_from_proto(message.version),
        name=message.name,
        rows=message.rows,
        features=tuple(map(profile_from_proto, message.features)),
        created_at=time_from_proto(message.created_at),
        created_by=message.created_by,
        digest=message.digest,
        ignored_columns=tuple(message.ignored_columns),
        window=window_from_proto(message.window),
        regime=regime_from_proto(message.regime) if message.HasField("regime") else None,
        segments=tuple(ReferenceSegment(one.column, one.name, one.rows, one.digest) for one in message.segments),
    )


def feature_thresholds_to_proto(thresholds: FeatureThresholds) -> pb.FeatureThresholds:
    return pb.FeatureThresholds(
        ks=thresholds.ks,
        kl=thresholds.kl,
        missing=thresholds.missing,
        wasserstein=thresholds.wasserstein,
        ignored=thresholds.ignored,
    )


def feature_thresholds_from_proto(message: pb.FeatureThresholds) -> FeatureThresholds:
    return FeatureThresholds(
        ks=message.ks if message.HasField("ks") else None,
        kl=message.kl if message.HasField("kl") else None,
        ignored=message.ignored,
        missing=message.missing if message.HasField("missing") else None,
        wasserstein=message.wasserstein if message.HasField("wasserstein") else None,
    )


def thresholds_to_proto(thresholds: DriftThresholds | None) -> pb.DriftThresholds | None:
    if thresholds is None:
        return None
    return pb.DriftThresholds(
        ks=thresholds.ks,
        kl=thresholds.kl,
        significance=thresholds.significance,
        missing=thresholds.missing,
        auc=thresholds.auc,
        wasserstein=thresholds.wasserstein,
        features={name: feature_thresholds_to_proto(own) for name, own in thresholds.features.items()},
    )


def thresholds_from_proto(message: pb.DriftThresholds) -> DriftThresholds:
    return DriftThresholds(
        ks=message.ks if message.HasField("ks") else None,
        kl=message.kl if message.HasField("kl") else None,
        significance=message.significance if message.HasField("significance") else None,
        features={name: feature_thresholds_from_proto(own) for name, own in sorted(message.features.items())},
        missing=message.missing if message.HasField("missing") else None,
        auc=message.auc if message.HasField("auc") else None,
        wasserstein=message.wasserstein if message.HasField("wasserstein") else None,
    )


def drift_policy_to_proto(policy: DriftPolicy) -> pb.DriftPolicy:
    return pb.DriftPolicy(model=policy.model, thresholds=thresholds_to_proto(policy.thresholds), etag=policy.etag)


def drift_policy_from_proto(message: pb.DriftPolicy) -> DriftPolicy:
    return DriftPolicy(message.model, thresholds_from_proto(message.thresholds), message.etag)


SCALARS = (
    "name",
    "drifted",
    "score",
    "ks",
    "ks_threshold",
    "ks_p_value",
    "ks_method",
    "kl",
    "kl_threshold",
    "kl_reverse",
    "js",
    "psi",
    "wasserstein",
    "p_value",
    "adjusted_p_value",
    "effective_rows",
    "missing_share",
    "reference_missing_share",
    "out_of_range_share",
    "chi_square",
    "missing_threshold",
    "wasserstein_threshold",
)
"""Fields of a feature's drift that have the same name and type in the message."""


def feature_to_proto(feature: FeatureDrift) -> pb.FeatureDrift:
    return pb.FeatureDrift(
        kind=kind_to_proto(feature.kind),
        new_categories=feature.new_categories,
        vanished_categories=feature.vanished_categories,
        histogram=histogram_to_proto(feature.histogram),
        **{name: getattr(feature, name) for name in SCALARS},
    )


def feature_from_proto(message: pb.FeatureDrift) -> FeatureDrift:
    return FeatureDrift(
        kind=kind_from_proto(message.kind),
        new_categories=tuple(message.new_categories),
        vanished_categories=tuple(message.vanished_categories),
        histogram=histogram_from_proto(message.histogram),
        **{name: getattr(message, name) for name in SCALARS},
    )


def histogram_to_proto(histogram: Histogram) -> pb.Histogram:
    return pb.Histogram(
        edges=histogram.edges,
        categories=histogram.categories,
        live=histogram.live,
        reference=histogram.reference,
    )


def histogram_from_proto(message: pb.Histogram) -> Histogram:
    return Histogram(tuple(message.edges), tuple(message.categories), tuple(message.live), tuple(message.reference))


def distance_to_proto(distance: ReferenceDistance) -> pb.ReferenceDistance:
    return pb.ReferenceDistance(
        name=distance.name,
        drift_detected=distance.drift_detected,
        score=distance.score,
        confidence=distance.confidence,
        distance=distance.distance,
    )


def distance_from_proto(message: pb.ReferenceDistance) -> ReferenceDistance:
    return ReferenceDistance(message.name, message.drift_detected, message.score, message.confidence, message.distance)


def joint_to_proto(joint: JointDrift) -> pb.JointDrift:
    return pb.JointDrift(
        drifted=joint.drifted,
        auc=joint.auc,
        auc_threshold=joint.auc_threshold,
        mmd=joint.mmd,
        p_value=joint.p_value,
        rows=joint.rows,
    )


def joint_from_proto(message: pb.JointDrift) -> JointDrift:
    return JointDrift(message.drifted, message.auc, message.auc_threshold, message.mmd, message.p_value, message.rows)


def segment_to_proto(segment: SegmentDrift) -> pb.SegmentDrift:
    return pb.SegmentDrift(**vars(segment) | {"window": window_to_proto(segment.window)})


def segment_from_proto(message: pb.SegmentDrift) -> SegmentDrift:
    return SegmentDrift(
        column=message.column,
        name=message.name,
        rows=message.rows,
        window=window_from_proto(message.window),
        note=message.note,
        drift_detected=message.drift_detected,
        score=message.score,
        p_value=message.p_value if message.HasField("p_value") else None,
        adjusted_p_value=message.adjusted_p_value if message.HasField("adjusted_p_value") else None,
        drivers=tuple(message.drivers),
        summary=message.summary,
        reference_rows=message.reference_rows,
        own_reference=message.own_reference,
    )


def report_to_proto(report: DriftReport) -> pb.DriftReport:
    return pb.DriftReport(
        report_id=report.report_id,
        version=ref_to_proto(report.version),
        reference=report.reference,
        label=report.label,
        created_at=time_to_proto(report.created_at),
        created_by=report.created_by,
        rows=report.rows,
        reference_rows=report.reference_rows,
        drift_detected=report.drift_detected,
        score=report.score,
        confidence=report.confidence,
        drivers=report.drivers,
        summary=report.summary,
        features=map(feature_to_proto, report.features),
        caveats=report.caveats,
        references=map(distance_to_proto, report.references),
        joint=joint_to_proto(report.joint),
        window=window_to_proto(report.window),
        late_rows=report.late_rows,
        segments=map(segment_to_proto, report.segments),
        segment_adjustment=adjustment_to_proto(report.segment_adjustment),
    )


def report_from_proto(message: pb.DriftReport) -> DriftReport:
    return DriftReport(
        report_id=message.report_id,
        version=ref_from_proto(message.version),
        reference=message.reference,
        label=message.label,
        created_at=time_from_proto(message.created_at),
        created_by=message.created_by,
        rows=message.rows,
        reference_rows=message.reference_rows,
        drift_detected=message.drift_detected,
        score=message.score,
        confidence=message.confidence,
        drivers=tuple(message.drivers),
        summary=message.summary,
        features=tuple(map(feature_from_proto, message.features)),
        caveats=tuple(message.caveats),
        references=tuple(map(distance_from_proto, message.references)),
        joint=joint_from_proto(message.joint),
        window=window_from_proto(message.window),
        late_rows=message.late_rows,
        segments=tuple(map(segment_from_proto, message.segments)),
        segment_adjustment=adjustment_from_proto(message.segment_adjustment),
    )


def observed_from_proto(answers: Sequence[pb.ObserveResponse]) -> Observed:
    """Return the field that all answers of a stream share.

    Raises:
        UnexpectedError: the stream has no answer.
    """
    if not answers:
        raise UnexpectedError("the server ended the stream without an answer")
    return Observed(
        acknowledged=answers[-1].acknowledged,
        reports=tuple(report_from_proto(answer.report) for answer in answers if answer.HasField("report")),
        alarm=any(answer.alarm for answer in answers),
        sequential_evidence=answers[-1].sequential_evidence,
        late_rows=answers[-1].late_rows,
    )
