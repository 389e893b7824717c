"""The registry's method that tells a caller who it is."""

from modelward.caller import Caller, Role
from modelward.shared.convert.caller import caller_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceServicer
from modelward_server import identity
from modelward_server.rpc.idempotency import Context, actor_of


class CallerServicer(LifecycleServiceServicer):
    """Methods about the caller itself."""

    async def GetCaller(self, request: pb.GetCallerRequest, context: Context) -> pb.GetCallerResponse:
        return caller_to_proto(_caller(context))


def _caller(context: Context) -> Caller:
    client, name = identity.current.get(), actor_of(context)
    if client is None:
        return Caller(name, Role.ADMIN, model_prefixes=(), expires_at=None, authenticated=False)
    return Caller(name, client.role, client.models, client.expires_at, True, client.functions)
