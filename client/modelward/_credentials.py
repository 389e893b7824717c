"""How clients prove who they are, and how commands find their proof: in the environment."""

import os
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import grpc


def from_environment() -> grpc.ChannelCredentials | None:
    """Return what `MODELWARD_CA` asks for, with `MODELWARD_CERT` and `MODELWARD_KEY` where the server wants them.

    Returns:
        None when `MODELWARD_CA` is not set: the connection is not encrypted.

    Raises:
        OSError: a file cannot be read.
    """
    authority, cert, key = (_read(f"MODELWARD_{name}") for name in ("CA", "CERT", "KEY"))
    return None if authority is None else grpc.ssl_channel_credentials(authority, key, cert)


def token_from_environment() -> str | None:
    """Return the token in `MODELWARD_TOKEN`; on a command line others could read it."""
    return os.environ.get("MODELWARD_TOKEN") or None


def check_token_travels_safely(
    target: str, credentials: grpc.ChannelCredentials | None, token: str | Callable[[], str] | None
) -> None:
    """Refuse to send a token where others could read it.

    Raises:
        ValueError: the connection is not encrypted and leaves this machine.
    """
    if token and credentials is None and not all(map(_is_local, target.rpartition("/")[2].split(","))):
        raise ValueError(f"a token goes to {target} over TLS only: give credentials=grpc.ssl_channel_credentials(...)")


def _is_local(address: str) -> bool:
    host = address.removeprefix("ipv4:").removeprefix("ipv6:").removeprefix("dns:").rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return address.startswith("unix:")


def _read(variable: str) -> bytes | None:
    named = os.environ.get(variable)
    return Path(named).read_bytes() if named else None
