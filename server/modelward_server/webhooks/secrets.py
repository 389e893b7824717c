"""The secret that signs webhooks."""

import base64

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of a secret, not one


def secret_bytes(secret: str) -> bytes:
    """Return the key of a secret: base64 after `whsec_`, or else the text itself.

    Raises:
        ValueError: the part after `whsec_` is not base64.
    """
    if secret.startswith(SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    return secret.encode()
