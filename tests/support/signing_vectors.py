"""The vectors of the OpenSSF model signing specification, and its conformance bundles."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelward.evidence.model_signature import ReadFile
from modelward_server.security.trusted_signers import TrustedSigner, TrustedSigners

VECTORS = Path(__file__).parent.parent / "evidence" / "vectors"
CONFORMANCE = VECTORS / "conformance"
ASSETS = CONFORMANCE / "assets"
CASES = sorted((CONFORMANCE / "test-cases" / "verify").glob("*/*"))
SIMPLE = ASSETS / "models" / "simple"


@dataclass(frozen=True)
class SignedModel:
    """The files of a model, a bundle, and what is trusted."""

    files: dict[str, Path]
    bundle: bytes
    trusted: tuple[Path, ...]

    @property
    def signers(self) -> tuple[TrustedSigner, ...]:
        return TrustedSigners([str(path) for path in self.trusted]).read()

    @property
    def keys(self) -> list[bytes]:
        return [signer.pem for signer in self.signers if not signer.is_authority]

    @property
    def read(self) -> ReadFile:
        return lambda name: [self.files[name].read_bytes()]


def config_of(case: Path) -> dict[str, Any]:
    """Return what a case of the conformance suite expects."""
    config: dict[str, Any] = json.loads((case / "config.json").read_text())
    return config


def model_of(case: Path, tmp_path: Path) -> SignedModel:
    """Return the model of a case, with its changes; files that its verifier is told to ignore are left out."""
    config = config_of(case)
    place = case if config.get("model_relative_to") == "test_dir" else ASSETS
    files = _changed(files_of(place / config["model"]), config.get("model_modifications", {}), tmp_path)
    verify = config["verify"]
    for ignored in verify.get("ignore_paths", ()):
        files.pop(ignored, None)
    trusted = [ASSETS / name for name in (*verify.get("cert_chain", ()), verify.get("public_key", "")) if name]
    bundle = (case / "bundle.sig").read_bytes()
    return SignedModel(files, bundle, tuple(path for path in trusted if path.exists()))


def files_of(model: Path) -> dict[str, Path]:
    """Return the files of a model by their paths within it; a model may be one file."""
    if model.is_file():
        return {model.name: model}
    return {path.relative_to(model).as_posix(): path for path in sorted(model.rglob("*")) if path.is_file()}


def copied(files: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Copy files to a folder under names of their own."""
    return {name: Path(shutil.copyfile(path, folder / f"{n}.blob")) for n, (name, path) in enumerate(files.items())}


def _changed(files: dict[str, Path], changes: dict[str, Any], tmp_path: Path) -> dict[str, Path]:
    kept = {name: path for name, path in files.items() if name not in changes.get("delete", ())}
    return {
        **copied(kept, tmp_path),
        **dict(_written({**changes.get("tamper", {}), **changes.get("inject", {})}, tmp_path)),
    }


def _written(texts: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, Path]]:
    for number, (name, text) in enumerate(texts.items()):
        path = tmp_path / f"written-{number}"
        path.write_text(text)
        yield name, path
