"""One HTTP request to an address that was looked at first: a name that means an inside address is not called."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from modelward_server.runtime.background import in_own_thread
from modelward_server.webhooks.addresses import is_public

DEADLINE_SECONDS = 10.0
"""How long the whole exchange may take: looking up the name, connecting, TLS, the request, and the answer's head."""
HEAD_BYTES = 64 << 10
"""How long the answer's head may be; its body is not read."""


class DeliveryError(Exception):
    """The message did not arrive, or was not taken."""


@dataclass(frozen=True)
class Sender:
    """Posts messages.

    Args:
        allow_private: whether addresses of the own machine and network may be called.
    """

    allow_private: bool

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a message; whatever the answer's body or a redirect says is not followed.

        Raises:
            DeliveryError: the URL means an address that may not be called, nobody answers in time, or the answer is no
                2xx.
        """
        host = "the webhook"
        try:
            parts = urlsplit(url)
            host = parts.hostname or host
            async with asyncio.timeout(DEADLINE_SECONDS):
                status = await self._exchange(parts, body, headers)
        except TimeoutError as error:
            raise DeliveryError(f"{host} does not answer within {DEADLINE_SECONDS:g} s") from error
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
            raise DeliveryError(f"{host} does not answer: {error}") from error
        if not 200 <= status < 300:
            raise DeliveryError(f"{host} answers {status}")

    async def _exchange(self, parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
        secure, host = parts.scheme == "https", parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        address = await self._address(host, port)
        context = await in_own_thread(ssl.create_default_context) if secure else None
        reader, writer = await asyncio.open_connection(
            address, port, limit=HEAD_BYTES, ssl=context, server_hostname=host.removesuffix(".") if secure else None
        )
        try:
            writer.write(_request(parts, body, headers))
            await writer.drain()
            return await _status(reader)
        finally:
            writer.transport.abort()  # Nobody waits for a polite end.

    async def _address(self, host: str, port: int) -> str:
        """Look up a host and return an address to connect to, so that no second look-up can say another.

        Raises:
            DeliveryError: one of its addresses lies inside.
        """
        answers = await in_own_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        found = [str(info[4][0]) for info in answers]
        inside = [address for address in found if not is_public(address)]
        if inside and not self.allow_private:
            raise DeliveryError(
                f"{host} means {inside[0]}, which is not a public address; MODELWARD_WEBHOOKS_PRIVATE allows such"
            )
        return found[0]


def _request(parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> bytes:
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    told = {"host": parts.netloc, "content-length": str(len(body)), "connection": "close", **headers}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items()), "", ""]
    return "\r\n".join(lines).encode("ascii") + body


async def _status(reader: asyncio.StreamReader) -> int:
    """Return the status of the answer, once its head is there; what is only informational is passed over."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        version, _, rest = head.partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
            raise ValueError("it does not speak HTTP/1.1")
        if (status := int(rest[:3])) >= 200:
            return status
