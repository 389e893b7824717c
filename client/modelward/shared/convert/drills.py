"""Convert drills between dataclasses and messages."""

from __future__ import annotations

from modelward.drills import Drill, DrilledEngine, EngineProof
from modelward.shared.convert.common import span_from_proto, span_to_proto, time_from_proto, time_to_proto
from modelward.v1 import drills_pb2 as pb

PROOFS = {one: pb.EngineProof.Value(f"ENGINE_PROOF_{one.name}") for one in EngineProof}


def drill_to_proto(drill: Drill) -> pb.Drill:
    return pb.Drill(
        drill_id=drill.drill_id,
        model=drill.model,
        reason=drill.reason,
        started_by=drill.started_by,
        started_at=time_to_proto(drill.started_at),
        ends_at=time_to_proto(drill.ends_at),
        ended_at=time_to_proto(drill.ended_at),
        engines=map(_engine_to_proto, drill.engines),
    )


def drill_from_proto(message: pb.Drill) -> Drill:
    return Drill(
        drill_id=message.drill_id,
        model=message.model,
        reason=message.reason,
        started_by=message.started_by,
        started_at=time_from_proto(message.started_at),
        ends_at=time_from_proto(message.ends_at),
        engines=tuple(map(_engine_from_proto, message.engines)),
        ended_at=time_from_proto(message.ended_at) if message.HasField("ended_at") else None,
    )


def _engine_to_proto(engine: DrilledEngine) -> pb.DrilledEngine:
    return pb.DrilledEngine(
        engine=engine.engine,
        version=engine.version,
        proof=PROOFS[engine.proof],
        answered_after=span_to_proto(engine.answered_after),
        stopped_after=span_to_proto(engine.stopped_after),
        used_none=engine.used_none,
    )


def _engine_from_proto(message: pb.DrilledEngine) -> DrilledEngine:
    return DrilledEngine(
        engine=message.engine,
        version=message.version,
        proof=next((one for one, known in PROOFS.items() if known == message.proof), EngineProof.NOT_PROVEN),
        answered_after=span_from_proto(message.answered_after) if message.HasField("answered_after") else None,
        stopped_after=span_from_proto(message.stopped_after) if message.HasField("stopped_after") else None,
        used_none=message.used_none,
    )
