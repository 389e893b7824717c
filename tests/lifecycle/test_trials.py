"""Trials of versions: each is loaded and predicts before it may go into production."""

import asyncio
import pickle
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sqlalchemy import update

from modelward import AsyncClient, GateResult, ModelVersion, PromotionPolicy, Trial, TrialResult, errors
from modelward.signature import ColumnKind
from modelward_server.storage.tables import VersionRow
from tests.support.onnx_files import linear_model
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Runs models in processes.

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)), columns=["momentum", "vix"])
UP = np.where(FRAME.momentum > 0, "up", "down")
WITH_TEXT = FRAME.assign(venue=["NYSE", "CME"] * 100)
ENCODED = make_pipeline(
    make_column_transformer((OneHotEncoder(), ["venue"]), remainder="passthrough"), LogisticRegression()
)


async def tried(client: AsyncClient, version: ModelVersion) -> Trial:
    """Return the result of a version's trial."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (trial := (await client.get_version(version)).trial) is None or trial.result is TrialResult.PENDING:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    return trial


async def promoted(client: AsyncClient, version: ModelVersion) -> GateResult:
    """Promote a version to production and return its gate."""
    await client.promote(version, to="staging")
    [gate] = (await client.promote(version, to="production", reason="it passed its tests")).gates
    return gate


async def refused(client: AsyncClient, version: ModelVersion) -> str:
    """Ask for a promotion that is refused, and return the words."""
    with pytest.raises(errors.GatesFailed) as refusal:
        await promoted(client, version)
    return str(refusal.value)


async def test_a_promotion_right_after_registering_waits_for_the_trial(client: AsyncClient, name: str) -> None:
    version = await client.register(name, LogisticRegression().fit(FRAME, UP), reference=FRAME)
    gate = await promoted(client, version)
    assert gate == GateResult("usable", True, f"{version} was loaded and predicted 100 rows of its reference")
    assert (await tried(client, version)).tried_with == "100 rows of its reference"


async def test_a_trial_that_ends_is_resolved_at_once(
    client: AsyncClient, server: RunningServer, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    version = await client.register(name, tmp_path / "model.bin")
    assert (await client.resolve(name, version=1)).version.trial == version.trial
    with server.app.ledger.writing() as session:  # As the server does at the end of a trial.
        ended = {"trial_result": "unusable", "trial_reason": "no weights", "tried_at": datetime.now(UTC)}
        session.execute(update(VersionRow).where(VersionRow.model == name).values(ended))
    trial = (await client.resolve(name, version=1)).version.trial
    assert trial == (await client.get_version(version)).trial
    assert trial is not None
    assert (trial.result, trial.reason) == (TrialResult.UNUSABLE, "no weights")


async def test_the_signature_is_taken_from_the_estimator_and_completed_by_the_reference(
    client: AsyncClient, name: str
) -> None:
    version = await client.register(name, LogisticRegression().fit(FRAME, UP), reference=FRAME)
    signature = version.signature
    assert signature is not None
    assert [(column.name, column.kind) for column in signature.inputs] == [
        ("momentum", ColumnKind.NUMBER),
        ("vix", ColumnKind.NUMBER),
    ]
    assert [column.name for column in signature.outputs] == ["prediction", "probabilities"]
    assert signature.classes == ("down", "up")


async def test_the_signature_of_a_file_is_found_by_its_trial(client: AsyncClient, name: str, tmp_path: Path) -> None:
    skops.io.dump(LogisticRegression().fit(FRAME, UP), tmp_path / "champion.bin")
    version = await client.register(name, tmp_path / "champion.bin")
    assert (await tried(client, version)).result is TrialResult.USABLE
    signature = (await client.get_version(version)).signature
    assert signature is not None
    assert (signature.names, signature.classes) == (("momentum", "vix"), ("down", "up"))


async def test_a_reference_that_lacks_a_column_of_the_model_is_refused(client: AsyncClient, name: str) -> None:
    version = await client.register(name, LogisticRegression().fit(FRAME, UP))
    with pytest.raises(errors.InvalidField, match=r"has no column 'vix' \(did you mean 'VIX'\?\), which the model"):
        await client.set_reference(version, FRAME.rename(columns={"vix": "VIX"}))
    with pytest.raises(errors.InvalidField, match="has 1 column, but the model takes 2"):
        await client.set_reference(
            await client.register(name, LinearRegression().fit(FRAME.to_numpy(), FRAME.vix)), FRAME[["vix"]]
        )


async def test_an_unfitted_estimator_does_not_go_into_production(client: AsyncClient, name: str) -> None:
    version = await client.register(name, LogisticRegression())
    assert "is unusable: raised NotFittedError" in await refused(client, version)
    assert (await tried(client, version)).result is TrialResult.UNUSABLE


@pytest.mark.weekly("postgresql")
async def test_a_model_of_several_outputs_does_not_go_into_production(client: AsyncClient, name: str) -> None:
    for model in (LinearRegression(), RandomForestRegressor(3), MultiOutputClassifier(LogisticRegression())):
        version = await client.register(name, model.fit(FRAME, FRAME > 0), reference=FRAME)
        said = await refused(client, version)
        assert "is unusable" in said
        assert "shape (100, 2)" in said


async def test_files_that_are_cut_off_do_not_go_into_production(client: AsyncClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear_model([2.0, -1.0], 0.5)[:-9])
    version = await client.register_files(name, tmp_path / "model.onnx")
    if version.format == "onnx":
        assert "is unusable" in await refused(client, version)
    else:
        assert "no format of its files is known here" in (await promoted(client, version)).evidence


async def test_a_model_that_needs_other_rows_is_tried_with_its_reference(client: AsyncClient, name: str) -> None:
    version = await client.register(name, ENCODED.fit(WITH_TEXT, UP))
    assert "for rows made from its signature; set a reference" in await refused(client, version)
    await client.set_reference(version, WITH_TEXT)
    assert (await client.promote(version, to="production", reason="it passed its tests")).gates[0].passed


async def test_a_pickle_is_not_tried_where_its_code_may_not_run(client: AsyncClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(LinearRegression().fit(FRAME, FRAME.vix)))
    version = await client.register(name, tmp_path / "model.pkl")
    assert "the operator may allow with MODELWARD_ALLOW_PICKLE" in await refused(client, version)
    await client.set_promotion_policy(PromotionPolicy(name, disabled_gates=("usable",)))
    assert (await client.promote(version, to="production", reason="it passed its tests")).gates == ()


async def test_files_of_no_known_format_pass_and_the_answer_says_so(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    gate = await promoted(client, await client.register(name, tmp_path))
    assert gate.passed
    assert gate.evidence.endswith(
        "was not tried: no format of its files is known here, so nobody can say whether it loads"
    )


async def test_only_gates_that_exist_can_be_disabled(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    policy: Any = PromotionPolicy(name, disabled_gates=("useable",))
    with pytest.raises(errors.InvalidField, match="disabled_gates"):
        await client.set_promotion_policy(policy)
