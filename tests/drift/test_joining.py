"""Labels join their predictions in any order of arrival: compared with a model of a few lines."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelward import Client, ModelVersion, errors
from tests.support.running_server import RunningServer
from tests.support.scale import examples

pytestmark = pytest.mark.system  # Takes seconds.

T0 = datetime(2024, 3, 4, tzinfo=UTC)
Truth = dict[str, tuple[int, int]]
outcomes = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1)
names = count()


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.target) as client:
        yield client


def new_version(client: Client, name: str, folder: Path) -> ModelVersion:
    (folder / "model.bin").write_bytes(b"model")
    return client.register(f"{name}-{next(names)}", folder / "model.bin")


@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(truth=outcomes, data=st.data())
def test_in_whatever_order_and_however_often_the_parts_come(
    client: Client, name: str, tmp_path_factory: pytest.TempPathFactory, truth: Truth, data: st.DataObject
) -> None:
    version = new_version(client, name, tmp_path_factory.mktemp("model"))
    parts = [(one, side) for one in truth for side in (0, 1)]
    repeats = data.draw(st.lists(st.sampled_from(parts), max_size=8))
    order = data.draw(st.permutations(parts + repeats))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(order)), max_size=6)) | {len(order)})
    kept = [_send(client, version, truth, order[i:j]) for i, j in zip([0, *cuts], cuts, strict=False)]
    [found] = client.list_performance(version)
    right = [prediction == label for prediction, label in truth.values()]
    assert (found.predictions, found.labelled) == (len(truth), len(truth))
    assert found.metrics == pytest.approx({"accuracy": np.mean(right)})
    assert (sum(k[0] for k in kept), sum(k[1] for k in kept), kept[-1][2]) == (len(truth), len(truth), 0)
    flipped = data.draw(st.sampled_from(sorted(truth)))
    with pytest.raises(errors.InvalidField):
        client.record_outcomes(version, ["new", flipped], labels=[1, 1 - truth[flipped][1]])
    assert list(client.list_performance(version)) == [found]


def _send(client: Client, version: ModelVersion, truth: Truth, parts: list[tuple[str, int]]) -> tuple[int, int, int]:
    """Send parts in one call: 0 stands for the prediction of an id, 1 for its label."""
    kept = client.record_outcomes(
        version,
        [one for one, _ in parts],
        predictions=[truth[one][0] if side == 0 else None for one, side in parts],
        labels=[truth[one][1] if side == 1 else None for one, side in parts],
        predicted_at=T0,
    )
    return kept.predictions, kept.labels, kept.waiting
