"""DSSE envelopes of evidence packs, and the keys that sign them; verification needs the extra `verify`."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelward.errors import FieldViolation, InvalidField
from modelward.evidence.pem import pem_blocks


class DefectError(Exception):
    """Something is wrong with a file of a pack."""


def check_written(envelope: bytes) -> None:
    """Check that an envelope is written in the only way in which the server writes it: base64 has others.

    Raises:
        DefectError: it is not.
    """
    read = json.loads(envelope)
    texts = [read["payload"], *(one["sig"] for one in read["signatures"])]
    same = all(base64.b64encode(base64.b64decode(text)).decode() == text for text in texts)
    if not same or json.dumps(read, sort_keys=True).encode() != envelope:
        raise DefectError("was changed: it is not written as the server writes it")


def verified(envelope: bytes, kind: str, keys: Sequence[Any]) -> tuple[dict[str, Any], str]:
    """Return what an envelope signs, and the id of the key.

    Args:
        envelope: a DSSE envelope as JSON.
        kind: the media type of what it signs.
        keys: public keys of securesystemslib, one of which must have signed it.

    Raises:
        DefectError: no signature of these keys is valid, or it is of another kind.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    opened = Envelope.from_dict(json.loads(envelope))
    if not opened.signatures:
        raise DefectError("is not signed")
    if opened.payload_type != kind:
        raise DefectError(f"signs {opened.payload_type!r} in place of {kind!r}")
    try:
        accepted = opened.verify(list(keys), 1)
    except VerificationError:
        by = "this key" if len(keys) == 1 else f"any of these {len(keys)} keys"
        raise DefectError(f"is not signed by {by}, or was changed after it was") from None
    return json.loads(opened.payload), next(iter(accepted))


def read_public_keys(path: Path) -> dict[bytes, Any]:
    """Read public keys in PEM, of which a file may hold several.

    Returns:
        The keys as ones of securesystemslib, by their PEM.

    Raises:
        InvalidField: one cannot be read.
    """
    try:
        return {pem: public_key(pem) for pem in pem_blocks(path.read_bytes())}
    except ModuleNotFoundError as error:
        fix = f"needs {error.name}: pip install 'modelward[verify]'"
        raise InvalidField(FieldViolation("public_key", fix)) from None
    except (OSError, ValueError) as error:
        raise InvalidField(FieldViolation("public_key", f"{path} is no public key in PEM: {error}")) from None


def public_key(pem: bytes) -> Any:
    """Return a public key of securesystemslib.

    Raises:
        ModuleNotFoundError: the extra `verify` is not installed.
        ValueError: it is none.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    read: Any = load_pem_public_key(pem)
    return SSlibKey.from_crypto(read)
