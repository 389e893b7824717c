"""References that an older server stored are still read, or the answer says to set them again."""

import inspect
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from modelward import AsyncClient, ModelVersion, errors
from modelward_server.storage.drift_tables import ReferenceRow
from tests.support.running_server import RunningServer

STORED = Path(__file__).parent / "profile_format_3.npz"
"""A profile of 200 rows as the server wrote it that had format 3, of the columns of `rows_like_then`."""


def rows_like_then(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "price": random.normal(size=200).round(2),
        "side": np.array(["buy", "sell", "hold"], object)[random.choice(3, 200, p=[0.5, 0.3, 0.2])],
        "open": random.random(200) < 0.6,
    }


@pytest.fixture
async def version(client: AsyncClient, name: str, tmp_path: Path) -> ModelVersion:
    (tmp_path / "model.txt").write_text("weights")
    found: ModelVersion = await client.register(name, tmp_path / "model.txt", reference=rows_like_then(0))
    return found


def store(server: RunningServer, version: ModelVersion, profile: bytes) -> None:
    """Put a profile in the place of the one that this server stored."""
    digest = server.app.blobs.put_bytes(profile)
    with server.app.ledger.writing() as session:
        session.execute(update(ReferenceRow).where(ReferenceRow.model == version.model).values(digest=digest))


@pytest.mark.system
async def test_profile_of_format_3_is_compared_feature_by_feature(
    client: AsyncClient, server: RunningServer, version: ModelVersion
) -> None:
    store(server, version, STORED.read_bytes())
    unchanged = await client.detect_drift(version, rows_like_then(1))
    assert not unchanged.drift_detected
    assert {one.name: one.drifted for one in unchanged.features} == dict.fromkeys(("price", "side", "open"), False)
    assert unchanged.joint.rows == 0, "the places of its categories were others, so nothing is joined"
    changed = rows_like_then(2)
    shifted = changed | {"price": changed["price"] + 2, "open": np.zeros(200, np.bool_)}
    report = await client.detect_drift(version, shifted)
    assert {one.name for one in report.features if one.drifted} == {"price", "open"}
    observer = await client.observe(version, sender="engine", rows=200)
    observed = observer.add(shifted)
    [window] = (await observed if inspect.isawaitable(observed) else observed).reports
    assert window.drift_detected
    await client.set_reference(version, rows_like_then(0))
    assert (await client.detect_drift(version, rows_like_then(1))).joint.rows > 0


@pytest.mark.parametrize("format_", [2, 99])
async def test_profile_of_another_format_is_refused_with_what_to_do(
    client: AsyncClient, server: RunningServer, version: ModelVersion, format_: int
) -> None:
    arrays = dict(np.load(STORED))
    header = json.loads(arrays["header"].tobytes()) | {"format": format_}
    packed = io.BytesIO()
    np.savez(packed, **arrays | {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)})
    store(server, version, packed.getvalue())
    with pytest.raises(errors.ReferenceNotFound, match="set it again from the same data"):
        await client.detect_drift(version, rows_like_then(1))
