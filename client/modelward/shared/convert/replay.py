"""Convert replays between dataclasses and messages."""

from __future__ import annotations

from modelward.replay import Replay, ReplayedRows
from modelward.shared.convert.common import span_from_proto, span_to_proto, time_from_proto, time_to_proto
from modelward.v1 import comparison_pb2 as pb


def replay_to_proto(replay: Replay) -> pb.Replay:
    return pb.Replay(since=span_to_proto(replay.since), model=replay.model, version=replay.version)


def replay_from_proto(message: pb.Replay) -> Replay:
    return Replay(span_from_proto(message.since), message.model, message.version)


def replayed_to_proto(rows: ReplayedRows | None) -> pb.ReplayedRows | None:
    if rows is None:
        return None
    return pb.ReplayedRows(
        model=rows.model,
        version=rows.version,
        since=time_to_proto(rows.since),
        until=time_to_proto(rows.until),
        first_seen_at=time_to_proto(rows.first_seen_at),
        last_seen_at=time_to_proto(rows.last_seen_at),
        seen=rows.seen,
        without_id=rows.without_id,
        without_label=rows.without_label,
        repeated=rows.repeated,
    )


def replayed_from_proto(message: pb.ReplayedRows) -> ReplayedRows | None:
    """Convert the rows of a replay; None of a comparison on data that were sent."""
    if not message.HasField("since"):
        return None
    return ReplayedRows(
        model=message.model,
        version=message.version,
        since=time_from_proto(message.since),
        until=time_from_proto(message.until),
        first_seen_at=time_from_proto(message.first_seen_at),
        last_seen_at=time_from_proto(message.last_seen_at),
        seen=message.seen,
        without_id=message.without_id,
        without_label=message.without_label,
        repeated=message.repeated,
    )
