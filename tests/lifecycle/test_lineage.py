"""The lineage of versions: every field, what the client finds by itself, partial changes, and the audit log."""

import json
import platform
import subprocess
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version as release
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from modelward import AsyncClient, Environment, Lineage, SourceCode, TrainingData, errors
from modelward.data import to_columns, to_dataset
from modelward_server.storage.audit import Kind
from tests.support.clients import collect

WHOLE = Lineage(
    code=SourceCode("https://git.example.com/desk/spx.git", "0123abc", dirty=False),
    data=(TrainingData("s3://bucket/spx.parquet", "a" * 64), TrainingData(sha256="b" * 64)),
    environment=Environment("3.11.9", "Linux-6.1", {"numpy": "2.1.0", "scikit-learn": "1.7.2"}),
    parent_version=1,
    restrictions=("only in regular hours",),
    limits=("10 contracts",),
    assumptions=("costs of 1 basis point",),
    weaknesses=("not tried in a crisis",),
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one commit, as working directory."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "train.py").write_text("fit()\n")
    for command in (
        ["init", "--quiet"],
        ["remote", "add", "origin", "https://ada:secret@git.example.com/desk/spx.git?token=secret"],
        ["add", "train.py"],
        ["-c", "user.name=ada", "-c", "user.email=ada@example.com", "commit", "--quiet", "--message", "first"],
    ):
        git(*command)
    return folder


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def head(folder: Path) -> str:
    return git("-C", str(folder), "rev-parse", "HEAD").strip()


async def test_every_field_returns_as_it_was_given(client: AsyncClient, name: str, model: Path) -> None:
    empty = vars(Lineage())
    assert [field for field in empty if getattr(WHOLE, field) == empty[field]] == []
    await client.register(name, model)
    registered = await client.register(name, model, lineage=WHOLE)
    assert registered.lineage == WHOLE
    assert (await client.get_version(f"{name}/2")).lineage == WHOLE
    assert (await collect(client.list_versions(name)))[0].lineage == WHOLE


async def test_the_repository_of_the_working_directory_is_found_without_its_credentials(
    client: AsyncClient, name: str, model: Path, repository: Path
) -> None:
    clean = await client.register(name, model)
    expected = SourceCode("https://git.example.com/desk/spx.git", head(repository), dirty=False)
    assert clean.lineage.code == expected
    (repository / "train.py").write_text("fit(more=True)\n")
    assert (await client.register(name, model)).lineage.code == replace(expected, dirty=True)


@pytest.mark.parametrize("state", ["no repository", "no commit", "no git"])
async def test_nothing_to_find_is_no_error(
    client: AsyncClient, name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if state == "no commit":
        git("init", "--quiet")
    if state == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    assert (await client.register(name, model)).lineage.code == SourceCode()


async def test_a_repository_that_hangs_costs_two_seconds_and_no_registration(
    client: AsyncClient, name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("modelward._lineage.GIT_SECONDS", 0.1)
    found = (await client.register(name, model)).lineage
    assert (found.code, found.environment.python) == (SourceCode(), platform.python_version())


async def test_the_software_of_the_process_and_the_digest_of_the_reference_are_found(
    client: AsyncClient, name: str
) -> None:
    rows = {"x": np.arange(100.0), "y": np.ones(100)}
    fitted = LinearRegression().fit(np.column_stack(list(rows.values())), np.arange(100.0))
    found = (await client.register(name, fitted, reference=rows)).lineage
    packages = ("modelward", "numpy", "pandas", "scikit-learn", "skops")
    assert found.environment.packages == {package: release(package) for package in packages}
    assert (found.environment.python, found.environment.platform) == (platform.python_version(), platform.platform())
    assert found.data == (TrainingData(sha256=sha256(to_dataset(to_columns(rows)).arrow_ipc).hexdigest()),)


async def test_what_is_given_counts_before_what_is_found(
    client: AsyncClient, name: str, model: Path, repository: Path
) -> None:
    given = Lineage(code=SourceCode(commit="0123abc"), data=(TrainingData("s3://bucket/a"),), limits=("10 contracts",))
    found = (await client.register(name, model, lineage=given, reference={"x": np.arange(9.0)})).lineage
    assert (found.code, found.data, found.limits) == (given.code, given.data, given.limits)
    assert found.environment.python == platform.python_version()


async def test_it_finds_nothing_where_it_shall_not(
    client: AsyncClient, name: str, model: Path, repository: Path
) -> None:
    rows = {"x": np.arange(9.0)}
    assert (await client.register(name, model, reference=rows, collect_lineage=False)).lineage == Lineage()
    assert (await client.register_files(name, model, collect_lineage=False)).lineage == Lineage()
    assert (await client.register_files(name, model, lineage=WHOLE)).lineage == WHOLE


async def test_files_that_the_server_reads_have_one_too(client: AsyncClient, name: str, inbox: Path) -> None:
    (inbox / f"{name}.bin").write_bytes(b"weights")
    place = f"file://{inbox}/{name}.bin"
    found = (await client.register_uri(name, place, lineage=Lineage(limits=("1 lot",)))).lineage
    assert (found.limits, found.environment.python) == (("1 lot",), platform.python_version())
    assert (await client.register_uri(name, place, collect_lineage=False)).lineage == Lineage()


async def test_a_retry_may_run_elsewhere(client: AsyncClient, name: str, model: Path, repository: Path) -> None:
    request_id = str(uuid4())
    first = await client.register(name, model, request_id=request_id)
    (repository / "train.py").write_text("fit(more=True)\n")
    assert await client.register(name, model, request_id=request_id) == first
    with pytest.raises(errors.RequestIdReused):
        await client.register(name, model, request_id=request_id, lineage=Lineage(limits=("1 lot",)))


async def test_a_mapping_changes_the_fields_that_it_names_and_no_other(
    client: AsyncClient, name: str, model: Path
) -> None:
    await client.register(name, model)
    version = await client.register(name, model, lineage=WHOLE)
    changed = await client.update_version(version, lineage={"weaknesses": ["slow"], "code": {"commit": "89abcdef"}})
    code = replace(WHOLE.code, commit="89abcdef")
    assert changed.lineage == replace(WHOLE, weaknesses=("slow",), code=code)
    assert (await client.update_version(version, description="new")).lineage == changed.lineage
    assert (await client.update_version(version, lineage=Lineage())).lineage == Lineage()


@pytest.mark.system
async def test_audit_log_has_the_values_before_and_after(client: AsyncClient, name: str, model: Path) -> None:
    version = await client.register(name, model, lineage=replace(WHOLE, parent_version=0))
    await client.update_version(version, lineage={"limits": ["5 contracts"]})
    await client.update_version(version, lineage={"limits": ["5 contracts"]})
    found = [record for record in await collect(client.export_audit_log()) if record.model == name]
    [change] = [json.loads(record.payload) for record in found if record.kind == Kind.LINEAGE]
    assert (change["before"]["limits"], change["after"]["limits"]) == (["10 contracts"], ["5 contracts"])
    assert change["before"]["code"] == change["after"]["code"]
    [registered] = [json.loads(record.payload) for record in found if record.kind == Kind.REGISTERED]
    assert registered["lineage"]["limits"] == ["10 contracts"]
    assert (await client.verify_audit_log()).intact


async def test_stale_etag_changes_nothing(client: AsyncClient, name: str, model: Path) -> None:
    version = await client.register(name, model)
    await client.update_version(version, lineage={"limits": ["5 contracts"]})
    with pytest.raises(errors.EtagMismatch):
        await client.update_version(version, lineage={"limits": []}, etag=version.etag)
    assert (await client.get_version(version)).lineage.limits == ("5 contracts",)


@pytest.mark.parametrize(
    ("lineage", "field"),
    [
        ({"parent_version": 1}, "lineage.parent_version"),
        ({"parent_version": -1}, "lineage.parent_version"),
        ({"code": {"commit": "main"}}, "lineage.code.commit"),
        ({"code": {"repository": "https://ada:secret@git.example.com/x"}}, "lineage.code.repository"),
        ({"code": {"repository": "https://token@git.example.com/x"}}, "lineage.code.repository"),
        ({"code": {"branch": "main"}}, "lineage.code.branch"),
        ({"data": [TrainingData()]}, "lineage.data[0]"),
        ({"data": [TrainingData(sha256="abc")]}, "lineage.data[0].sha256"),
        ({"data": [TrainingData("s3://key:secret@bucket/x")]}, "lineage.data[0].uri"),
        ({"environment": {"packages": {"": "1"}}}, 'lineage.environment.packages[""]'),
        ({"weaknesses": [""]}, "lineage.weaknesses[0]"),
        ({"dirty": True}, "lineage.dirty"),
    ],
)
async def test_bad_input_names_the_field(
    client: AsyncClient, name: str, model: Path, lineage: dict[str, Any], field: str
) -> None:
    before = await client.register(name, model)
    with pytest.raises(errors.InvalidField) as caught:
        await client.update_version(before, lineage=lineage)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert (await client.get_version(before)).lineage == before.lineage


async def test_a_user_name_for_ssh_is_no_secret(client: AsyncClient, name: str, model: Path) -> None:
    code = SourceCode("ssh://git@git.example.com:22/desk/spx.git")
    assert (await client.register(name, model, lineage=Lineage(code=code))).lineage.code == code


async def test_the_job_that_registered_it_is_named(client: AsyncClient, name: str, model: Path) -> None:
    assert (await client.register(name, model)).job_id == ""
    await client.request_retraining(name)
    job = await client.lease_job(name, holder="worker")
    assert job is not None
    assert (await client.register(name, model, job=job)).job_id == job.job_id
    assert (await client.get_version(f"{name}/2")).job_id == job.job_id
