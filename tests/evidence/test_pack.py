"""Evidence packs: what is in one, and that whatever is changed in one is found and named."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from modelward import Client, Inventory, InventoryScope, Lineage, PromotionPolicy, errors
from modelward.evidence import zip_structure
from modelward.evidence.verify import verify_pack
from modelward_server.evidence.signing import EvidenceSigner
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer

ROWS = pd.DataFrame({"momentum": np.arange(60.0), "volume": np.arange(60.0)[::-1]})
LABEL = 2 * ROWS.momentum + np.random.default_rng(7).normal(size=60)


def write_key(folder: Path, name: str = "key") -> Path:
    """Write a private key and beside it its public key; return the private one's file."""
    key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())
    private = folder / f"{name}.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return private


class Signed:
    """A server with a signing key, a version with evidence, and its pack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = write_key(folder)
        self.running = RunningServer(Settings(port=0, data_dir=folder / "data", signing_key=str(self.key)))
        self.client = Client(self.running.target, actor="ada")
        self.public = folder / "key.pub"
        self.fill()
        self.pack = self.client.export_evidence("spx/2", folder / "pack.zip")

    def fill(self) -> None:
        mw = self.client
        mw.create_model("spx", description="momentum")
        mw.set_promotion_policy(PromotionPolicy("spx", required_tags=("desk", "region")))
        mw.set_promotion_policy(PromotionPolicy("spx", disabled_gates=("reason",)))
        for alpha in (1, 2):
            model = LinearRegression().fit(ROWS, alpha * LABEL)
            mw.register("spx", model, reference=ROWS, metrics={"ic": 0.1 * alpha}, tags={"desk": "a"})
            mw.promote(f"spx/{alpha}", to="staging")
            mw.promote(f"spx/{alpha}", to="production", reason="it passed its tests")
        mw.set_promotion_policy(PromotionPolicy("spx", required_tags=("desk",)))
        mw.compare(["spx/1", "spx/2"], ROWS, LABEL)
        mw.detect_drift("spx/2", ROWS)
        mw.create_model("ndx", description="not in the pack")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    made = Signed(tmp_path_factory.mktemp("signed"))
    yield made
    made.client.close()
    made.running.stop()


def read(pack: Path, name: str) -> Any:
    with zipfile.ZipFile(pack) as opened:
        return json.loads(opened.read(name))


def test_a_pack_has_what_is_on_record_and_verifies(signed: Signed) -> None:
    found = verify_pack(signed.pack, signed.public)
    assert found.defects == ()
    assert found.versions == ("spx/2",)
    assert found.signed_by
    assert found.records >= 4
    with zipfile.ZipFile(signed.pack) as opened:
        names = set(opened.namelist())
    own = {name.removeprefix("versions/spx/2/") for name in names}
    assert {
        "version.json",
        "transitions.json",
        "approvals.json",
        "records.json",
        "model-card.html",
        "findings.json",
        "reviews.json",
        "drills.json",
    } <= own
    assert any(name.startswith("comparisons/") and name.endswith(".html") for name in own)
    assert any(name.startswith("drift/") and name.endswith(".json") for name in own)
    assert "files/model.skops" in own
    assert "ndx" not in str(names)


def test_the_policy_as_it_stood_at_each_transition_is_in_a_pack(signed: Signed) -> None:
    then = read(signed.pack, "versions/spx/2/policies.json")
    assert {str(one["policy"].get("disabled_gates")) for one in then} == {"['reason']"}
    assert read(signed.pack, "versions/spx/2/policy.json")["required_tags"] == ["desk"]


def test_without_a_key_all_but_the_signature_is_verified(signed: Signed) -> None:
    found = verify_pack(signed.pack)
    assert found.intact
    assert found.signed_by == ""


def test_another_key_does_not_verify(signed: Signed, tmp_path: Path) -> None:
    write_key(tmp_path, "other")
    found = verify_pack(signed.pack, tmp_path / "other.pub")
    assert [defect.partition(":")[0] for defect in found.defects] == [
        "manifest.dsse.json",
        "seal.dsse.json",
        "log-head.json",
        "versions/spx/2/server-signature.json",
    ]


def test_the_bill_of_materials_follows_the_schema(signed: Signed) -> None:
    with zipfile.ZipFile(signed.pack) as opened:
        text = opened.read("versions/spx/2/bom.cdx.json").decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    card = json.loads(text)["metadata"]["component"]["modelCard"]
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [{"type": "ic", "value": "0.2"}]
    assert card["modelParameters"]["task"] == "regression"


def rewritten(pack: Path, to: Path, change: dict[str, bytes | None], extra: dict[str, bytes] | None = None) -> Path:
    """Copy a pack with other contents of some files; None leaves a file out."""
    with zipfile.ZipFile(pack) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            content = change.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
        for name, content in (extra or {}).items():
            new.writestr(name, content)
    return to


def names_of(pack: Path) -> list[str]:
    with zipfile.ZipFile(pack) as opened:
        return opened.namelist()


@pytest.mark.system
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_byte_that_is_changed_anywhere_is_found_and_named(
    signed: Signed, tmp_path: Path, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(names_of(signed.pack)))
    with zipfile.ZipFile(signed.pack) as opened:
        content = bytearray(opened.read(name))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    changed = rewritten(signed.pack, tmp_path / "changed.zip", {name: bytes(content)})
    found = verify_pack(changed, signed.public)
    named = {defect.partition(":")[0] for defect in found.defects}
    assert name in named or (name == "manifest.json" and "manifest.dsse.json" in named)


def test_files_that_are_missing_or_added_are_named(signed: Signed, tmp_path: Path) -> None:
    gone = rewritten(signed.pack, tmp_path / "gone.zip", {"versions/spx/2/approvals.json": None})
    assert "versions/spx/2/approvals.json: is missing" in verify_pack(gone, signed.public).defects
    more = rewritten(signed.pack, tmp_path / "more.zip", {}, {"versions/spx/2/files/other.bin": b"more"})
    assert "versions/spx/2/files/other.bin: is not in the manifest" in verify_pack(more, signed.public).defects
    unsigned = rewritten(signed.pack, tmp_path / "unsigned.zip", {"manifest.dsse.json": None})
    assert "manifest.dsse.json: is missing" in verify_pack(unsigned, signed.public).defects


@pytest.mark.parametrize("manifest", [[], {}, {"format": "modelward-evidence/1", "versions": [], "files": [1, "x"]}])
def test_a_manifest_of_another_form_is_a_defect(signed: Signed, tmp_path: Path, manifest: Any) -> None:
    changed = rewritten(signed.pack, tmp_path / "form.zip", {"manifest.json": json.dumps(manifest).encode()})
    assert [one for one in verify_pack(changed).defects if one.startswith("manifest.json: ")]


def test_a_cut_off_file_is_no_pack(signed: Signed, tmp_path: Path) -> None:
    cut = tmp_path / "cut.zip"
    cut.write_bytes(signed.pack.read_bytes()[:-100])
    [defect] = verify_pack(cut, signed.public).defects
    assert "is no readable ZIP file" in defect


@pytest.mark.system
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_byte_of_the_zip_itself_that_is_changed_is_found(signed: Signed, tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(signed.pack.read_bytes())
    with zipfile.ZipFile(signed.pack) as opened:
        last, directory = opened.infolist()[-1].header_offset, opened.start_dir
    begin = data.draw(st.sampled_from([0, last, directory, len(whole) - 22]))
    whole[data.draw(st.integers(begin, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    changed = tmp_path / "bytes.zip"
    changed.write_bytes(bytes(whole))
    assert not verify_pack(changed, signed.public).intact


@pytest.mark.system
def test_a_pack_with_large_numbers_verifies_and_its_end_is_checked(
    signed: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for large in (signed.pack.stat().st_size // 2, 100):
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", large)
        monkeypatch.setattr(zip_structure, "LARGE", large)
        pack = signed.client.export_evidence("spx/2", tmp_path / "large.zip")
        assert verify_pack(pack, signed.public).defects == ()
        whole = pack.read_bytes()
        for place in range(len(whole) - 98, len(whole)):  # The three records behind the directory.
            changed = tmp_path / "changed.zip"
            changed.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert not verify_pack(changed).intact, len(whole) - place


def test_a_version_has_files_that_are_named_as_those_of_a_pack(signed: Signed, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("version.json", "records.json", "manifest.json", "seal.dsse.json", "server-signature.json"):
        (folder / name).write_text("none of ours")
    version = signed.client.register("own-names", folder)
    pack = signed.client.export_evidence(version, tmp_path / "pack.zip")
    assert verify_pack(pack, signed.public).defects == ()


def test_a_model_card_has_the_scope_of_the_model_and_the_weaknesses_of_the_version(
    signed: Signed, tmp_path: Path
) -> None:
    stated = Inventory(accountable_manager="Grace Hopper", scope=InventoryScope(instruments=("ES", "NQ")))
    signed.client.create_model("carded", inventory=stated)
    version = signed.client.register("carded", Path(__file__), lineage=Lineage(weaknesses=("slow",)))
    with zipfile.ZipFile(signed.client.export_evidence(version, tmp_path / "pack.zip")) as opened:
        card = opened.read("versions/carded/1/model-card.html").decode()
    for fact in ("Grace Hopper", "ES, NQ", "Weaknesses of this version</h3>\n  <ul><li>slow</li></ul>"):
        assert fact in card


def test_bytes_before_and_behind_the_zip_are_found(signed: Signed, tmp_path: Path) -> None:
    whole = signed.pack.read_bytes()
    for more in (b"x" + whole, whole + b"x", whole[:-1]):
        changed = tmp_path / "more.zip"
        changed.write_bytes(more)
        assert not verify_pack(changed, signed.public).intact


def test_what_was_known_at_a_time(signed: Signed, tmp_path: Path) -> None:
    first, _ = list(signed.client.list_transitions("spx", version=1))[-2:]
    then = first.moved_at
    pack = signed.client.export_evidence("spx/1", tmp_path / "then.zip", as_of=then, without_files=True)
    assert verify_pack(pack, signed.public).intact
    moves = read(pack, "versions/spx/1/transitions.json")
    assert [one["to"] for one in moves if one["to"] != "STAGE_PRODUCTION"] == [one["to"] for one in moves] != []
    assert not [name for name in names_of(pack) if "/files/" in name]


def test_all_versions_in_production(signed: Signed, tmp_path: Path) -> None:
    pack = signed.client.export_evidence(None, tmp_path / "all.zip")
    found = verify_pack(pack, signed.public)
    assert found.intact
    assert found.versions == ("spx/2",)


def test_what_does_not_exist_is_not_exported(signed: Signed, tmp_path: Path) -> None:
    with pytest.raises(errors.VersionNotFound):
        signed.client.export_evidence("spx/9", tmp_path / "none.zip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.system
def test_a_server_without_a_key_exports_what_is_not_signed(tmp_path: Path) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    try:
        with Client(running.target) as client:
            client.register("spx", Path(__file__))
            pack = client.export_evidence("spx/1", tmp_path / "pack.zip")
            assert verify_pack(pack).intact
            write_key(tmp_path)
            assert "manifest.dsse.json: is not signed" in verify_pack(pack, tmp_path / "key.pub").defects
            assert client.log_head().envelope == ""
    finally:
        running.stop()


def test_heads_prove_that_the_log_is_only_appended_to(signed: Signed) -> None:
    heads = [signed.client.log_head()]
    for number in range(5):
        signed.client.update_model("ndx", description=f"change {number}")
        heads.append(signed.client.log_head(consistent_with=heads[-1]))
        assert heads[-1].records == heads[-2].records + 1
        assert heads[-1].continues(heads[-2])
    assert signed.client.log_head(consistent_with=heads[0]).continues(heads[0])
    assert not signed.client.log_head(consistent_with=heads[0]).continues(heads[1])
    assert json.loads(heads[0].envelope)["payloadType"] == "application/vnd.modelward.log-head+json"


@pytest.mark.system
def test_a_head_of_another_log_is_not_continued(signed: Signed, tmp_path: Path) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    try:
        with Client(running.target) as client:
            client.create_model("spx")
            other = client.log_head()
            with pytest.raises(errors.InvalidField, match="consistent_with: is"):
                client.log_head(consistent_with=signed.client.log_head())
    finally:
        running.stop()
    assert not signed.client.log_head(consistent_with=other).continues(other)


def test_a_key_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(ValueError, match=r"key\.pem cannot be read"):
        EvidenceSigner(str(tmp_path / "key.pem"))
    with pytest.raises(ValueError, match="pkcs11:token=TOKEN;object=KEY"):
        EvidenceSigner("pkcs11:token=none")
