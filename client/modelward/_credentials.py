"""How commands prove who they are: certificates that the environment names."""

import os
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


def _read(variable: str) -> bytes | None:
    named = os.environ.get(variable)
    return Path(named).read_bytes() if named else None
