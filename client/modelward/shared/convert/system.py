"""Convert the server's settings and replicas between dataclasses and messages."""

from modelward.shared.convert.common import time_from_proto, time_to_proto
from modelward.system import Replica, Setting, SystemInfo
from modelward.v1 import lifecycle_pb2 as pb


def system_to_proto(system: SystemInfo) -> pb.GetSystemResponse:
    return pb.GetSystemResponse(
        settings=map(_setting_to_proto, system.settings),
        replicas=map(_replica_to_proto, system.replicas),
        replica_id=system.replica_id,
    )


def system_from_proto(message: pb.GetSystemResponse) -> SystemInfo:
    return SystemInfo(
        settings=tuple(map(_setting_from_proto, message.settings)),
        replicas=tuple(map(_replica_from_proto, message.replicas)),
        replica_id=message.replica_id,
    )


def _setting_to_proto(setting: Setting) -> pb.Setting:
    return pb.Setting(name=setting.name, value=setting.value, secret=setting.secret, given=setting.given)


def _setting_from_proto(message: pb.Setting) -> Setting:
    return Setting(message.name, message.value, message.secret, message.given)


def _replica_to_proto(replica: Replica) -> pb.Replica:
    return pb.Replica(
        replica_id=replica.replica_id,
        address=replica.address,
        machine=replica.machine,
        pid=replica.pid,
        version=replica.version,
        started_at=time_to_proto(replica.started_at),
        seen_at=time_to_proto(replica.seen_at),
        silent=replica.silent,
    )


def _replica_from_proto(message: pb.Replica) -> Replica:
    return Replica(
        replica_id=message.replica_id,
        address=message.address,
        machine=message.machine,
        pid=message.pid,
        version=message.version,
        started_at=time_from_proto(message.started_at),
        seen_at=time_from_proto(message.seen_at),
        silent=message.silent,
    )
