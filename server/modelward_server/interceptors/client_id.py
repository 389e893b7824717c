"""Whom limits and logs mean by a client."""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import unquote

from grpc import aio

from modelward_server import identity

Context: TypeAlias = "aio.ServicerContext[Any, Any]"


def client_of(context: Context) -> str:
    """Return the name that the client proved, or else the host that it calls from.

    What a client merely says of itself does not count: whoever is limited would say something else.
    """
    if who := identity.current.get():
        return who.name
    kind, _, place = unquote(context.peer()).partition(":")
    return place.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else kind
