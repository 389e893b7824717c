"""The secret that signs webhooks."""

import base64

SECRET_PREFIX = "whsec_"  # noqa: S105 - how a secret begins, not one


def secret_bytes(secret: str) -> bytes:
    """Return the key that a secret means: base64 behind `whsec_`, or else the text itself.

    Raises:
        ValueError: what stands behind `whsec_` is no base64.
    """
    if secret.startswith(SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    return secret.encode()
