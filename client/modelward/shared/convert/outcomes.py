"""Convert predictions, labels and performance between dataclasses and messages."""

from __future__ import annotations

from modelward.drift import Outcome, Performance, RecordedOutcomes
from modelward.shared.convert.common import time_from_proto, time_to_proto
from modelward.v1 import drift_pb2 as pb


def outcome_to_proto(outcome: Outcome) -> pb.Outcome:
    return pb.Outcome(
        prediction_id=outcome.prediction_id,
        prediction=outcome.prediction,
        probability=outcome.probability,
        predicted_at=time_to_proto(outcome.predicted_at),
        label=outcome.label,
        labelled_at=time_to_proto(outcome.labelled_at),
        group=outcome.group,
    )


def outcome_from_proto(message: pb.Outcome) -> Outcome:
    return Outcome(
        prediction_id=message.prediction_id,
        prediction=message.prediction if message.HasField("prediction") else None,
        probability=message.probability if message.HasField("probability") else None,
        predicted_at=time_from_proto(message.predicted_at) if message.HasField("predicted_at") else None,
        label=message.label if message.HasField("label") else None,
        labelled_at=time_from_proto(message.labelled_at) if message.HasField("labelled_at") else None,
        group=message.group,
    )


def recorded_to_proto(recorded: RecordedOutcomes) -> pb.RecordOutcomesResponse:
    return pb.RecordOutcomesResponse(
        predictions=recorded.predictions,
        labels=recorded.labels,
        waiting=recorded.waiting,
        left_out=recorded.left_out,
    )


def recorded_from_proto(message: pb.RecordOutcomesResponse) -> RecordedOutcomes:
    return RecordedOutcomes(message.predictions, message.labels, message.waiting, message.left_out)


def performance_to_proto(performance: Performance) -> pb.Performance:
    return pb.Performance(
        start=time_to_proto(performance.start),
        end=time_to_proto(performance.end),
        predictions=performance.predictions,
        coverage=performance.coverage,
        metrics=performance.metrics,
        estimated=performance.estimated,
        matured=performance.matured,
        labelled=performance.labelled,
        calibration_error=performance.calibration_error,
        declined=performance.declined,
    )


def performance_from_proto(message: pb.Performance) -> Performance:
    return Performance(
        start=time_from_proto(message.start),
        end=time_from_proto(message.end),
        predictions=message.predictions,
        matured=message.matured,
        labelled=message.labelled,
        metrics=dict(message.metrics),
        estimated=message.estimated,
        calibration_error=message.calibration_error if message.HasField("calibration_error") else None,
        declined=message.declined,
    )
