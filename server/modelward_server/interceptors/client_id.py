"""Identification of a client for limits and logs."""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import unquote

from grpc import aio

from modelward_server import identity

Context: TypeAlias = "aio.ServicerContext[Any, Any]"


def client_of(context: Context) -> str:
    """Return the authenticated name of the client, or else the host that it calls from.

    A name that a client merely states does not count: a limited client would state another.
    """
    if identified := identity.current.get():
        return identified.name
    kind, _, address = unquote(context.peer()).partition(":")
    return address.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else kind
