"""The registry's method about the server itself."""

from modelward.shared.convert.system import system_to_proto
from modelward.system import Setting, SystemInfo
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceServicer
from modelward_server.observability.redaction import HIDDEN, redact
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.settings import Settings
from modelward_server.storage.replicas import replicas


class SystemServicer(LifecycleServiceServicer):
    """Methods about the server that answers, and those that share its ledger."""

    _unit_of_work: RequestUnitOfWork
    _settings: Settings
    _replica_id: str

    async def GetSystem(self, request: pb.GetSystemRequest, context: Context) -> pb.GetSystemResponse:
        found = await self._unit_of_work.read(replicas)
        return system_to_proto(SystemInfo(shown_settings(self._settings), found, self._replica_id))


def shown_settings(settings: Settings) -> tuple[Setting, ...]:
    """Return the settings in effect; of those that `Settings` keeps out of its own text only whether they are set."""
    return tuple(
        _shown(name, getattr(settings, name), field.default, secret=not field.repr)
        for name, field in sorted(type(settings).model_fields.items())
    )


def _shown(name: str, value: object, default: object, *, secret: bool) -> Setting:
    items = value if isinstance(value, tuple) else (value,)
    text = "" if secret else ",".join(map(_text, items))
    return Setting(name, text, secret=secret, given=value != default)


def _text(value: object) -> str:
    """Return a value as it is given; the query of a URL may hold a credential."""
    if isinstance(value, bool):
        return str(value).lower()
    text = "" if value is None else redact(str(value))
    place, mark, _ = text.partition("?")
    return f"{place}?{HIDDEN}" if mark and "://" in place else text
