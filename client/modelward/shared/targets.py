"""Where the servers are: how one address or several become a gRPC channel that goes on when one of them is gone."""

import re
import socket
from collections.abc import Sequence
from ipaddress import ip_address

from modelward.errors import FieldViolation, InvalidField

Option = tuple[str, int | str]
RECONNECTING: list[Option] = [
    # By default gRPC waits 1 s at first and 2 minutes in the end; a server that is restarted is back much sooner.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # In spite of its name: how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 5_000),
]
SCHEMES = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "vsock:", "xds:", "google-c2p:")
"""What gRPC's own forms of a target begin with."""
PORT = re.compile("[0-9]{1,5}")
IN_TURNS: Option = ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')
"""Connect to every address and spread calls over those that answer."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def channel_target(target: str) -> tuple[str, list[Option]]:
    """Return what gRPC calls a target, and the options of a channel to it.

    Args:
        target: `host:port`, several of them with commas, or `dns:///host:port` for a name with several addresses.

    Raises:
        InvalidField: an address is empty, has no port, or is a URL.
    """
    addresses = [_without_scheme(address.strip()) for address in target.split(",")]
    if len(addresses) > 1:
        return _several([_split(address) for address in addresses])
    if not target.startswith(SCHEMES):
        _split(target)
    return target, [*RECONNECTING, IN_TURNS] if target.startswith("dns:") else RECONNECTING


def _without_scheme(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    if separator and scheme not in {"unix", "unix-abstract", "xds", "google-c2p", "dns"}:
        tls = " and credentials=grpc.ssl_channel_credentials()" if scheme in {"https", "grpcs"} else ""
        fix = f"{address!r} is a URL; give {rest.partition('/')[0]!r} without {scheme}://{tls}"
        raise InvalidField(FieldViolation("target", fix))
    return address


def _several(servers: Sequence[tuple[str, int]]) -> tuple[str, list[Option]]:
    """gRPC takes a list of numbers, not of names, so the names are looked up here."""
    found = [place for host, port in servers for place in _look_up(host, port)]
    # Certificates are checked against one name, which every server's must carry then.
    options = [*RECONNECTING, IN_TURNS, ("grpc.default_authority", servers[0][0])]
    if not found:
        return f"dns:///{_place(*servers[0])}", options  # Calls say that nobody answers, until the name is known.
    if all(ip_address(host).version == 4 for host, _ in found):
        return f"ipv4:{','.join(f'{host}:{port}' for host, port in found)}", options
    mapped = (f"::ffff:{host}" if ip_address(host).version == 4 else host for host, _ in found)
    return f"ipv6:{','.join(_place(*one) for one in zip(mapped, (port for _, port in found), strict=True))}", options


def _look_up(host: str, port: int) -> list[tuple[str, int]]:
    """Return a host's addresses, the ones of IPv4 where it has both; none when nobody knows it at the moment."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # A label of a name may be too long to be one.
        return []
    family = min((info[0] for info in found), key=[socket.AF_INET, socket.AF_INET6].index)
    return list(dict.fromkeys((str(info[4][0]), port) for info in found if info[0] == family))


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not PORT.fullmatch(port) or int(port) > 65_535:
        fix = f"{address!r} is not of the form host:port; give both, as 'localhost:50061'"
        raise InvalidField(FieldViolation("target", fix))
    return host.strip("[]"), int(port)


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
