"""Channel targets: turn one or several server addresses into a gRPC channel that survives the loss of a server."""

import re
import socket
from collections.abc import Sequence
from ipaddress import ip_address

from modelward.errors import FieldViolation, InvalidField

Option = tuple[str, int | str]
RECONNECT_OPTIONS: list[Option] = [
    # gRPC's defaults are 1 s at first and at most 2 minutes; a restarted server is available much sooner.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Despite its name: the timeout of one connection attempt.
    ("grpc.min_reconnect_backoff_ms", 5_000),
]
SCHEMES = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "vsock:", "xds:", "google-c2p:")
"""Prefixes of gRPC's own target forms."""
PORT = re.compile("[0-9]{1,5}")
ROUND_ROBIN: Option = ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')
"""Connect to every address and distribute calls over those that respond."""


def is_loopback(host: str) -> bool:
    """Return whether the address can only be reached from this machine."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def channel_target(target: str) -> tuple[str, list[Option]]:
    """Return the gRPC target and the channel options for a target.

    Args:
        target: `host:port`, several of them separated by commas, or `dns:///host:port` for a name with several
            addresses.

    Raises:
        InvalidField: an address is empty, has no port, or is a URL.
    """
    addresses = [_without_scheme(address.strip()) for address in target.split(",")]
    if len(addresses) > 1:
        return _multiple_servers([_split(address) for address in addresses])
    if not target.startswith(SCHEMES):
        _split(target)
    return target, [*RECONNECT_OPTIONS, ROUND_ROBIN] if target.startswith("dns:") else RECONNECT_OPTIONS


def _without_scheme(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    if separator and scheme not in {"unix", "unix-abstract", "xds", "google-c2p", "dns"}:
        tls = " and credentials=grpc.ssl_channel_credentials()" if scheme in {"https", "grpcs"} else ""
        fix = f"{address!r} is a URL; give {rest.partition('/')[0]!r} without {scheme}://{tls}"
        raise InvalidField(FieldViolation("target", fix))
    return address


def _multiple_servers(servers: Sequence[tuple[str, int]]) -> tuple[str, list[Option]]:
    """Resolve the names of several servers, because gRPC takes a list of IP addresses, not of names."""
    addresses = [place for host, port in servers for place in _look_up(host, port)]
    # Certificates are checked against one name, which every server's certificate must therefore contain.
    options = [*RECONNECT_OPTIONS, ROUND_ROBIN, ("grpc.default_authority", servers[0][0])]
    if not addresses:
        return f"dns:///{_host_port(*servers[0])}", options  # Calls fail as unavailable until the name can be resolved.
    if all(ip_address(host).version == 4 for host, _ in addresses):
        return f"ipv4:{','.join(f'{host}:{port}' for host, port in addresses)}", options
    mapped = ((f"::ffff:{host}" if ip_address(host).version == 4 else host, port) for host, port in addresses)
    return f"ipv6:{','.join(_host_port(host, port) for host, port in mapped)}", options


def _look_up(host: str, port: int) -> list[tuple[str, int]]:
    """Return a host's addresses, IPv4 where it has both; empty when the name cannot be resolved at the moment."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # A label of the name may be too long for IDNA.
        return []
    family = min((info[0] for info in infos), key=[socket.AF_INET, socket.AF_INET6].index)
    return list(dict.fromkeys((str(info[4][0]), port) for info in infos if info[0] == family))


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not PORT.fullmatch(port) or int(port) > 65_535:
        fix = f"{address!r} is not of the form host:port; give both, for example 'localhost:50061'"
        raise InvalidField(FieldViolation("target", fix))
    return host.strip("[]"), int(port)


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
