"""HTTP requests to addresses that were checked first: a name that resolves to an internal address is not called."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from modelward_server.runtime.background import in_own_thread
from modelward_server.webhooks.addresses import is_public

DEADLINE_SECONDS = 10.0
"""Timeout of the whole exchange: name resolution, connection, TLS, request, and the response's headers."""
HEAD_BYTES = 64 << 10
"""Maximum size of the response's headers; its body is not read."""


class DeliveryError(Exception):
    """The message was not delivered, or not accepted."""


@dataclass(frozen=True)
class Sender:
    """Posts messages.

    Args:
        allow_private: whether addresses of this machine and of private networks may be called.
    """

    allow_private: bool

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a message; the response's body and redirects are ignored.

        Raises:
            DeliveryError: the URL resolves to an address that may not be called, no response arrives in time, or its
                status is not 2xx.
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
            writer.transport.abort()  # A graceful close is not needed.

    async def _address(self, host: str, port: int) -> str:
        """Resolve a host and return the address to connect to, so that a second resolution cannot give another.

        Raises:
            DeliveryError: one of its addresses is internal.
        """
        answers = await in_own_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        resolved = [str(info[4][0]) for info in answers]
        internal = [address for address in resolved if not is_public(address)]
        if internal and not self.allow_private:
            raise DeliveryError(
                f"{host} resolves to {internal[0]}, which is not public; MODELWARD_WEBHOOKS_PRIVATE allows private ones"
            )
        return resolved[0]


def _request(parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> bytes:
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    fields = {"host": parts.netloc, "content-length": str(len(body)), "connection": "close", **headers}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("ascii") + body


async def _status(reader: asyncio.StreamReader) -> int:
    """Return the status of the response, once its headers have arrived; informational responses are skipped."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        version, _, rest = head.partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
            raise ValueError("it does not speak HTTP/1.1")
        if (status := int(rest[:3])) >= 200:
            return status
