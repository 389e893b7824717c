"""Client credentials, and how commands read them from the environment."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import grpc

from modelward.errors import FieldViolation, InvalidField
from modelward.shared.targets import is_loopback

if TYPE_CHECKING:  # Profiles are those of the command.
    from modelward.shared.profiles import Profile


class Proof(TypedDict):
    """The credentials of a client."""

    credentials: grpc.ChannelCredentials | None
    token: str | Callable[[], str] | None


def proof_from_environment(profile: "Profile") -> Proof:
    """Return the credentials from `MODELWARD_CA`, with `MODELWARD_CERT` and `MODELWARD_KEY` for mutual TLS.

    The token is in `MODELWARD_TOKEN`, because others could read it from a command line. Without a CA the connection is
    not encrypted.

    Args:
        profile: has what the environment has not.

    Raises:
        OSError: a file cannot be read.
    """
    authority, cert, key = _read("CA", profile.ca), _read("CERT", profile.cert), _read("KEY", profile.key)
    credentials = None if authority is None else grpc.ssl_channel_credentials(authority, key, cert)
    return Proof(credentials=credentials, token=os.environ.get("MODELWARD_TOKEN") or profile.token)


def check_token_travels_safely(
    target: str, credentials: grpc.ChannelCredentials | None, token: str | Callable[[], str] | None
) -> None:
    """Refuse to send a token that others could read.

    Raises:
        InvalidField: the connection is not encrypted and leaves this machine.
    """
    if token and credentials is None and not all(map(_is_local, target.rpartition("/")[2].split(","))):
        fix = f"a token is sent to {target} over TLS only; pass credentials=grpc.ssl_channel_credentials(...)"
        raise InvalidField(FieldViolation("credentials", fix))


def _is_local(address: str) -> bool:
    host = address.removeprefix("ipv4:").removeprefix("ipv6:").removeprefix("dns:").rpartition(":")[0]
    return is_loopback(host) or address.startswith("unix:")


def _read(name: str, otherwise: Path | None) -> bytes | None:
    named = os.environ.get(f"MODELWARD_{name}") or otherwise
    return Path(named).read_bytes() if named else None
