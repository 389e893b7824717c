"""Convert segments and regimes between dataclasses and messages."""

from __future__ import annotations

from modelward.segments import ClosureSessions, Regime, SegmentAdjustment, Segments, TimeRange
from modelward.v1 import common_pb2 as pb

ADJUSTMENTS = {one: pb.SegmentAdjustment.Value(f"SEGMENT_ADJUSTMENT_{one.name}") for one in SegmentAdjustment}


def segments_to_proto(segments: Segments | None) -> pb.Segments | None:
    if segments is None:
        return None
    regimes = (regime_to_proto(regime, name) for name, regime in segments.regimes.items())
    return pb.Segments(column=segments.column, regimes=regimes)


def segments_from_proto(message: pb.Segments) -> Segments | None:
    """Convert segments; None if there are none."""
    if not message.column and not message.regimes:
        return None
    return Segments(message.column, {one.name: regime_from_proto(one) for one in message.regimes})


def regime_to_proto(regime: Regime, name: str = "") -> pb.Regime:
    if isinstance(regime, TimeRange):
        return pb.Regime(name=name, range=pb.TimeRange(first=regime.first, last=regime.last))
    places = pb.ClosureSessions(
        calendar=regime.calendar, days=regime.days, first=regime.first, last=regime.last or regime.first
    )
    return pb.Regime(name=name, sessions=places)


def regime_from_proto(message: pb.Regime) -> Regime:
    if message.WhichOneof("times") == "sessions":
        sessions = message.sessions
        first = sessions.first or 1
        last = sessions.last or first
        return ClosureSessions(sessions.calendar, sessions.days, first, None if last == first else last)
    return TimeRange(message.range.first, message.range.last)


def adjustment_to_proto(adjustment: SegmentAdjustment | None) -> pb.SegmentAdjustment.ValueType:
    return pb.SEGMENT_ADJUSTMENT_UNSPECIFIED if adjustment is None else ADJUSTMENTS[adjustment]


def adjustment_from_proto(value: pb.SegmentAdjustment.ValueType) -> SegmentAdjustment | None:
    """Convert an adjustment; None for unspecified and for one that only newer servers know."""
    return next((one for one, known in ADJUSTMENTS.items() if known == value), None)
