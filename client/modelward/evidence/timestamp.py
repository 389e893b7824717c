"""Time stamps (RFC 3161): that something existed at a time, as an authority says that neither party controls.

It needs the extra `verify`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelward._record import Record
from modelward.errors import FieldViolation, InvalidField

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse


HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
"""The hashes of time stamps, by their object identifiers."""


@dataclass(frozen=True, repr=False)
class PackTimestamp(Record):
    """A time stamp in a pack (RFC 3161)."""

    file: str
    """Its file."""
    of: str
    """The signed file that existed at this time."""
    time: datetime
    """When, in UTC, as the authority says."""
    verified: bool
    """Whether a trusted authority gave it; without roots to trust, it is not verified."""


class TimestampError(ValueError):
    """It is no time stamp over this content, or no trusted authority gave it."""


def read_roots(path: Path) -> "list[Certificate]":
    """Read the certificates of trusted authorities.

    Args:
        path: a file with one or more certificates in PEM.

    Returns:
        The certificates.

    Raises:
        InvalidField: it cannot be read, or the extra `verify` is not installed.
    """
    try:
        import rfc3161_client  # noqa: F401 - what verifies by them
        from cryptography.x509 import load_pem_x509_certificates
    except ModuleNotFoundError as error:
        fix = f"needs {error.name}: pip install 'modelward[verify]'"
        raise InvalidField(FieldViolation("timestamp_roots", fix)) from None
    try:
        return load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        fix = f"{path} has no certificates in PEM: {error}"
        raise InvalidField(FieldViolation("timestamp_roots", fix)) from None


def read_timestamp(response: bytes, content: bytes) -> datetime:
    """Return the time in a time stamp, without verifying who gave it.

    Args:
        response: what the authority answered, a TimeStampResp in DER.
        content: what was stamped.

    Returns:
        The time, in UTC.

    Raises:
        TimestampError: it is no time stamp, or one over other content.
        ImportError: the extra `verify` is not installed.
    """
    return _time_of(_parsed(response), content)


def verify_timestamp(response: bytes, content: bytes, roots: "Sequence[Certificate]") -> datetime:
    """Verify a time stamp.

    Args:
        response: what the authority answered, a TimeStampResp in DER.
        content: what was stamped.
        roots: the certificates of the authorities that are trusted; certificates of an authority are verified as of the
            time in the stamp.

    Returns:
        The time, in UTC.

    Raises:
        TimestampError: it is no time stamp over this content, or no trusted authority gave it.
        ImportError: the extra `verify` is not installed.
    """
    from rfc3161_client import VerificationError, VerifierBuilder

    parsed = _parsed(response)
    time = _time_of(parsed, content)
    try:
        VerifierBuilder(roots=[*roots]).build().verify_message(parsed, content)
    except (VerificationError, ValueError) as error:
        raise TimestampError(f"no trusted authority gave this time stamp: {error}") from None
    return time


def _parsed(response: bytes) -> "TimeStampResponse":
    from rfc3161_client import decode_timestamp_response

    try:
        parsed = decode_timestamp_response(response)
    except ValueError as error:
        raise TimestampError(f"is no time stamp: {error}") from None
    if parsed.as_bytes() != response:
        raise TimestampError("has more bytes than a time stamp")
    return parsed


def _time_of(parsed: "TimeStampResponse", content: bytes) -> datetime:
    try:
        granted, info = parsed.status == 0, parsed.tst_info
    except ValueError:
        granted, info = False, None
    if not granted or info is None:
        said = "; ".join(parsed.status_string) or f"status {parsed.status}"
        raise TimestampError(f"has no time stamp: the authority refused it ({said})")
    algorithm = HASHES.get(info.message_imprint.hash_algorithm.dotted_string)
    if algorithm is None or hashlib.new(algorithm, content).digest() != info.message_imprint.message:
        raise TimestampError("is a time stamp over other content")
    return info.gen_time
