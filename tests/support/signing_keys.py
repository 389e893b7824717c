"""Keys, and what they sign by the library of the specification."""

from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from modelward_server.libraries import load


def new_key(folder: Path, curve: ec.EllipticCurve) -> tuple[Path, Path]:
    """Make a private key and its public one."""
    key, private, public = ec.generate_private_key(curve), folder / "private.pem", folder / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def sign(model: Path, bundle: Path, key: Path, ignored: Iterable[str | Path] = (), shard_size: int = 0) -> Path:
    """Sign a file or folder by the library, with its own hashes, and return the bundle's file."""
    hashing = load("model_signing.hashing").Config().set_ignored_paths(paths=[*ignored, bundle])
    if shard_size:
        hashing.use_shard_serialization(shard_size=shard_size)
    config = load("model_signing.signing").Config().set_hashing_config(hashing)
    config.use_elliptic_key_signer(private_key=key).sign(model, bundle)
    return bundle
