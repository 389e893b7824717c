"""Converters of what the server logs of scores."""

from modelward.lifecycle import Stage
from modelward.scoring import LoggedAnswer, ScoreRecord
from modelward.shared.convert.common import (
    ref_from_proto,
    ref_to_proto,
    stage_from_proto,
    stage_to_proto,
    time_from_proto,
    time_to_proto,
)
from modelward.v1 import scoring_pb2 as pb


def logged_to_proto(logged: LoggedAnswer) -> pb.LoggedAnswer:
    return pb.LoggedAnswer(
        request_id=logged.request_id,
        scored_at=time_to_proto(logged.scored_at),
        same_answer=logged.same_answer,
        library_changes=logged.library_changes,
    )


def logged_from_proto(message: pb.LoggedAnswer) -> LoggedAnswer:
    return LoggedAnswer(
        request_id=message.request_id,
        scored_at=time_from_proto(message.scored_at) if message.HasField("scored_at") else None,
        same_answer=message.same_answer if message.HasField("same_answer") else None,
        library_changes=tuple(message.library_changes),
    )


def score_record_to_proto(record: ScoreRecord) -> pb.ScoreRecord:
    return pb.ScoreRecord(
        request_id=record.request_id,
        scored_at=time_to_proto(record.scored_at),
        actor=record.actor,
        authenticated=record.authenticated,
        version=ref_to_proto(record.version),
        digest=record.digest,
        stage=stage_to_proto(record.stage),
        method=record.method,
        rows=record.rows,
        rows_sha256=record.rows_sha256,
        answer_sha256=record.answer_sha256,
        libraries=record.libraries,
        as_of=time_to_proto(record.as_of),
        ab_test=record.ab_test,
        unit=record.unit,
        variant=record.variant,
        error=record.error,
    )


def score_record_from_proto(message: pb.ScoreRecord) -> ScoreRecord:
    return ScoreRecord(
        request_id=message.request_id,
        scored_at=time_from_proto(message.scored_at),
        actor=message.actor,
        authenticated=message.authenticated,
        version=ref_from_proto(message.version),
        digest=message.digest,
        stage=stage_from_proto(message.stage) or Stage.TRAINING,
        method=message.method,
        rows=message.rows,
        rows_sha256=message.rows_sha256,
        answer_sha256=message.answer_sha256,
        libraries=tuple(message.libraries),
        as_of=time_from_proto(message.as_of) if message.HasField("as_of") else None,
        ab_test=message.ab_test,
        unit=message.unit,
        variant=message.variant,
        error=message.error,
    )
