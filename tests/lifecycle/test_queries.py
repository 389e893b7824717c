"""Lists with conditions, on each database: every way to find a page finds the same one as reading all would."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelward import Client, MetricRange, ModelVersion, Stage, Transition, errors
from modelward.shared.convert.common import stage_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.storage import search
from tests.support.running_server import RunningServer
from tests.support.scale import examples

MODELS = ("a", "b", "ba", "c")
VERSIONS = 5
LONG = "x" * 4999
"""With a digit, as long as a tag's value may be."""


class Population(list[ModelVersion]):
    """Versions in the order of the list; too many to print."""

    def __repr__(self) -> str:
        return f"<{len(self)} versions>"


@pytest.fixture(scope="module")
def sdk(server: RunningServer) -> Iterator[Client]:
    with Client(server.target, actor="tester") as client:
        yield client


@pytest.fixture(scope="module")
def prefix() -> str:
    return f"listing-{uuid4().hex[:8]}-"


@pytest.fixture(scope="module")
def population(sdk: Client, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Population:
    """All versions of a few models, in the order of the list."""
    file = tmp_path_factory.mktemp("listing") / "model.bin"
    file.write_bytes(b"model")
    for place, model in enumerate(MODELS):
        sdk.create_model(prefix + model, tags={"desk": "ab"[place % 2]})
        for number in range(1, VERSIONS + 1):
            _register(sdk, prefix + model, number, file)
    return Population(version for model in MODELS for version in sdk.list_versions(prefix + model))


def _register(sdk: Client, model: str, number: int, file: Path) -> None:
    tags = {"parity": str(number % 2), "long": LONG + str(number % 3)}
    version = sdk.register(model, file, tags=tags, metrics={"accuracy": number / 10, "depth": 3})
    if number > 1:
        sdk.promote(version, to="staging")
    if number == VERSIONS:
        sdk.promote(version, to="production", reason="it passed its tests")
        sdk.log_metrics(version, {"accuracy": 0.05})
        sdk.update_version(version, tags={"parity": "odd"})


@pytest.fixture(params=[0, 3, 2000], autouse=True)
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Walk along the list, or sort what one condition finds, or what fits."""
    monkeypatch.setattr(search, "FEW", request.param)


bounds = st.sampled_from([None, 0.05, 0.1, 0.2, 0.35, 3.0])
filters = st.fixed_dictionaries(
    {},
    optional={
        "stages": st.lists(st.sampled_from(Stage), max_size=3, unique=True),
        "tags": st.dictionaries(
            st.sampled_from(["parity", "long", "absent"]), st.sampled_from(["0", "1", "odd", LONG + "1"]), max_size=2
        ),
        "metrics": st.lists(
            st.builds(MetricRange, st.sampled_from(["accuracy", "depth", "absent"]), at_least=bounds, at_most=bounds),
            max_size=2,
        ),
        "after": st.integers(0, len(MODELS) * VERSIONS - 1),
        "before": st.integers(0, len(MODELS) * VERSIONS - 1),
        "model": st.sampled_from(MODELS),
        "name_prefix": st.sampled_from(["", "a", "b", "z"]),
    },
)


@pytest.mark.system
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters, st.integers(1, 7))
@pytest.mark.weekly("postgresql")
def test_pages_of_versions_are_those_of_the_whole_list_with_the_conditions_looked_at_one_by_one(
    server: RunningServer, population: Population, prefix: str, wanted: dict[str, Any], page_size: int
) -> None:
    conditions = _conditions(population, prefix, wanted)
    expected = [(v.model, v.version) for v in population if all(holds(v) for holds in conditions.values())]
    assert _pages(server, _request(population, prefix, wanted), page_size) == expected


def _conditions(
    population: Population, prefix: str, wanted: dict[str, Any]
) -> dict[str, Callable[[ModelVersion], bool]]:
    """Say what each condition means, in other words than the server's."""
    every: dict[str, Callable[[ModelVersion], bool]] = {
        "stages": lambda v: not wanted["stages"] or v.stage in wanted["stages"],
        "tags": lambda v: wanted["tags"].items() <= v.tags.items(),
        "metrics": lambda v: all(_lies_in(v.metrics.get(bounds.key), bounds) for bounds in wanted["metrics"]),
        "after": lambda v: v.created_at >= population[wanted["after"]].created_at,
        "before": lambda v: v.created_at < population[wanted["before"]].created_at,
        "model": lambda v: v.model == prefix + wanted["model"],
        "name_prefix": lambda v: v.model.startswith(prefix + wanted["name_prefix"]),
    }
    return {name: holds for name, holds in every.items() if name in wanted}


def _lies_in(value: float | None, bounds: MetricRange) -> bool:
    if value is None or (bounds.at_least is not None and value < bounds.at_least):
        return False
    return bounds.at_most is None or value <= bounds.at_most


def _request(population: Population, prefix: str, wanted: dict[str, Any]) -> pb.ListModelVersionsRequest:
    request = pb.ListModelVersionsRequest(
        model=prefix + wanted["model"] if "model" in wanted else "",
        name_prefix=prefix + wanted.get("name_prefix", ""),
        stages=[stage_to_proto(stage) for stage in wanted.get("stages", ())],
        tags=wanted.get("tags", {}),
        metrics=[pb.MetricRange(key=m.key, at_least=m.at_least, at_most=m.at_most) for m in wanted.get("metrics", ())],
    )
    if "after" in wanted:
        request.created_after.FromDatetime(population[wanted["after"]].created_at)
    if "before" in wanted:
        request.created_before.FromDatetime(population[wanted["before"]].created_at)
    return request


def _pages(server: RunningServer, request: pb.ListModelVersionsRequest, page_size: int) -> list[tuple[str, int]]:
    """Ask for page after page; only the last one may be short."""
    request.page_size = page_size
    found: list[tuple[str, int]] = []
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = LifecycleServiceStub(channel)
        while True:
            page = stub.ListModelVersions(request)
            found += [(version.model, version.version) for version in page.versions]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found
            assert len(page.versions) == page_size


@pytest.mark.parametrize("stages", [[], ["production"], ["training", "staging"], ["archived"]])
@pytest.mark.parametrize("tags", [{}, {"desk": "a"}, {"desk": "c"}, {"desk": "b", "absent": ""}])
def test_models_are_those_that_meet_every_condition(
    sdk: Client, population: Population, prefix: str, stages: list[str], tags: dict[str, str]
) -> None:
    standing = {version.model for version in population if not stages or version.stage in stages}
    expected = [
        prefix + name
        for place, name in enumerate(MODELS)
        if prefix + name in standing and tags.items() <= {"desk": "ab"[place % 2]}.items()
    ]
    found = [model.name for model in sdk.list_models(name_prefix=prefix, stages=stages, tags=tags)]
    assert found == expected


@pytest.mark.system
def test_conditions_see_a_change_of_tags_and_metrics_at_once(sdk: Client, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    version = sdk.register(name, tmp_path / "model.bin", tags={"desk": "fx"}, metrics={"accuracy": 0.5})
    sdk.update_version(version, tags={"desk": "rates"})
    sdk.log_metrics(version, {"accuracy": 0.7, "late": 1.0})
    sdk.log_metrics(version, {"accuracy": 0.1}, measured_at=datetime(2020, 1, 1, tzinfo=UTC))
    sdk.update_model(name, tags={"team": "macro"})
    assert [*sdk.list_versions(name, tags={"desk": "fx"})] == []
    assert [v.version for v in sdk.list_versions(name, tags={"desk": "rates"})] == [1]
    assert [v.version for v in sdk.list_versions(name, metrics=[MetricRange("accuracy", at_least=0.7)])] == [1]
    assert [*sdk.list_versions(name, metrics=[MetricRange("accuracy", at_most=0.6)])] == []
    assert [v.version for v in sdk.list_versions(name, metrics=[MetricRange("late")])] == [1]
    assert [m.name for m in sdk.list_models(name_prefix=name, tags={"team": "macro"})] == [name]
    sdk.update_model(name, tags={})
    assert [*sdk.list_models(name_prefix=name, tags={"team": "macro"})] == []


def test_token_of_another_list_is_refused(server: RunningServer, population: Population, prefix: str) -> None:
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = LifecycleServiceStub(channel)
        page = stub.ListModelVersions(pb.ListModelVersionsRequest(name_prefix=prefix, page_size=2))
        other = pb.ListModelVersionsRequest(name_prefix=prefix, page_token=page.next_page_token, tags={"parity": "1"})
        with pytest.raises(grpc.RpcError, match="page_token"):
            stub.ListModelVersions(other)


@pytest.mark.parametrize("after", [None, 0, 7, 17])
@pytest.mark.parametrize("before", [None, 3, 15])
def test_history_is_cut_by_time(
    sdk: Client, population: Population, prefix: str, after: int | None, before: int | None
) -> None:
    moves = [*sdk.list_transitions(prefix + "ba")][::-1]
    everything = [*sdk.list_transitions()]
    start, end = (None if at is None else moves[at % len(moves)].moved_at for at in (after, before))

    def meets(move: Transition) -> bool:
        return (start is None or move.moved_at >= start) and (end is None or move.moved_at < end)

    assert [*sdk.list_transitions(moved_after=start, moved_before=end)] == [m for m in everything if meets(m)]
    of_model = [*sdk.list_transitions(prefix + "ba", version=2, moved_after=start, moved_before=end)]
    assert of_model == [m for m in moves[::-1] if meets(m) and m.version.version == 2]


def test_versions_of_a_model_that_does_not_exist_are_not_found(sdk: Client, name: str) -> None:
    with pytest.raises(errors.ModelNotFound, match=name):
        list(sdk.list_versions(name))
    assert list(sdk.list_versions(name_prefix=name)) == []
