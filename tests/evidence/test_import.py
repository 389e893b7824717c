"""The import of versions from evidence packs of another registry: what is adopted, refused, and who is independent."""

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from modelward import AsyncClient, Client, Inventory, PromotionPolicy, RequiredApproval, errors
from modelward.backtest import ValidationFold
from modelward.caller import Role
from modelward.cli.commands import cli
from modelward.evidence.layout import FORMAT
from modelward.evidence.verify import verify_foreign_pack, verify_pack
from modelward.inventory import Lineage, SourceCode
from modelward_server.evidence.pack import LogHeadRecord, PackWriter
from modelward_server.evidence.signing import EvidenceSigner
from modelward_server.security import grants
from modelward_server.security.admin_session import admin_session
from modelward_server.settings import Settings
from modelward_server.storage.retention import named_blobs
from modelward_server.storage.tables import VersionRow
from tests.console.conftest import browsing
from tests.evidence.test_pack import names_of, read, rewritten, write_key
from tests.support.clients import as_async
from tests.support.desk import Desk
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.signing_keys import new_key, sign
from tests.support.waiting import eventually

pytestmark = pytest.mark.system  # Takes seconds.

ROWS = pd.DataFrame({"momentum": np.arange(60.0), "volume": np.arange(60.0)[::-1]})
FOLDER = "versions/spx/2/"


class There:
    """The test registry: LightGBM models that "risk" registers, one with a signature, and the signed pack of that."""

    def __init__(self, folder: Path) -> None:
        from lightgbm import LGBMRegressor

        self.folder, self.key = folder, write_key(folder)
        trusted = folder / "trusted"
        trusted.mkdir()
        private, self.trainer = new_key(folder, ec.SECP256R1())
        settings = Settings(port=0, data_dir=folder / "data", signing_key=str(self.key))
        signers = {"trusted_signers": (str(self.trainer),), "trusted_evidence_keys": (str(trusted),)}
        self.running = RunningServer(settings.model_copy(update=signers))
        self.mw = Client(self.running.target, actor="risk")
        kind = LGBMRegressor(n_estimators=3, min_child_samples=2, n_jobs=1, verbose=-1)
        model = kind.fit(ROWS, 2 * ROWS.momentum)
        self.predicted: Any = model.predict(ROWS)
        saved = folder / "model"
        saved.mkdir()
        model.booster_.save_model(saved / "model.lgbm")
        self.mw.create_model("rates")
        stated = Inventory(owners=("index desk",), tier=1, depends_on=("rates",))
        self.mw.create_model("spx", description="momentum", tags={"desk": "index"}, inventory=stated)
        self.mw.register("spx", saved)
        self.version = self.mw.register(
            "spx",
            saved,
            metrics={"ic": 0.1},
            params={"trees": "3"},
            tags={"region": "us"},
            description="the second",
            reference=ROWS,
            model_signature=sign(saved, folder / "bundle.json", private),
            trials=12,
            folds=[ValidationFold("2024", {"ic": 0.2})],
            training_window=("2020-01-01", "2024-12-31"),
            horizon=timedelta(days=1),
            lineage=Lineage(code=SourceCode(commit="a" * 40), parent_version=1),
        )
        self.first = self.mw.export_evidence("spx/1", folder / "first.zip")
        self.pack = self.mw.export_evidence("spx/2", folder / "second.zip")

    @property
    def public(self) -> Path:
        return self.key.with_suffix(".pub")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    made = There(tmp_path_factory.mktemp("there"))
    yield made
    made.mw.close()
    made.running.stop()


class Here(Desk):
    """The production registry, which trusts the key of the test registry, and another one before."""

    def __init__(self, folder: Path, database_url: str, there: There) -> None:
        self.folder, self.keys = folder, folder / "keys"
        self.keys.mkdir()
        (self.keys / "test.pem").write_bytes(there.public.read_bytes())
        write_key(folder, "old")
        (self.keys / "a-former.pem").write_bytes((folder / "old.pub").read_bytes())
        self.key = write_key(folder, "own")
        settings = Settings(
            port=0,
            data_dir=folder / "data",
            database_url=database_url,
            auth=True,
            signing_key=str(self.key),
            trusted_signers=(str(there.trainer),),
            trusted_evidence_keys=(str(self.keys),),
            import_evidence_mb=8,
        )
        super().__init__(RunningServer(settings))

    def new_token(self, name: str, role: Role, *models: str) -> str:
        with admin_session(self.running.settings) as (session, caller):
            return grants.create_token(session, name, role, models, None, caller, ())


@pytest.fixture(scope="module", params=DATABASES)
def here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, there: There) -> Iterator[Here]:
    url = "" if request.param == "sqlite" else new_database(request.getfixturevalue("postgres"))
    made = Here(tmp_path_factory.mktemp("here"), url, there)
    yield made
    for client in made.clients.values():
        client.close()
    made.running.stop()


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, here: Here) -> AsyncIterator[AsyncClient]:
    """A client of the production registry, of each kind, that may register."""
    if request.param == "sync":
        yield as_async(here.quant)
        return
    async with AsyncClient(here.running.target, token=here.new_token("quant", Role.TRAINER)) as client:
        yield client


@pytest.fixture
def name() -> str:
    return f"spx-{uuid4().hex[:8]}"


async def test_a_version_is_adopted_with_its_record(
    client: AsyncClient, here: Here, there: There, name: str, tmp_path: Path
) -> None:
    version = await client.import_evidence(there.pack, as_model=name)
    was = there.version
    assert (version.ref.version, version.stage, version.created_by) == (1, "training", "quant")
    kept = "files digest format framework description tags params metrics folds overfitting training_window signature"
    for field in kept.split():
        assert getattr(version, field) == getattr(was, field), field
    assert version.lineage.code == was.lineage.code
    assert (version.references, version.job_id, version.lineage.parent_version) == ((), "", 0)
    assert version.model_signature
    assert version.model_signature.signer == there.trainer.name
    origin = version.origin
    assert origin is not None
    assert (origin.ref, origin.registrants, origin.registered_at) == (was.ref, ("risk",), was.created_at)
    assert origin.key_id == verify_pack(there.pack, there.public).signed_by
    assert (origin.pack_sha256, origin.pack_bytes) == (digest(there.pack), there.pack.stat().st_size)
    assert len(origin.registration_hash) == len(origin.log_root) == 64
    assert origin.registration_sequence <= origin.log_records
    assert was.created_at < origin.exported_at < version.created_at
    model = await client.get_model(name)
    assert (model.description, model.tags) == ("momentum", {"desk": "index"})
    assert (model.inventory.owners, model.inventory.tier, model.inventory.depends_on) == (("index desk",), 1, ())
    loaded = await client.load(f"{name}/1")
    assert np.allclose(loaded.predict(ROWS), there.predicted)
    assert (await client.get_version(version)).origin == origin
    verified = await as_async(here.founder).verify_audit_log()
    assert verified.intact, verified.defects


def test_a_changed_origin_is_found(here: Here, there: There, name: str) -> None:
    here.quant.import_evidence(there.pack, as_model=name)
    row = select(VersionRow).where(VersionRow.model == name)
    with here.running.app.ledger.writing() as session:
        changed = session.scalars(row).one()
        origin = changed.origin or {}
        changed.origin = origin | {"registrants": ["nobody"]}
    [defect] = here.founder.verify_audit_log().defects
    assert (defect.key, defect.field) == (f"{name}/1", "origin")
    with here.running.app.ledger.writing() as session:
        session.scalars(row).one().origin = origin
    assert here.founder.verify_audit_log().intact


def digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def test_the_next_number_is_given_and_parents_follow(here: Here, there: There, name: str) -> None:
    here.quant.register(name, there.folder / "model", description="own")
    first = here.quant.import_evidence(there.first, as_model=name)
    second = here.quant.import_evidence(there.pack, as_model=name)
    assert (first.version, second.version, second.lineage.parent_version) == (2, 3, 2)
    assert here.quant.get_model(name).description == ""


def test_repeated_imports_adopt_once(here: Here, there: There, name: str) -> None:
    request_id = str(uuid4())
    once = here.quant.import_evidence(there.pack, as_model=name, request_id=request_id)
    assert here.quant.import_evidence(there.pack, as_model=name, request_id=request_id) == once
    with pytest.raises(errors.VersionExists, match=f"has spx/2 of the pack already, as {name}/1") as caught:
        here.quant.import_evidence(there.pack, as_model=name)
    assert caught.value.metadata == {"model": name, "version": "1"}
    again = there.mw.export_evidence("spx/2", here.folder / "again.zip")  # Another pack of the same version.
    with pytest.raises(errors.VersionExists):
        here.quant.import_evidence(again, as_model=name)
    own = here.quant.register(f"{name}-own", there.folder / "model")
    (here.keys / "own.pem").write_bytes(here.key.with_suffix(".pub").read_bytes())
    pack = here.quant.export_evidence(own, here.folder / "own.zip")
    with pytest.raises(errors.VersionExists, match=f"has {own} of the pack already, as {own}"):
        here.quant.import_evidence(pack)


async def test_of_imports_at_once_one_adopts(here: Here, there: There, name: str) -> None:
    async with AsyncClient(here.running.target, token=here.new_token("several", Role.TRAINER)) as client:
        calls = [client.import_evidence(there.pack, as_model=name) for _ in range(4)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(type(end).__name__ for end in ends) == ["ModelVersion", *["VersionExists"] * 3]
        assert [version.version async for version in client.list_versions(name)] == [1]


def test_gates_of_here_judge_it_and_nobody_evades_them(here: Here, there: There, name: str) -> None:
    version = here.quant.import_evidence(there.pack, as_model=name)
    policy = PromotionPolicy(
        name, require_signature=True, material=True, required_approvals=(RequiredApproval(("risk",)),)
    )
    here.founder.set_promotion_policy(policy)
    here.trader.promote(version, to="staging")
    request = here.quant.request_approval(version, reason="it passed the tests elsewhere")
    with pytest.raises(errors.NotApprover, match="which risk registered"):
        here.risk.approve(request.approval_id)  # It registered the version in the other registry.
    with pytest.raises(errors.NotIndependent, match=f"risk registered {name}/1"):
        here.risk.record_review(name, version=1, outcome="approved", comment="sound")
    with pytest.raises(errors.NotIndependent, match=f"risk registered {name}/1"):
        here.risk.record_review(name, outcome="approved", comment="sound")
    with pytest.raises(errors.GatesFailed, match="has not decided"):
        here.trader.promote(version, to="production", reason="better")
    here.both.approve(request.approval_id)
    with (
        Client(here.running.target, token=here.new_token("risk", Role.OPERATOR)) as registrant,
        pytest.raises(errors.GatesFailed, match="risk registered"),
    ):
        registrant.promote(version, to="production", reason="better")
    moved = here.trader.promote(version, to="production", reason="better")
    said = {gate.gate: gate.evidence for gate in moved.gates}
    assert said["material"] == "promoted by trader, registered by quant, risk"
    assert "is signed by" in said["signed"]
    assert "was loaded and predicted" in said["usable"]
    assert here.founder.verify_audit_log().intact


def test_its_pack_is_kept_and_part_of_the_packs_of_here(here: Here, there: There, name: str, tmp_path: Path) -> None:
    version = here.quant.import_evidence(there.pack, as_model=name)
    assert version.origin
    again = here.quant.download_origin(version, tmp_path / "again.zip")
    assert again.read_bytes() == there.pack.read_bytes()
    with here.running.app.ledger.reading() as session:
        assert version.origin.pack_sha256 in named_blobs(session)
    pack = here.quant.export_evidence(version, tmp_path / "here.zip")
    assert verify_pack(pack, here.key.with_suffix(".pub")).intact
    with zipfile.ZipFile(pack) as opened:
        assert opened.read(f"versions/{name}/1/origin.zip") == there.pack.read_bytes()
        card = opened.read(f"versions/{name}/1/model-card.html").decode()
    assert 'Imported from</dt><dd class="words">spx/2' in card
    other = rewritten(pack, tmp_path / "other.zip", {f"versions/{name}/1/origin.zip": there.first.read_bytes()})
    defects = verify_pack(other).defects
    assert f"versions/{name}/1/version.json: was imported with another pack than origin.zip" in defects
    back = there.folder / "trusted" / f"{name}.pem"
    back.write_bytes(here.key.with_suffix(".pub").read_bytes())
    returned = there.mw.import_evidence(pack, as_model=name)
    back.unlink()
    assert returned.origin
    assert returned.origin.registrants == ("quant", "risk")
    with pytest.raises(errors.FileNotInArtifact, match="was registered here"):
        there.mw.download_origin("spx/2", tmp_path / "none.zip")


def flipped(pack: Path, name: str, to: Path) -> Path:
    """Copy a pack with another byte in the middle of what a file is compressed to."""
    whole = bytearray(pack.read_bytes())
    with zipfile.ZipFile(pack) as opened:
        info = opened.getinfo(name)
    whole[info.header_offset + 30 + len(info.filename) + 20 + info.compress_size // 2] ^= 1
    to.write_bytes(bytes(whole))
    return to


def foreign(there: There, to: Path) -> Path:
    """Sign all of a pack with another key."""
    write_key(to.parent, "foreign")
    return resigned(there, to, to.parent / "foreign.pem")


def resigned(there: There, to: Path, key: Path, change: Callable[[str, bytes], bytes] = lambda _, old: old) -> Path:
    """Write a pack with the same files, which a key signs."""
    head = LogHeadRecord(10, b"\0" * 32, datetime.now(UTC))
    made = closing(PackWriter(head, {}, EvidenceSigner(str(key)), None, to.parent))
    with made as writer, zipfile.ZipFile(there.pack) as opened, to.open("wb") as file:
        writer._versions.append(("spx/2", there.version.digest))
        file.writelines(writer.begin())
        for name in opened.namelist():
            if name.startswith("versions/"):
                file.writelines(writer.add(name, [change(name, opened.read(name))]))
        file.writelines(writer.finish())
    return to


def zeros(there: There, to: Path) -> Path:
    """Sign a pack of which a file unpacks to a thousand times its size."""
    return resigned(there, to, there.key, lambda name, old: b"\0" * (64 << 20) if "approvals" in name else old)


def lying(there: There, to: Path) -> Path:
    """Write a file that unpacks to more bytes than the manifest, and the ZIP, say."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("big", b"\0" * (64 << 20))
        listed = [{"path": "big", "sha256": "0" * 64, "size": 10}]
        file.writestr("manifest.json", json.dumps({"format": FORMAT, "versions": ["spx/2"], "files": listed}))
        file.writestr("manifest.dsse.json", "{}")
    return to


def many(there: There, to: Path) -> Path:
    """Say that the directory has more files than any pack."""
    whole = bytearray(there.pack.read_bytes())
    whole[-14:-10] = b"\xff\xff\xff\xff"
    to.write_bytes(bytes(whole))
    return to


def again_and_again(there: There, to: Path) -> Path:
    """List a file so often that reading it each time would take hours."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("big", b"\0" * (1 << 20))
        listed = 200_000 * [{"path": "big", "sha256": "", "size": 0}]
        file.writestr("manifest.json", json.dumps({"format": FORMAT, "versions": ["spx/2"], "files": listed}))
        file.writestr("manifest.dsse.json", "{}")
    return to


def copied(content: bytes, to: Path) -> Path:
    to.write_bytes(content)
    return to


def doubled(there: There, to: Path) -> Path:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return rewritten(there.pack, to, {}, {FOLDER + "version.json": b"{}"})


def unsigned(there: There, to: Path) -> Path:
    envelope = read(there.pack, "manifest.dsse.json")
    return rewritten(there.pack, to, {"manifest.dsse.json": json.dumps(envelope | {"signatures": []}).encode()})


def several(there: There, to: Path) -> Path:
    return there.mw.export_evidence(None, to)


DAMAGES: dict[str, tuple[Callable[[There, Path], Path], str]] = {
    "cut off": (lambda there, to: copied(there.pack.read_bytes()[:-200], to), "is no readable ZIP file"),
    "empty": (lambda there, to: copied(b"", to), "is no readable ZIP file"),
    "another file": (lambda there, to: there.trainer, "is no readable ZIP file"),
    "a changed file": (lambda there, to: flipped(there.pack, FOLDER + "model-card.html", to), "model-card.html: "),
    "a changed model": (lambda there, to: flipped(there.pack, FOLDER + "files/model.lgbm", to), "files/model.lgbm: "),
    "a changed manifest": (lambda there, to: flipped(there.pack, "manifest.json", to), "manifest.json: "),
    "a missing file": (
        lambda there, to: rewritten(there.pack, to, {FOLDER + "findings.json": None}),
        "findings.json: is missing",
    ),
    "a doubled file": (doubled, "version.json: is there more than once"),
    "an added file": (lambda there, to: rewritten(there.pack, to, {}, {"more": b"x"}), "more: is not in the manifest"),
    "no signature": (unsigned, "manifest.dsse.json: is not signed"),
    "another key": (foreign, "manifest.dsse.json: is not signed by any of these"),
    "no files": (
        lambda there, to: there.mw.export_evidence("spx/2", to, without_files=True),
        "files/model.lgbm: is missing; export the pack with",
    ),
    "no registration": (
        lambda there, to: resigned(there, to, there.key, lambda name, old: b"[]" if "records" in name else old),
        "records.json: has no record of the registration",
    ),
    "no version": (several, "has 0 versions; export the one"),
    "a proof of nothing": (lambda there, to: resigned(there, to, there.key), "is not proved to be in the audit log"),
    "a large file": (zeros, "at most 8,388,608 are allowed"),
    "a file larger than said": (lying, "big: has more than the 10 bytes"),
    "a file again and again": (again_and_again, "manifest.json: lists a file more than once"),
    "a large directory": (many, "which is too large"),
}


@pytest.mark.weekly("postgresql")  # The database is no part of what is refused.
def test_what_is_damaged_or_foreign_is_refused_and_named(here: Here, there: There, name: str, tmp_path: Path) -> None:
    for number, (kind, (damage, said)) in enumerate(DAMAGES.items()):
        pack = damage(there, tmp_path / f"{number}.zip")
        with pytest.raises(errors.InvalidField) as caught:
            here.quant.import_evidence(pack, as_model=name)
        assert {violation.field for violation in caught.value.violations} == {"pack"}, kind
        assert said in caught.value.message, (kind, caught.value.message)
    with pytest.raises(errors.ModelNotFound):
        here.quant.get_model(name)
    assert here.quant.import_evidence(there.pack, as_model=name).version == 1


def test_what_is_larger_than_it_says_is_not_unpacked(there: There, tmp_path: Path) -> None:
    """The server reads a manifest before it knows who signed it."""
    pack = tmp_path / "lying.zip"
    with zipfile.ZipFile(pack, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", b"[" * (32 << 20))
    assert "manifest.json: has more than 16777216 bytes" in verify_foreign_pack(pack, [], 64 << 20).defects


def test_of_a_file_no_more_is_unpacked_than_its_manifest_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack, read, unpack = tmp_path / "lying.zip", [], zipfile.ZipExtFile.read
    with zipfile.ZipFile(pack, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("big", b"\0" * (64 << 20))
        listed = [{"path": "big", "sha256": "", "size": -5}]
        file.writestr("manifest.json", json.dumps({"format": FORMAT, "versions": [], "files": listed}))

    def counted(self: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        read.append(unpack(self, n))
        return read[-1]

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    assert "big: has more than the -5 bytes of the manifest" in verify_foreign_pack(pack, [], 1 << 20).defects
    assert sum(map(len, read)) < 1000


def test_signers_of_here_judge_the_signature(there: There, name: str, tmp_path: Path) -> None:
    keys = {"trusted_evidence_keys": (str(there.public),)}
    settings = Settings(port=0, data_dir=tmp_path / "data").model_copy(update=keys)
    running = RunningServer(settings)
    with Client(running.target) as client:
        assert client.import_evidence(there.pack, as_model=name).model_signature is None
    running.stop()
    other = new_key(tmp_path, ec.SECP256R1())[1]
    running = RunningServer(settings.model_copy(update={"trusted_signers": (str(other),)}))
    with Client(running.target) as client, pytest.raises(errors.InvalidField, match="no trusted signer confirms"):
        client.import_evidence(there.pack, as_model=f"{name}-other")
    running.stop()


def test_without_a_trusted_key_nothing_is_imported(here: Here, there: There, name: str) -> None:
    aside = [file.rename(file.with_suffix(".aside")) for file in here.keys.glob("*.pem")]
    with pytest.raises(errors.NoTrustedKey, match="in the setting trusted_evidence_keys") as caught:
        here.quant.import_evidence(there.pack, as_model=name)
    assert caught.value.metadata == {"setting": "trusted_evidence_keys"}
    for file in aside:
        file.rename(file.with_suffix(".pem"))
    assert here.quant.import_evidence(there.pack, as_model=name)


def test_clients_import_into_models_that_they_reach(here: Here, there: There, name: str) -> None:
    with Client(here.running.target, token=here.new_token("ndx desk", Role.TRAINER, "ndx-")) as limited:
        with pytest.raises(errors.ModelNotAllowed, match="'spx' is not one of them"):
            limited.import_evidence(there.pack)
        with pytest.raises(errors.ModelNotAllowed):
            limited.import_evidence(there.pack, as_model=name)
        version = limited.import_evidence(there.pack, as_model=f"ndx-{name}")
        assert [one.origin for one in limited.list_versions(f"ndx-{name}")] == [version.origin]
    with pytest.raises(errors.RoleTooLow):
        here.compliance.import_evidence(there.pack, as_model=name)


@pytest.mark.weekly("postgresql")
def test_the_command_imports_shows_and_returns_packs(here: Here, there: There, name: str, tmp_path: Path) -> None:
    env = {"MODELWARD_SERVER": here.running.target, "MODELWARD_TOKEN": here.new_token("shell", Role.TRAINER)}

    def run(*arguments: str) -> str:
        done = CliRunner(env=env).invoke(cli, arguments)
        assert done.exit_code == 0, done.output
        return done.output

    assert f"spx/2 of the pack is {name}/1 here" in run("evidence", "import", str(there.pack), "--as-model", name)
    shown = run("show", f"{name}/1")
    assert "spx/2, registered by risk at" in shown
    assert digest(there.pack) in "".join(shown.split())
    assert "spx/2" in run("versions", name)
    assert run("evidence", "origin", f"{name}/1", "-o", str(tmp_path / "origin.zip"))
    assert digest(tmp_path / "origin.zip") == digest(there.pack)
    assert "origin.zip" not in names_of(there.pack)


async def test_the_console_and_mlflow_show_where_it_comes_from(there: There, name: str) -> None:
    key = there.folder / "trusted" / f"{name}.pem"
    key.write_bytes(there.public.read_bytes())
    version = there.mw.import_evidence(there.pack, as_model=name)  # A model of another name may have it.
    key.unlink()
    async with browsing(there.running) as browser:
        page = (await browser.get(f"/models/{name}/versions/1")).text
    assert "spx/2 of another registry, registered there by risk" in page
    assert digest(there.pack) in page
    mirrored = there.running.app.mirror.behind
    eventually(lambda: there.mw.get_version(version).mlflow_version and not mirrored())
    uri = there.running.settings.tracking_uri
    shown = mlflow.MlflowClient(uri, registry_uri=uri)
    tags = shown.get_model_version(name, there.mw.get_version(version).mlflow_version).tags
    assert tags["modelward.origin"] == f"spx/2 {digest(there.pack)}"
