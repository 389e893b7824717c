"""One HTTP request to an address that was looked at first: a name that means an inside address is not called."""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 10.0


class DeliveryError(Exception):
    """The message did not arrive, or was not taken."""


@dataclass(frozen=True)
class Sender:
    """Posts messages.

    Args:
        allow_private: whether addresses of the own machine and network may be called.
    """

    allow_private: bool

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a message; whatever the answer's body or a redirect says is not followed.

        Raises:
            DeliveryError: the URL means an address that may not be called, nobody answers, or the answer is no 2xx.
        """
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            address = self._address(parts.hostname or "", port)
            connection = _connection(parts.scheme, parts.hostname or "", port, address)
            try:
                target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
                connection.request("POST", target, body, dict(headers))
                status = connection.getresponse().status
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryError(f"{parts.hostname} does not answer: {error}") from error
        if not 200 <= status < 300:
            raise DeliveryError(f"{parts.hostname} answers {status}")

    def _address(self, host: str, port: int) -> str:
        """Look up a host and return an address to connect to, so that no second look-up can say another.

        Raises:
            DeliveryError: one of its addresses lies inside.
        """
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        inside = [address for address in found if not is_public(address)]
        if inside and not self.allow_private:
            raise DeliveryError(
                f"{host} means {inside[0]}, which is not a public address; MODELWARD_WEBHOOKS_PRIVATE allows such"
            )
        return found[0]


def is_public(address: str) -> bool:
    """Tell whether an address is one of the public network, seen through what wraps IPv4 into IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None) or _nat64(found)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    translated = address in ipaddress.ip_network("64:ff9b::/96")
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if translated else None


def _connection(scheme: str, host: str, port: int, address: str) -> http.client.HTTPConnection:
    """Connect to an address in the name of its host."""
    sock = socket.create_connection((address, port), TIMEOUT_SECONDS)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        if scheme == "https":
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise
    connection.sock = sock
    return connection
