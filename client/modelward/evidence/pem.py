"""Files in PEM that hold several public keys, such as those before and after a rotation."""

import re

BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----[\r\n]*", re.DOTALL)


def pem_blocks(data: bytes) -> list[bytes]:
    """Return the parts of a file in PEM, each of which has one key.

    Args:
        data: the file.

    Returns:
        The parts, in order; the whole file if it has none, for whoever reads it to refuse.
    """
    return [found[0] for found in BLOCK.finditer(data)] or [data]
