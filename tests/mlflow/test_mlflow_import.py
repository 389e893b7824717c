"""An MLflow registry that was there before, adopted; and one that was tampered with, mended."""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from modelward import Client, ModelVersion, PromotionPolicy, RequiredApproval, Stage, errors
from modelward_server.mlflow.registry import MlflowRegistry
from modelward_server.settings import Settings
from modelward_server.storage.sources import Sources
from tests.support.mlflow_tables import write_mlflow_tables
from tests.support.running_server import RunningServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.system  # Each test creates an MLflow store.


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    allowed = (f"file://{tmp_path / 'files'}", "runs:/", "models:/")
    return Settings(port=0, data_dir=tmp_path / "data", allowed_sources=allowed)


@pytest.fixture
def mlflow(settings: Settings) -> Any:
    """A client of the MLflow that the server will use."""
    from modelward_server.mlflow.client import connect

    settings.data_dir.mkdir(parents=True)
    write_mlflow_tables(settings.data_dir / "mlflow.db")
    return connect(settings.tracking_uri)


@pytest.fixture
def client(mlflow: Any, settings: Settings) -> Iterator[Client]:
    running = RunningServer(settings)
    with Client(running.target) as client:
        yield client
    running.stop()


def _register(mlflow: Any, folder: Path, name: str, content: bytes) -> str:
    """Register a version as a data scientist does with MLflow alone."""
    found = mlflow.get_experiment_by_name("research")
    files = str(folder / "files")
    experiment = found.experiment_id if found else mlflow.create_experiment("research", artifact_location=files)
    run = mlflow.create_run(experiment)
    mlflow.log_param(run.info.run_id, "depth", "4")
    mlflow.log_metric(run.info.run_id, "accuracy", 0.57)
    (folder / "model.pkl").write_bytes(content)
    mlflow.log_artifact(run.info.run_id, str(folder / "model.pkl"), "model")
    mlflow.set_terminated(run.info.run_id)
    if not mlflow.search_registered_models(f"name='{name}'"):
        mlflow.create_registered_model(name)
    source = f"{run.info.artifact_uri}/model"
    return str(mlflow.create_model_version(name, source, run.info.run_id, tags={"asset": "SPX"}).version)


def _shown(client: Client, version: str) -> ModelVersion:
    """Return a version once MLflow shows it."""
    eventually(lambda: bool(client.get_version(version).mlflow_version))
    return client.get_version(version)


def test_registry_of_mlflow_is_adopted_with_files_facts_and_stages(client: Client, mlflow: Any, tmp_path: Path) -> None:
    for content in (b"one", b"two", b"three"):
        _register(mlflow, tmp_path, "spx", content)
    mlflow.set_registered_model_alias("spx", "champion", "2")
    mlflow.set_registered_model_alias("spx", "challenger", "3")
    told = client.import_mlflow(dry_run=True)
    assert [(a.mlflow_version, a.version, a.stage) for a in told] == [
        ("1", 0, Stage.TRAINING),
        ("2", 0, Stage.PRODUCTION),
        ("3", 0, Stage.STAGING),
    ]
    with pytest.raises(errors.ModelNotFound):
        client.get_model("spx")
    adopted = client.import_mlflow()
    assert [(a.version, a.stage, a.problem) for a in adopted] == [
        (1, Stage.TRAINING, ""),
        (2, Stage.PRODUCTION, ""),
        (3, Stage.STAGING, ""),
    ]
    version = client.resolve("spx").version
    assert (version.version, version.params, version.metrics) == (2, {"depth": "4"}, {"accuracy": 0.57})
    assert (version.tags, version.mlflow_version) == ({"asset": "SPX"}, "2")
    assert (client.download(version, tmp_path / "copy") / "model.pkl").read_bytes() == b"two"
    assert client.import_mlflow() == ()
    eventually(lambda: mlflow.get_registered_model("spx").aliases.get("production") in {2, "2"})
    assert len(mlflow.search_model_versions("name='spx'")) == 3
    assert mlflow.get_model_version("spx", "2").run_id == version.run_id


def test_adoption_does_not_change_what_trades_here(client: Client, mlflow: Any, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"ours")
    ours = client.register("spx", tmp_path / "model.bin")
    client.promote(ours, to="staging")
    client.promote(ours, to="production", reason="it passed its tests")
    _shown(client, "spx/1")
    number = _register(mlflow, tmp_path, "spx", b"theirs")
    mlflow.set_registered_model_alias("spx", "champion", number)
    assert [one.stage for one in client.import_mlflow("spx", dry_run=True)] == [Stage.TRAINING]
    [adopted] = client.import_mlflow("spx")
    assert (adopted.version, adopted.stage) == (2, Stage.TRAINING)
    assert client.resolve("spx").version.version == 1


def test_an_import_goes_around_no_approval(client: Client, mlflow: Any, tmp_path: Path) -> None:
    client.create_model("spx")
    client.set_promotion_policy(PromotionPolicy("spx", required_approvals=(RequiredApproval(("risk",)),)))
    first, second = (_register(mlflow, tmp_path, "spx", content) for content in (b"one", b"two"))
    mlflow.set_registered_model_alias("spx", "champion", first)
    mlflow.set_registered_model_alias("spx", "challenger", second)
    for dry_run in (True, False):
        assert [one.stage for one in client.import_mlflow("spx", dry_run=dry_run)] == [Stage.TRAINING, Stage.STAGING]


def test_after_an_import_each_stage_has_one_alias(client: Client, mlflow: Any, tmp_path: Path) -> None:
    def aliases() -> dict[str, str]:
        return {name: str(number) for name, number in mlflow.get_registered_model("spx").aliases.items()}

    for content in (b"one", b"two", b"three"):
        _register(mlflow, tmp_path, "spx", content)
    for name, number in (("champion", "2"), ("challenger", "3"), ("blessed", "1")):
        mlflow.set_registered_model_alias("spx", name, number)
    lost = "alias champion, which production replaces"
    assert client.import_mlflow(dry_run=True)[1].left_out == (lost,)
    assert aliases() == {"champion": "2", "challenger": "3", "blessed": "1"}
    assert client.import_mlflow()[1].left_out == (lost,)
    assert aliases() == {"production": "2", "staging": "3", "blessed": "1"}
    mlflow.set_registered_model_alias("spx", "champion", "1")  # And again, of one that is known.
    client.promote("spx/3", to="production", reason="better")
    assert client.import_mlflow() == ()
    assert aliases() == {"production": "3", "blessed": "1"}


def test_an_import_reads_every_page_and_every_name(
    client: Client, mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelward_server.mlflow.registry.PAGE_SIZE", 2)
    for name in ("a", "b", "it's", 'so "called"', "c"):
        for content in (b"one", b"two", b"three"):
            _register_in(mlflow, tmp_path, name, content)
    told = client.import_mlflow()
    assert [(one.model, one.version) for one in told if not one.problem] == [
        (name, number) for name in ("a", "b", "c") for number in (1, 2, 3)
    ]
    assert {one.model for one in told if "rename it" in one.problem} == {"it's", 'so "called"'}


def _register_in(mlflow: Any, folder: Path, name: str, content: bytes) -> None:
    """Register a version of a model of any name, also of one that no filter of MLflow's finds."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        mlflow.create_registered_model(name)
    place = folder / "files" / name.replace("/", "") / content.decode()
    place.mkdir(parents=True)
    (place / "model.bin").write_bytes(content)
    mlflow.create_model_version(name, place.as_uri())


def test_a_link_that_leads_nowhere_is_that_versions_problem(client: Client, mlflow: Any, tmp_path: Path) -> None:
    folder = tmp_path / "files" / "linked"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"model")
    (folder / "weights").symlink_to(folder / "gone")
    mlflow.create_registered_model("linked")
    number = mlflow.create_model_version("linked", folder.as_uri()).version
    mlflow.set_registered_model_alias("linked", "champion", number)
    _register(mlflow, tmp_path, "whole", b"one")
    linked, whole = client.import_mlflow()
    assert (linked.version, "'weights' is a link that leads nowhere" in linked.problem) == (0, True)
    assert (whole.version, whole.problem) == (1, "")
    assert list(mlflow.get_registered_model("linked").aliases) == ["champion"]  # Nothing replaces it yet.
    with pytest.raises(errors.InvalidField, match="'weights' is a link that leads nowhere"):
        client.register_uri("linked", folder.as_uri())


def test_version_whose_files_are_gone_is_told_and_left(client: Client, mlflow: Any, tmp_path: Path) -> None:
    mlflow.create_registered_model("hollow")
    mlflow.create_model_version("hollow", str(tmp_path / "nothing"))
    [left] = client.import_mlflow()
    assert left.version == 0
    assert "hollow" in left.problem
    mlflow.create_registered_model("not a name here")
    _ = mlflow.create_model_version("not a name here", str(tmp_path / "nothing"))
    assert any("rename it" in adopted.problem for adopted in client.import_mlflow())


def test_alias_of_staging_points_to_the_version_that_came_last(client: Client, mlflow: Any, tmp_path: Path) -> None:
    def shown() -> str:
        eventually(lambda: not client.reconcile_mlflow("spx", dry_run=True).differences)
        return str(mlflow.get_model_version_by_alias("spx", "staging").tags["modelward.version"])

    (tmp_path / "model.bin").write_bytes(b"model")
    for _ in range(3):
        client.promote(client.register("spx", tmp_path / "model.bin"), to="staging")
    assert shown() == "3"
    client.promote("spx/3", to="production", reason="it passed its tests")
    assert shown() == "2"
    client.promote("spx/1", to="training")
    client.promote("spx/1", to="staging")
    assert shown() == "1"
    assert client.resolve("spx", alias="staging").version.version == 1


def test_what_somebody_changed_in_mlflow_is_found_and_mended(client: Client, mlflow: Any, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    for _ in range(2):
        version = client.register("spx", tmp_path / "model.bin", metrics={"accuracy": 0.57})
        client.promote(version, to="staging")
    client.promote("spx/1", to="production", reason="it passed its tests")
    first, second = _shown(client, "spx/1"), _shown(client, "spx/2")
    eventually(lambda: not client.reconcile_mlflow(dry_run=True).differences)
    mlflow.set_registered_model_alias("spx", "production", second.mlflow_version)
    mlflow.set_model_version_tag("spx", first.mlflow_version, "modelward.stage", "archived")
    mlflow.delete_run(second.run_id)
    found = client.reconcile_mlflow(dry_run=True)
    assert found.versions == 2
    problems = {(difference.version.version, difference.problem.partition(" ")[0]) for difference in found.differences}
    assert {(1, "the"), (2, "the")} <= problems
    said = [difference.problem for difference in found.differences]
    assert "the registry's tag says archived, not production" in said
    assert "the alias production does not point to it" in said
    assert "the alias production points to it" in said
    assert any(problem.endswith("is deleted") for problem in said)
    assert not any(difference.mended for difference in found.differences)
    mended = client.reconcile_mlflow("spx")
    assert all(difference.mended for difference in mended.differences)
    assert client.reconcile_mlflow().differences == ()
    with pytest.raises(errors.ModelNotFound):
        client.reconcile_mlflow("absent")


def test_import_and_register_read_no_path_that_is_not_allowed(client: Client, mlflow: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.txt").write_text("not for you")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "link").symlink_to(secret)
    sources = (secret.as_uri(), str(secret), f"{tmp_path}/files/../secret", str(tmp_path / "files" / "link"))
    for number, source in enumerate((*sources, "s3://elsewhere/1"), 1):
        name = f"foreign-{number}"
        mlflow.create_registered_model(name)
        mlflow.create_model_version(name, source)
        [left] = client.import_mlflow(name)
        assert (left.version, "MODELWARD_ALLOWED_SOURCES" in left.problem) == (0, True)
        with pytest.raises(errors.SourceNotAllowed, match=r"models:/foreign-\d/1"):
            client.register_uri("spx", f"models:/{name}/1")
    run = mlflow.create_run(mlflow.create_experiment("elsewhere", artifact_location=secret.as_uri()))
    for place in (f"runs:/{run.info.run_id}", f"runs:/{run.info.run_id}/key.txt"):
        with pytest.raises(errors.SourceNotAllowed):
            client.register_uri("spx", place)
    assert not list(client.list_models())


def test_what_the_mirror_put_into_the_own_mlflow_is_read_from_there(client: Client, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"ours")
    shown = _shown(client, str(client.register("spx", tmp_path / "model.bin").ref))
    copied = client.register_uri("copy", f"models:/spx/{shown.mlflow_version}")
    assert {file.sha256 for file in shown.files} <= {file.sha256 for file in copied.files}


def test_one_version_that_is_odd_keeps_no_other_from_adoption(
    client: Client, mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (b"one", b"two", b"three", b"four"):
        _register(mlflow, tmp_path, "spx", content)
    runs = [mlflow.get_model_version("spx", str(number)).run_id for number in range(1, 5)]
    mlflow.log_metric(runs[0], "loss", math.nan)
    mlflow.log_param(runs[0], "_odd", "name")
    foreign, copied = MlflowRegistry._foreign, Sources.copy_artifact

    def unreadable(self: MlflowRegistry, version: Any, aliases: Any) -> Any:
        if str(version.version) == "2":
            raise KeyError("nobody foresaw this")
        return foreign(self, version, aliases)

    def broken(self: Sources, uri: str, blobs: Any) -> Any:
        if uri.endswith("/3"):
            raise OSError("the link is broken")
        return copied(self, uri, blobs)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowRegistry, "_foreign", unreadable)
        patched.setattr(Sources, "copy_artifact", broken)
        dry = client.import_mlflow(dry_run=True)
        told = client.import_mlflow()
    assert set(dry[0].left_out) == {"metric loss (nan)", "param _odd (name)"}
    assert [(one.mlflow_version, one.version) for one in told] == [("1", 1), ("2", 0), ("3", 0), ("4", 2)]
    assert told[0].left_out == dry[0].left_out
    assert client.get_version("spx/1").metrics == {"accuracy": 0.57}
    assert "MLflow cannot read it" in told[1].problem
    assert "adopting spx/3 failed: OSError" in told[2].problem
    assert (told[3].problem, told[3].left_out) == ("", ())
    assert [one.version for one in client.import_mlflow()] == [3, 4]  # What failed is adopted once it can be.


def test_one_version_that_cannot_be_reconciled_hides_no_other(
    client: Client, mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    for model in ("a", "b"):
        client.register(model, tmp_path / "model.bin")
        mlflow.delete_run(_shown(client, f"{model}/1").run_id)
    differences = MlflowRegistry.differences

    def broken(self: MlflowRegistry, version: Any, holders: Any) -> Any:
        if version.model == "a":
            raise TypeError("nobody foresaw this")
        return differences(self, version, holders)

    monkeypatch.setattr(MlflowRegistry, "differences", broken)
    first, *rest = client.reconcile_mlflow().differences
    assert (first.version.model, first.mended) == ("a", False)
    assert "reconciling a/1 failed: TypeError" in first.problem
    assert [(one.version.model, one.mended) for one in rest] == [("b", True)]
