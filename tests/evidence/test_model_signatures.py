"""Signatures over models: the server's verification by the library beside the client's own, on the same vectors."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from modelward.evidence.model_bundle import (
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    ModelSignatureError,
    SigningMethod,
    parse_bundle,
    read_manifest,
)
from modelward.evidence.model_signature import verify_model_signature
from modelward.lifecycle import ArtifactFile
from modelward_server.evidence.model_signatures import sign_files, verify_files
from modelward_server.evidence.signing import EvidenceSigner
from modelward_server.storage.blobs import BlobStore
from tests.support.signing_keys import new_key, sign
from tests.support.signing_vectors import (
    ASSETS,
    CASES,
    SIMPLE,
    VECTORS,
    SignedModel,
    config_of,
    copied,
    files_of,
    model_of,
)

PUBLIC = ASSETS / "keys" / "certificate" / "signing-key-pub.pem"
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def named(path: Path) -> str:
    return path.name


def is_verified(case: Path) -> bool:
    config = config_of(case)
    return config.get("expect") != "fail" and config["method"] != "sigstore"


@pytest.mark.system
@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_server_verifies_what_the_conformance_suite_does(case: Path, tmp_path: Path) -> None:
    model = model_of(case, tmp_path)
    if is_verified(case):
        verified = verify_files(model.files, model.bundle, model.signers, tmp_path)
        assert verified.signer in model.signers
    else:
        with pytest.raises(ModelSignatureError):
            verify_files(model.files, model.bundle, model.signers, tmp_path)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_client_agrees_with_the_server_on_keys(case: Path, tmp_path: Path) -> None:
    model = model_of(case, tmp_path)
    if is_verified(case) and config_of(case)["method"] == "key":
        by_client = verify_model_signature(model.bundle, model.keys, model.files, model.read)
        by_server = verify_files(model.files, model.bundle, model.signers, tmp_path)
        assert by_client.fingerprint == by_server.fingerprint
        assert by_client.unsigned_files == by_server.unsigned_files
    else:
        with pytest.raises(ModelSignatureError):
            verify_model_signature(model.bundle, model.keys, model.files, model.read)


REFUSALS = {
    "key-simple-tampered-content_fail": "signme-1",
    "key-simple-missing-file_fail": "signme-2",
    "key-simple-extra-file_fail": "injected.bin",
    "key-simple-wrong-key_fail": "the key",
    "key-simple-truncated-bundle_fail": "not a complete JSON document",
    "key-simple-corrupted-bundle_fail": "not a complete JSON document",
    "key-simple-no-signature_fail": "no signature",
    "key-simple-wrong-mediatype_fail": "has not the type",
    "malformed-empty-bundle_fail": "not a complete JSON document",
    "malformed-missing-envelope_fail": "no dsseEnvelope",
    "certificate-simple-wrong-ca_fail": "wrong-ca-cert.pem",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_what_is_wrong(name: str, tmp_path: Path) -> None:
    [case] = [one for one in CASES if one.name == name]
    model = model_of(case, tmp_path)
    with pytest.raises(ModelSignatureError, match=REFUSALS[name]):
        verify_files(model.files, model.bundle, model.signers, tmp_path)
    if config_of(case)["method"] == "key":
        with pytest.raises(ModelSignatureError, match=REFUSALS[name]):
            verify_model_signature(model.bundle, model.keys, model.files, model.read)


@pytest.mark.parametrize("case", [case for case in CASES if config_of(case)["method"] == "sigstore"], ids=named)
def test_bundles_that_need_the_network_are_refused_by_name(case: Path, tmp_path: Path) -> None:
    model = model_of(case, tmp_path)
    assert parse_bundle(model.bundle).method is SigningMethod.SIGSTORE
    with pytest.raises(ModelSignatureError, match="Sigstore without a key"):
        verify_files(model.files, model.bundle, model.signers, tmp_path)


@pytest.mark.parametrize("vector", sorted(VECTORS.glob("test-vectors/v1.0/*/*.json")), ids=named)
def test_vectors_of_the_specification(vector: Path, tmp_path: Path) -> None:
    files = copied(files_of(SIMPLE), tmp_path)
    trusted = (PUBLIC, ASSETS / "keys" / "certificate" / "ca-cert.pem")
    model = SignedModel(files, vector.read_bytes(), trusted)
    offline = vector.parent.name == "valid" and not vector.name.startswith("sigstore")
    if offline:
        assert verify_files(files, model.bundle, model.signers, tmp_path).unsigned_files == ("ignore-me",)
    else:
        with pytest.raises(ModelSignatureError):
            verify_files(files, model.bundle, model.signers, tmp_path)
    if offline and vector.name.startswith("key"):
        assert verify_model_signature(model.bundle, model.keys, files, model.read).unsigned_files == ("ignore-me",)
    else:
        with pytest.raises(ModelSignatureError):
            verify_model_signature(model.bundle, model.keys, files, model.read)


@pytest.mark.parametrize("curve", CURVES)
def test_what_is_signed_is_verified_by_both(curve: str, tmp_path: Path) -> None:
    private, public = new_key(tmp_path, CURVES[curve])
    folder = ASSETS / "models" / "multi-file"
    files = copied(files_of(folder), tmp_path)
    model = SignedModel(files, sign(folder, tmp_path / "bundle", private).read_bytes(), (public,))
    verified = verify_files(files, model.bundle, model.signers, tmp_path)
    assert (verified.signer.name, verified.unsigned_files) == ("public.pem", ())
    assert verify_model_signature(model.bundle, model.keys, files, model.read).fingerprint == verified.fingerprint
    assert not list(tmp_path.glob("verifying-*"))
    assert parse_bundle(model.bundle).method is SigningMethod.KEY


def signed_by_server(files: dict[str, Path], private: Path) -> bytes:
    contents = {name: path.read_bytes() for name, path in files.items()}
    stored = [
        ArtifactFile(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in contents.items()
    ]
    return sign_files("spx/1", stored, EvidenceSigner(str(private)))


def test_what_the_server_signs_is_verified_by_both(tmp_path: Path) -> None:
    private, public = new_key(tmp_path, CURVES["P-256"])
    files = {name: tmp_path / name for name in (".gitignore", "model.bin", "model.sig", "weights.bin")}
    for name, path in files.items():
        path.write_text(name)
    model = SignedModel(files, signed_by_server(files, private), (public,))
    verified = verify_files(files, model.bundle, model.signers, tmp_path)
    assert (verified.signer.name, verified.unsigned_files) == ("public.pem", (".gitignore", "model.sig"))
    by_client = verify_model_signature(model.bundle, model.keys, files, model.read)
    assert (by_client.fingerprint, by_client.unsigned_files) == (verified.fingerprint, verified.unsigned_files)
    files["model.bin"].write_bytes(b"other")
    with pytest.raises(ModelSignatureError, match=r"model\.bin"):
        verify_files(files, model.bundle, model.signers, tmp_path)
    assert signed_by_server({".gitignore": files[".gitignore"]}, private) == b""


def test_files_are_laid_out_without_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = new_key(tmp_path, CURVES["P-256"])
    files = copied(files_of(ASSETS / "models" / "multi-file"), tmp_path)
    model = SignedModel(files, signed_by_server(files, private), (public,))
    link, linked = os.link, list[Path]()

    def noted(path: Path, shown: Path) -> None:
        linked.append(path)
        link(path, shown)

    monkeypatch.setattr(os, "link", noted)
    verify_files(files, model.bundle, model.signers, tmp_path)
    assert linked == list(files.values())


def test_what_is_signed_follows_the_schemas(tmp_path: Path) -> None:
    private, _ = new_key(tmp_path, CURVES["P-256"])
    bundle = signed_by_server(copied(files_of(SIMPLE), tmp_path), private)
    schemas = [json.loads(path.read_text()) for path in sorted(VECTORS.glob("schemas/v1.0/*.json"))]
    registry = Registry().with_resources((schema["$id"], Resource.from_contents(schema)) for schema in schemas)
    for name, document in (("bundle", bundle), ("statement", parse_bundle(bundle).payload)):
        [schema] = [one for one in schemas if f"/{name}/" in one["$id"]]
        Draft202012Validator(schema, registry=registry).validate(json.loads(document))


@pytest.mark.parametrize("part", [1, 5, 7, 1000])
def test_the_client_verifies_shards_however_the_files_are_read(part: int, tmp_path: Path) -> None:
    private, public = new_key(tmp_path, CURVES["P-256"])
    folder = ASSETS / "models" / "multi-file"
    sign(folder, tmp_path / "bundle", private, shard_size=7)
    model = SignedModel(files_of(folder), (tmp_path / "bundle").read_bytes(), (public,))

    def read(name: str) -> Iterator[bytes]:
        content = model.files[name].read_bytes()
        return (content[start : start + part] for start in range(0, len(content), part))

    assert verify_model_signature(model.bundle, model.keys, model.files, read).unsigned_files == ()
    with pytest.raises(ModelSignatureError, match=r"differ from what was signed: .*weights.bin:0:7$"):
        verify_model_signature(model.bundle, model.keys, model.files, lambda name: [b"?" + b"".join(read(name))[1:]])


def test_a_model_that_was_signed_as_a_file_is_verified_as_one(tmp_path: Path) -> None:
    private, public = new_key(tmp_path, CURVES["P-256"])
    file = ASSETS / "models" / "single-file" / "model.bin"
    sign(file, tmp_path / "model.sig", private)
    files = copied({"spx.onnx": file, "model.sig": tmp_path / "model.sig"}, tmp_path)
    model = SignedModel(files, (tmp_path / "model.sig").read_bytes(), (public,))
    assert verify_files(files, model.bundle, model.signers, tmp_path).unsigned_files == ("model.sig",)
    assert verify_model_signature(model.bundle, model.keys, files, model.read).unsigned_files == ("model.sig",)
    files["other.onnx"] = file
    for verify in (
        lambda: verify_files(files, model.bundle, model.signers, tmp_path),
        lambda: verify_model_signature(model.bundle, model.keys, files, model.read),
    ):
        with pytest.raises(ModelSignatureError, match=r"other.onnx"):
            verify()


@given(at=st.integers(0, 10_000), byte=st.binary(min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_no_changed_bundle_is_another_one_or_an_unexpected_error(at: int, byte: bytes) -> None:
    [case] = [one for one in CASES if one.name == "key-simple"]
    bundle = (case / "bundle.sig").read_bytes()
    changed = bundle[: at % len(bundle)] + byte + bundle[at % len(bundle) + len(byte) :]
    files, key = files_of(SIMPLE), PUBLIC.read_bytes()
    try:
        verify_model_signature(changed, [key], files, lambda name: [files[name].read_bytes()])
    except ModelSignatureError:
        return
    assert parse_bundle(changed).payload == parse_bundle(bundle).payload


def test_other_keys_are_no_trusted_keys(tmp_path: Path) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    pem = rsa_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    [case] = [one for one in CASES if one.name == "key-simple"]
    model = model_of(case, tmp_path)
    with pytest.raises(ValueError, match="elliptic curve"):
        verify_model_signature(model.bundle, [pem], model.files, model.read)


def test_what_a_killed_server_laid_out_is_removed_after_a_week(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    old, new = tmp_path / "verifying-old", tmp_path / "verifying-new"
    for folder in (old, new):
        (folder / "model").mkdir(parents=True)
    a_week_ago = time.time() - timedelta(days=8).total_seconds()
    os.utime(old, (a_week_ago, a_week_ago))
    blobs.remove_stale()
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize("size", ["Infinity", "NaN", "1e400", "-1", "0", '"7"', "0.5"])
def test_shards_without_a_size_are_refused(size: str) -> None:
    digest = hashlib.sha256(bytes.fromhex("ab")).hexdigest()
    resources, subject = '[{"name": "a:0:1", "digest": "ab"}]', f'[{{"digest": {{"sha256": "{digest}"}}}}]'
    predicate = f'{{"resources": {resources}, "serialization": {{"method": "shards", "shard_size": {size}}}}}'
    types = f'"_type": "{STATEMENT_TYPE}", "predicateType": "{PREDICATE_TYPE}"'
    with pytest.raises(ModelSignatureError, match="no size of its shards"):
        read_manifest(f'{{{types}, "subject": {subject}, "predicate": {predicate}}}'.encode())


def test_a_refusal_of_a_hostile_hint_can_be_sent(tmp_path: Path) -> None:
    [case] = [one for one in CASES if one.name == "key-simple"]
    model = model_of(case, tmp_path)
    document = json.loads(model.bundle)
    document["verificationMaterial"]["publicKey"]["hint"] = "\ud800" * 1000
    for verify in (
        lambda bundle: verify_files(model.files, bundle, model.signers, tmp_path),
        lambda bundle: verify_model_signature(bundle, model.keys, model.files, model.read),
    ):
        with pytest.raises(ModelSignatureError, match="the key") as refused:
            verify(json.dumps(document).encode())
        assert len(str(refused.value).encode()) < 1_000
