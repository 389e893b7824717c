"""Models and versions: create, register, read, list, update."""

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from modelward import AsyncClient, MetricRange, ModelFormat, Stage, errors
from tests.support.clients import collect
from tests.support.onnx_files import linear_model

PICKLE = pickle.dumps({"weights": [0.5, -1.0]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artifact of two files."""
    (tmp_path / "artifact" / "data").mkdir(parents=True)
    (tmp_path / "artifact" / "model.pkl").write_bytes(PICKLE)
    (tmp_path / "artifact" / "data" / "vocab.txt").write_text("alpha beta")
    return tmp_path / "artifact"


async def test_created_model_is_returned_as_it_was_described(client: AsyncClient, name: str) -> None:
    created = await client.create_model(name, description="Direction of the S&P 500", tags={"desk": "index"})
    assert created == await client.get_model(name)
    assert (created.description, created.tags) == ("Direction of the S&P 500", {"desk": "index"})
    assert (created.latest_version, created.production_version) == (0, 0)


async def test_creating_a_model_twice_says_that_it_exists(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    with pytest.raises(errors.ModelExists) as caught:
        await client.create_model(name)
    assert caught.value.metadata == {"model": name}


@pytest.mark.parametrize("bad", ["", "a" * 129, "-leading-dash", "with space", "with/slash", "nul\0", "é"])
async def test_model_names_outside_the_rule_are_refused(client: AsyncClient, bad: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.create_model(bad)
    assert [violation.field for violation in caught.value.violations] == ["model"]
    assert "letters, digits" in caught.value.violations[0].description


async def test_registered_version_carries_everything_it_was_given(client: AsyncClient, name: str, folder: Path) -> None:
    before = datetime.now(UTC)
    version = await client.register(
        name,
        folder,
        metrics={"accuracy": 0.57, "log_loss": 0.68},
        params={"depth": "4"},
        tags={"asset": "SPX"},
        description="first try",
    )
    assert (version.model, version.version, version.stage) == (name, 1, Stage.TRAINING)
    assert version.metrics == {"accuracy": 0.57, "log_loss": 0.68}
    assert (version.params, version.tags, version.description) == ({"depth": "4"}, {"asset": "SPX"}, "first try")
    assert [(file.path, file.size_bytes) for file in version.files] == [
        ("data/vocab.txt", 10),
        ("model.pkl", len(PICKLE)),
    ]
    assert (version.format, version.created_by) == (ModelFormat.PICKLE, "tester")
    assert before <= version.created_at == version.stage_since <= datetime.now(UTC)
    assert (await client.get_model(name)).latest_version == 1


async def test_estimator_comes_back_from_the_registry_with_the_same_predictions(client: AsyncClient, name: str) -> None:
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    model = LogisticRegression(C=0.5).fit(x, y)
    version = await client.register(name, model)
    assert version.format is ModelFormat.SKOPS
    assert version.framework.startswith("scikit-learn ")
    assert version.params["C"] == "0.5"
    loaded = await client.load(version)
    np.testing.assert_array_equal(loaded.predict_proba(x), model.predict_proba(x))


async def test_download_writes_every_file_as_it_was_registered(client: AsyncClient, name: str, folder: Path) -> None:
    await client.register(name, folder)
    target = await client.download(f"{name}/1", folder.parent / "copy")
    assert (target / "model.pkl").read_bytes() == PICKLE
    assert (target / "data" / "vocab.txt").read_text() == "alpha beta"


async def test_file_of_many_chunks_survives_the_way_there_and_back(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    content = np.random.default_rng(7).bytes(5_000_001)
    (tmp_path / "weights.bin").write_bytes(content)
    version = await client.register(name, tmp_path / "weights.bin")
    assert version.format is ModelFormat.OTHER
    await client.download(version, tmp_path / "copy")
    assert (tmp_path / "copy" / "weights.bin").read_bytes() == content


async def test_empty_file_is_a_file_like_any_other(client: AsyncClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    await client.register(name, tmp_path / "empty")
    await client.download(f"{name}/1", tmp_path / "copy")
    assert (tmp_path / "copy" / "empty").read_bytes() == b""


async def test_same_files_have_the_same_digest(client: AsyncClient, name: str, folder: Path) -> None:
    first, second = await client.register(name, folder), await client.register(name, folder)
    assert (first.version, second.version) == (1, 2)
    assert first.digest == second.digest


async def test_pickle_is_stored_but_not_loaded(client: AsyncClient, name: str, folder: Path) -> None:
    version = await client.register(name, folder)
    with pytest.raises(errors.FormatNotExecutable, match="download it and load it yourself"):
        await client.load(version)


async def test_pickle_is_loaded_by_who_allows_it(client: AsyncClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))
    version = await client.register(name, tmp_path / "model.pkl")
    loaded = await client.load(version, allow_pickle=True)
    assert loaded.raw == {"weights": [1.0, 2.0]}
    with pytest.raises(TypeError, match="a dict has no method predict, and cannot be called"):
        loaded.predict([[1.0]])


async def test_format_that_nobody_knows_is_not_loaded_as_a_pickle(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights, then " + PICKLE)
    version = await client.register(name, tmp_path / "model.bin")
    with pytest.raises(errors.FormatNotExecutable, match="stored as other"):
        await client.load(version, allow_pickle=True)


async def test_version_is_registered_from_a_place_that_the_operator_allows(
    client: AsyncClient, name: str, inbox: Path
) -> None:
    (inbox / name).mkdir()
    (inbox / name / "model.onnx").write_bytes(linear_model([1.0], 0.0))
    version = await client.register_uri(name, f"file://{inbox / name}")
    assert [file.path for file in version.files] == ["model.onnx"]
    assert version.format is ModelFormat.ONNX


@pytest.mark.parametrize("path", ["/etc", "{inbox}/../secret", "{inbox}/link"])
async def test_reading_outside_the_allowed_places_is_refused(
    client: AsyncClient, name: str, inbox: Path, path: str
) -> None:
    (inbox.parent / "secret").mkdir(exist_ok=True)
    (inbox.parent / "secret" / "key").write_text("secret")
    link = inbox / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(inbox.parent / "secret")
    with pytest.raises(errors.SourceNotAllowed, match="MODELWARD_ALLOWED_SOURCES"):
        await client.register_uri(name, f"file://{path.format(inbox=inbox)}")
    with pytest.raises(errors.ModelNotFound):
        await client.get_model(name)


async def test_link_inside_an_allowed_folder_does_not_smuggle_a_file_out(
    client: AsyncClient, name: str, inbox: Path
) -> None:
    (inbox / name).mkdir()
    (inbox / name / "model.pkl").symlink_to("/etc/hostname")
    with pytest.raises(errors.InvalidField, match="leads out of the folder"):
        await client.register_uri(name, f"file://{inbox / name}")


async def test_registering_from_where_nothing_is_names_the_field(client: AsyncClient, name: str, inbox: Path) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.register_uri(name, f"file://{inbox}/absent")
    assert caught.value.violations[0].field == "source_uri"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
async def test_metric_that_is_not_finite_registers_nothing(
    client: AsyncClient, name: str, folder: Path, value: float
) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.register(name, folder, metrics={"accuracy": value})
    assert caught.value.violations[0].field == 'metrics["accuracy"]'
    with pytest.raises(errors.ModelNotFound):
        await client.get_model(name)


async def test_every_field_that_is_wrong_is_named_at_once(client: AsyncClient, folder: Path) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.register("", folder, metrics={"accuracy": float("nan")}, tags={"?": "x"})
    assert {violation.field for violation in caught.value.violations} == {
        "model",
        'metrics["accuracy"]',
        'tags["?"]',
    }


async def test_object_that_is_no_model_is_refused_before_anything_is_sent(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.InvalidField, match="is not a path, a scikit-learn estimator or an ONNX model"):
        await client.register(name, {"not": "a model"})


@pytest.mark.parametrize(
    "ref", ["nothing", "model/", "/3", "model/x", "model/-1", "model/99999999999", "model/³", "model/0"]
)
async def test_text_that_is_no_version_is_refused(client: AsyncClient, ref: str) -> None:
    with pytest.raises(errors.InvalidField):
        await client.get_version(ref)


async def test_missing_versions_and_models_are_told_apart(client: AsyncClient, name: str, folder: Path) -> None:
    with pytest.raises(errors.ModelNotFound):
        await client.get_version(f"{name}/1")
    await client.register(name, folder)
    with pytest.raises(errors.VersionNotFound, match="go up to 1"):
        await client.get_version(f"{name}/2")


async def test_update_changes_what_is_named_and_nothing_else(client: AsyncClient, name: str, folder: Path) -> None:
    version = await client.register(name, folder, description="old", tags={"a": "1"})
    changed = await client.update_version(version, description="new")
    assert (changed.description, changed.tags) == ("new", {"a": "1"})
    assert (await client.update_version(version, tags={})).tags == {}
    model = await client.update_model(name, tags={"desk": "index"})
    assert (model.description, model.tags) == ("", {"desk": "index"})


async def test_update_of_nothing_is_refused(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    with pytest.raises(errors.InvalidField) as caught:
        await client.update_model(name)
    assert caught.value.violations[0].field == "update_mask"


async def test_stale_etag_aborts_and_tells_the_current_one(client: AsyncClient, name: str, folder: Path) -> None:
    version = await client.register(name, folder)
    newer = await client.update_version(version, description="by somebody else")
    with pytest.raises(errors.EtagMismatch) as caught:
        await client.update_version(version, description="by me", etag=version.etag)
    assert caught.value.metadata["current_etag"] == newer.etag
    assert (await client.get_version(version)).description == "by somebody else"
    model = await client.get_model(name)
    await client.update_model(name, description="x", etag=model.etag)
    with pytest.raises(errors.EtagMismatch):
        await client.update_model(name, description="y", etag=model.etag)


async def test_latest_measured_metric_counts_whatever_the_order_of_arrival(
    client: AsyncClient, name: str, folder: Path
) -> None:
    version = await client.register(name, folder, metrics={"accuracy": 0.5, "depth": 3})
    now = datetime.now(UTC)
    await client.log_metrics(version, {"accuracy": 0.7}, measured_at=now + timedelta(minutes=2))
    late = await client.log_metrics(version, {"accuracy": 0.6}, measured_at=now + timedelta(minutes=1))
    assert late.metrics == {"accuracy": 0.7, "depth": 3}


async def test_instant_without_a_zone_is_refused(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.InvalidField, match="no time zone"):
        await client.resolve(name, as_of=datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake that is meant


async def test_models_are_filtered_by_name_stage_and_tag(client: AsyncClient, name: str, folder: Path) -> None:
    for suffix, tags in (("a", {"desk": "index"}), ("b", {"desk": "fx"}), ("c_", {})):
        await client.create_model(f"{name}.{suffix}", tags=tags)
    await client.register(f"{name}.b", folder)
    await client.promote(f"{name}.b/1", to="staging")

    async def names(**conditions: Any) -> list[str]:
        found = await collect(client.list_models(name_prefix=f"{name}.", **conditions))
        return [model.name.rpartition(".")[2] for model in found]

    assert await names() == ["a", "b", "c_"]
    assert await names(tags={"desk": "index"}) == ["a"]
    assert await names(stages=["staging", "production"]) == ["b"]
    assert await names(stages=["training"]) == []
    assert [m.name for m in await collect(client.list_models(name_prefix=f"{name}.c%"))] == []


@pytest.mark.system
async def test_versions_are_filtered_by_stage_tag_metric_and_time(client: AsyncClient, name: str, folder: Path) -> None:
    for accuracy in (0.50, 0.55, 0.60):
        await client.register(name, folder, metrics={"accuracy": accuracy}, tags={"round": f"{accuracy:.2f}"})
    second = await client.get_version(f"{name}/2")
    await client.promote(second, to="staging")

    async def numbers(**conditions: Any) -> list[int]:
        return [version.version for version in await collect(client.list_versions(name, **conditions))]

    assert await numbers() == [3, 2, 1]
    assert await numbers(stages=[Stage.STAGING]) == [2]
    assert await numbers(tags={"round": "0.60"}) == [3]
    assert await numbers(metrics=[MetricRange("accuracy", at_least=0.55)]) == [3, 2]
    assert await numbers(metrics=[MetricRange("accuracy", at_least=0.51, at_most=0.59)]) == [2]
    assert await numbers(metrics=[MetricRange("absent")]) == []
    assert await numbers(created_after=second.created_at) == [3, 2]
    assert await numbers(created_before=second.created_at) == [1]
