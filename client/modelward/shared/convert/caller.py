"""Convert callers between dataclasses and messages."""

from __future__ import annotations

from collections.abc import Mapping

from modelward.caller import Caller, Role
from modelward.shared.convert.common import time_from_proto, time_to_proto
from modelward.v1 import lifecycle_pb2 as pb

ROLES: Mapping[Role, pb.Role.ValueType] = {role: pb.Role.Value(f"ROLE_{role.name}") for role in Role}


def role_from_proto(value: pb.Role.ValueType) -> Role:
    """Convert a role; one that only newer servers know counts as the least."""
    return next((role for role, known in ROLES.items() if known == value), Role.VIEWER)


def caller_to_proto(caller: Caller) -> pb.GetCallerResponse:
    return pb.GetCallerResponse(
        name=caller.name,
        role=ROLES[caller.role],
        model_prefixes=caller.model_prefixes,
        expires_at=time_to_proto(caller.expires_at),
        authenticated=caller.authenticated,
        functions=caller.functions,
    )


def caller_from_proto(message: pb.GetCallerResponse) -> Caller:
    return Caller(
        name=message.name,
        role=role_from_proto(message.role),
        model_prefixes=tuple(message.model_prefixes),
        expires_at=time_from_proto(message.expires_at) if message.HasField("expires_at") else None,
        authenticated=message.authenticated,
        functions=tuple(message.functions),
    )
