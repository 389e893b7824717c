"""Convert kinds of leaks between enumerations of the SDK and of the contract."""

from __future__ import annotations

from modelward.leaks import LeakKind
from modelward.v1 import common_pb2 as pb

LEAKS = {kind: pb.LeakKind.Value(f"LEAK_KIND_{kind.name}") for kind in LeakKind}


def leak_kind_from_proto(value: pb.LeakKind.ValueType) -> LeakKind | None:
    """Convert a kind; return None for unspecified and for a kind that only newer servers know."""
    return next((kind for kind, known in LEAKS.items() if known == value), None)
