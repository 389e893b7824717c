"""What MLflow shows of the ledger, on a local database and on a tracking server."""

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelward import ArtifactDeletion, ArtifactFile, Model, ModelFormat, ModelVersion, Stage, errors
from modelward.drift import Reference
from modelward.inventory import Lineage, SourceCode
from modelward_server.mlflow import run_data
from modelward_server.mlflow.client import MlflowFiles
from modelward_server.mlflow.details import Details, MetricPoint, ShownDrift
from modelward_server.mlflow.logged_models import id_of_source
from modelward_server.mlflow.mirror import MlflowMirror
from tests.support.mlflow_tables import write_mlflow_tables
from tests.support.ports import free_port

pytestmark = [pytest.mark.system, pytest.mark.weekly("server")]  # Runs an MLflow server.

NOW = datetime(2026, 3, 2, 14, 31, tzinfo=UTC)
MODEL = Model("spx-direction", "Direction of the S&P 500", {"desk": "index"}, NOW, NOW, 1, 0, None, "r1")


def _version(number: int, **changes: Any) -> ModelVersion:
    version = ModelVersion(
        model="spx-direction",
        version=number,
        stage=Stage.TRAINING,
        description="random forest",
        tags={"asset": "SPX"},
        params={"n_estimators": "300"},
        metrics={"accuracy": 0.57},
        files=(ArtifactFile("model.skops", 5, "0" * 64),),
        format=ModelFormat.SKOPS,
        framework="scikit-learn 1.7.2",
        digest=f"digest-{number}",
        created_by="ann",
        created_at=NOW,
        updated_at=NOW,
        stage_since=NOW,
        run_id="",
        mlflow_version="",
        references=(),
        etag="r1",
        lineage=Lineage(SourceCode("https://git.example.com/x.git", "0123abc")),
    )
    return replace(version, **changes)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    blob = tmp_path / hashlib.sha256(b"skops").hexdigest()
    blob.write_bytes(b"skops")
    return {"model.skops": blob}


@pytest.fixture(params=["database", pytest.param("server", marks=pytest.mark.system)])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "server":
        url: str = request.getfixturevalue("tracking_server")
        return url
    write_mlflow_tables(tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def mirror(uri: str, tmp_path: Path) -> MlflowMirror:
    return MlflowMirror(uri, str(tmp_path / "artifacts") if uri.startswith("sqlite") else None)


@pytest.fixture
def model(uri: str, request: pytest.FixtureRequest) -> Model:
    """A model of its own for each test, because the tracking server is shared."""
    return replace(MODEL, name=f"spx.{abs(hash(request.node.name))}")


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri, registry_uri=uri)


def test_version_shows_with_everything_a_data_scientist_looks_for(
    uri: str, mirror: MlflowMirror, model: Model, files: dict[str, Path], tmp_path: Path
) -> None:
    shown = mirror.sync(_version(1, model=model.name), model, files, [])
    client = _client(uri)
    run = client.get_run(shown.run_id)
    assert run.info.run_name == f"{model.name} v1"
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"accuracy": 0.57}
    assert run.data.params == {"n_estimators": "300"}
    assert (run.data.tags["asset"], run.data.tags["mlflow.note.content"]) == ("SPX", "random forest")
    code = [run.data.tags[f"mlflow.source.git.{key}"] for key in ("repoURL", "commit")]
    assert code == ["https://git.example.com/x.git", "0123abc"]
    registered = client.get_registered_model(model.name)
    assert (registered.description, registered.tags["desk"]) == (model.description, "index")
    version = client.get_model_version(model.name, shown.mlflow_version)
    assert (version.run_id, version.description) == (shown.run_id, "random forest")
    assert version.tags["modelward.stage"] == "training"
    folder = MlflowFiles(uri).download(f"models:/{model.name}/{shown.mlflow_version}", tmp_path / "copy")
    assert (folder / "model.skops").read_bytes() == b"skops"
    assert "serialization_format: skops" in (folder / "MLmodel").read_text()
    assert "scikit-learn==1.7.2" in (folder / "requirements.txt").read_text()


def test_sync_twice_is_sync_once(uri: str, mirror: MlflowMirror, model: Model, files: dict[str, Path]) -> None:
    version = _version(1, model=model.name)
    first = mirror.sync(version, model, files, [])
    assert mirror.sync(version, model, files, []) == first
    client = _client(uri)
    experiment = client.get_experiment_by_name(model.name).experiment_id
    assert len(client.search_runs([experiment])) == 1
    assert len(client.search_model_versions(f"name='{model.name}'")) == 1
    assert len(client.search_logged_models([experiment])) == 1
    assert len(client.get_metric_history(first.run_id, "accuracy")) == 1


@pytest.mark.parametrize(
    "step",
    [
        "log_model_artifacts",
        "log_outputs",
        "finalize_logged_model",
        "log_batch",
        "set_terminated",
        "create_model_version",
    ],
)
def test_sync_that_broke_off_is_finished_by_the_next_one(
    uri: str, mirror: MlflowMirror, model: Model, files: dict[str, Path], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = _version(1, model=model.name)

    def fail(*_: object, **__: object) -> None:
        raise OSError("broke off")

    with monkeypatch.context() as broken:
        broken.setattr(mirror._client, step, fail)
        with pytest.raises(errors.StoreUnavailable, match="broke off"):
            mirror.sync(version, model, files, [])
    shown = mirror.sync(version, model, files, [])
    client = _client(uri)
    experiment = client.get_experiment_by_name(model.name).experiment_id
    assert [run.info.run_id for run in client.search_runs([experiment])] == [shown.run_id]
    assert len(client.search_model_versions(f"name='{model.name}'")) == 1
    assert len(client.search_logged_models([experiment])) == 1


def test_stages_show_as_aliases_of_the_version_that_is_there(
    uri: str, mirror: MlflowMirror, model: Model, files: dict[str, Path]
) -> None:
    def aliases() -> dict[str, str]:
        found = _client(uri).get_registered_model(model.name).aliases
        return {alias: str(version) for alias, version in found.items()}

    first, second = (
        _version(1, model=model.name, stage=Stage.PRODUCTION),
        _version(2, model=model.name, stage=Stage.STAGING),
    )
    one, two = (mirror.sync(version, model, files, [first, second]).mlflow_version for version in (first, second))
    assert aliases() == {"production": one, "staging": two}
    first, second = replace(first, stage=Stage.ARCHIVED), replace(second, stage=Stage.PRODUCTION, mlflow_version=two)
    mirror.sync(first, model, files, [second])
    assert aliases()["production"] == two
    mirror.sync(second, model, files, [second])
    assert aliases() == {"production": two}
    assert _client(uri).get_model_version(model.name, one).tags["modelward.stage"] == "archived"


def test_files_that_are_deleted_are_deleted_there_too(
    uri: str, mirror: MlflowMirror, model: Model, files: dict[str, Path], tmp_path: Path
) -> None:
    versions = [_version(number, model=model.name) for number in (1, 2)]
    first, second = (mirror.sync(version, model, files, []) for version in versions)
    deleted = replace(versions[0], artifact_deletion=ArtifactDeletion("ann", "superseded", NOW))
    for _ in range(2):
        assert mirror.sync(deleted, model, {}, []) == first
    client = _client(uri)
    gone, kept = (client.get_model_version(model.name, one.mlflow_version) for one in (first, second))
    assert (client.get_run(first.run_id).data.params, gone.tags["asset"]) == ({"n_estimators": "300"}, "SPX")
    assert client.list_logged_model_artifacts(id_of_source(gone)) == []
    assert "model.skops" in {file.path for file in client.list_logged_model_artifacts(id_of_source(kept))}


def test_a_version_without_files_is_shown(uri: str, mirror: MlflowMirror, model: Model) -> None:
    """Its files were deleted before MLflow could be reached."""
    deletion = ArtifactDeletion("ann", "superseded", NOW)
    shown = mirror.sync(_version(1, model=model.name, artifact_deletion=deletion), model, {}, [])
    assert _client(uri).get_model_version(model.name, shown.mlflow_version).tags["modelward.version"] == "1"


def test_later_facts_are_shown_too(uri: str, mirror: MlflowMirror, model: Model, files: dict[str, Path]) -> None:
    shown = mirror.sync(_version(1, model=model.name), model, files, [])
    changed = _version(1, model=model.name, description="now reviewed", metrics={"accuracy": 0.6, "live": 0.5})
    mirror.sync(changed, replace(model, description="Direction, daily"), files, [])
    client = _client(uri)
    run = client.get_run(shown.run_id)
    assert run.data.metrics == {"accuracy": 0.6, "live": 0.5}
    assert run.data.tags["mlflow.note.content"] == "now reviewed"
    assert client.get_model_version(model.name, shown.mlflow_version).description == "now reviewed"
    assert client.get_registered_model(model.name).description == "Direction, daily"


def test_tags_that_are_gone_vanish_and_those_of_others_stay(
    uri: str, mirror: MlflowMirror, model: Model, files: dict[str, Path]
) -> None:
    shown = mirror.sync(_version(1, model=model.name), model, files, [])
    client = _client(uri)
    client.set_tag(shown.run_id, "theirs", "kept")
    client.set_model_version_tag(model.name, shown.mlflow_version, "theirs", "kept")
    mirror.sync(_version(1, model=model.name, tags={}), replace(model, tags={}), files, [])
    for tags in (
        client.get_run(shown.run_id).data.tags,
        client.get_model_version(model.name, shown.mlflow_version).tags,
        client.get_registered_model(model.name).tags | {"theirs": "kept"},
    ):
        assert "asset" not in tags
        assert "desk" not in tags
        assert tags["theirs"] == "kept"


def test_details_are_shown_once(uri: str, mirror: MlflowMirror, model: Model, files: dict[str, Path]) -> None:
    version = _version(1, model=model.name, metrics={"accuracy": 0.6})
    values = enumerate((0.57, 0.59, 0.6))
    points = [MetricPoint(i + 1, "accuracy", value, NOW + timedelta(hours=i), i) for i, value in values]
    details = Details(
        references=[Reference(version.ref, "default", 300, (), NOW, "ann", "5" * 64)],
        drift=ShownDrift("report-1", NOW, 0.31, drift_detected=True),
        points_after=lambda shown: [point for point in points if point.id > shown],
    )
    for _ in range(2):
        shown = mirror.sync(version, model, files, [], details=details)
    client = _client(uri)
    run = client.get_run(shown.run_id)
    [given] = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == (f"{model.name}-v1-default", "5" * 36)
    assert [(one.step, one.value) for one in client.get_metric_history(shown.run_id, "accuracy")] == [
        (0, 0.57),
        (1, 0.59),
        (2, 0.6),
    ]
    assert len(client.get_metric_history(shown.run_id, "modelward.drift_score")) == 1
    assert run.data.tags["modelward.drift"] == "drift detected, score 0.310 (report report-1, 2026-03-02 14:31 UTC)"


def test_new_version_takes_one_call_for_each_kind_of_fact(
    mirror: MlflowMirror, model: Model, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.sync(_version(1, model=model.name), model, files, [])
    calls: Counter[str] = Counter()
    names = ("log_batch", "log_model_artifacts", "set_logged_model_tags", "get_run", "search_logged_models")
    for name in names:
        monkeypatch.setattr(mirror._client, name, _counted(getattr(mirror._client, name), calls, name))
    points = [MetricPoint(1, "accuracy", 0.57, NOW, 0)]
    mirror.sync(_version(2, model=model.name), model, files, [], details=Details(points_after=lambda _: points))
    assert calls == {"log_batch": 1, "log_model_artifacts": 1}


def _counted(method: Callable[..., Any], calls: Counter[str], name: str) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        calls[name] += 1
        return method(*args, **options)

    return call


def test_more_values_than_fit_a_batch_are_complete_after_a_break(
    uri: str, mirror: MlflowMirror, model: Model, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_data, "MAX_BATCH", 10)
    version = _version(1, model=model.name, metrics={"accuracy": -19.0})
    points = [MetricPoint(i + 1, "accuracy", float(-i), NOW, i) for i in range(20)]
    details = Details(points_after=lambda shown: [point for point in points if point.id > shown])

    log_batch = mirror._client.log_batch

    def log_only_metrics(run_id: str, metrics: object, params: object = (), tags: object = ()) -> None:
        if tags:
            raise OSError("broke off")
        log_batch(run_id, metrics)

    with monkeypatch.context() as broken:
        broken.setattr(mirror._client, "log_batch", log_only_metrics)
        with pytest.raises(errors.StoreUnavailable, match="broke off"):
            mirror.sync(version, model, files, [], details=details)
    shown = mirror.sync(version, model, files, [], details=details)
    history = _client(uri).get_metric_history(shown.run_id, "accuracy")
    assert [one.step for one in history if one.value <= -1] == list(range(1, 20))


def test_run_that_somebody_deleted_comes_back_as_the_same_version(
    uri: str, mirror: MlflowMirror, model: Model, files: dict[str, Path]
) -> None:
    shown = mirror.sync(_version(1, model=model.name), model, files, [])
    _client(uri).delete_run(shown.run_id)
    assert mirror.sync(_version(1, model=model.name), model, files, []) == shown
    assert _client(uri).get_run(shown.run_id).info.lifecycle_stage == "active"


def test_version_is_fetched_by_a_process_that_never_synced(
    uri: str, mirror: MlflowMirror, model: Model, files: dict[str, Path], tmp_path: Path
) -> None:
    shown = mirror.sync(_version(1, model=model.name), model, files, [])
    source = f"models:/{model.name}/{shown.mlflow_version}"
    code = (
        "import sys; from pathlib import Path; from modelward_server.mlflow.client import MlflowFiles;"
        "print(MlflowFiles(sys.argv[1]).download(sys.argv[2], Path(sys.argv[3])))"
    )
    command = [sys.executable, "-c", code, uri, source, str(tmp_path / "copy")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (Path(done.stdout.strip()) / "model.skops").read_bytes() == b"skops"


def test_mlflow_that_is_away_is_an_unavailable_store(files: dict[str, Path]) -> None:
    mirror = MlflowMirror(f"http://127.0.0.1:{free_port()}", None)
    with pytest.raises(errors.StoreUnavailable, match="MLflow"):
        mirror.sync(_version(1), MODEL, files, [])


def test_download_of_nothing_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        MlflowFiles(f"sqlite:///{tmp_path}/mlflow.db").download("models:/absent/1", tmp_path)
    assert caught.value.violations[0].field == "source_uri"
