"""DSSE envelopes of evidence packs: their verification by a public key."""

import base64
import json
from pathlib import Path
from typing import Any

from modelward.errors import FieldViolation, InvalidField


class DefectError(Exception):
    """Something is wrong with a file of a pack."""


def read_public_key(path: Path) -> Any:
    """Read a public key.

    Args:
        path: a file in PEM.

    Returns:
        The key, as securesystemslib has it.

    Raises:
        InvalidField: it cannot be read.
    """
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from securesystemslib.signer import SSlibKey
    except ModuleNotFoundError as error:
        fix = f"needs {error.name}: pip install 'modelward[verify]'"
        raise InvalidField(FieldViolation("public_key", fix)) from None
    try:
        read: Any = load_pem_public_key(path.read_bytes())
        return SSlibKey.from_crypto(read)
    except (OSError, ValueError) as error:
        raise InvalidField(FieldViolation("public_key", f"{path} is no public key in PEM: {error}")) from None


def opened_envelope(envelope: bytes, kind: str, key: Any) -> tuple[dict[str, Any], str]:
    """Return what an envelope says, and the id of the key that signed it.

    Args:
        envelope: the envelope, JSON in UTF-8.
        kind: the media type of what it must sign.
        key: the key; None: the signature is not verified, and the id is empty.

    Returns:
        Its payload, parsed, and the id.

    Raises:
        DefectError: it is not written as the server writes it, no signature of the key is valid, or it is of another
            kind.
    """
    _check_written(envelope)
    if key is not None:
        return _verified(envelope, kind, key)
    return dict(json.loads(base64.b64decode(json.loads(envelope)["payload"], validate=True))), ""


def _check_written(envelope: bytes) -> None:
    """Check that an envelope is written in the only way in which the server writes it: base64 has others.

    Raises:
        DefectError: it is not.
    """
    read = json.loads(envelope)
    texts = [read["payload"], *(one["sig"] for one in read["signatures"])]
    same = all(base64.b64encode(base64.b64decode(text)).decode() == text for text in texts)
    if not same or json.dumps(read, sort_keys=True).encode() != envelope:
        raise DefectError("was changed: it is not written as the server writes it")


def _verified(envelope: bytes, kind: str, key: Any) -> tuple[dict[str, Any], str]:
    """Return what an envelope signs, and the id of the key.

    Raises:
        DefectError: no signature of the key is valid, or it is of another kind.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    opened = Envelope.from_dict(json.loads(envelope))
    if not opened.signatures:
        raise DefectError("is not signed")
    if opened.payload_type != kind:
        raise DefectError(f"signs {opened.payload_type!r} in place of {kind!r}")
    try:
        accepted = opened.verify([key], 1)
    except VerificationError:
        raise DefectError("is not signed by this key, or was changed after it was") from None
    return json.loads(opened.payload), next(iter(accepted))
