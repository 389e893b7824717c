"""What production says of rows: the server's predictions are those of the library, of the version that they name."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pandas as pd
import pytest
from catboost import CatBoostRegressor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression

from modelward import AsyncClient, Client, ModelVersion, Scores, Stage, errors
from modelward.comparison import ModelKind
from modelward.data import Columns
from modelward_server.sandbox.sandbox import Run
from modelward_server.scoring.row_failures import RowFailures
from tests.support.booster_models import frame_for, target
from tests.support.clients import collect
from tests.support.running_server import RunningServer

RNG = np.random.default_rng(7)
ROWS = pd.DataFrame(RNG.normal(size=(200, 3)), columns=["a", "b", "c"])
NUMBER = LinearRegression().fit(ROWS, ROWS.a - 2 * ROWS.b)
OTHER = LinearRegression().fit(ROWS, ROWS.c)
SILENT = LinearRegression().fit(ROWS, ROWS.c)
SILENT.intercept_ = np.nan
CLASS = LogisticRegression().fit(ROWS, np.where(ROWS.a > 0, "up", "down"))


async def in_production(scorer: AsyncClient, *models: Any) -> ModelVersion:
    """Register versions of a new model and promote each."""
    name = f"spx-{uuid4().hex[:8]}"
    for model in models:
        version = await scorer.register(name, model, reference=ROWS)
        await scorer.promote(version, to="staging")
        await scorer.promote(version, to="production", reason="it passed its tests")
    return version


@pytest.mark.system
async def test_the_version_in_production_predicts_as_its_library_does(scorer: AsyncClient) -> None:
    version = await in_production(scorer, NUMBER)
    shuffled = ROWS[["c", "a", "b"]].assign(more=1.0)
    found = await scorer.score(version.model, shuffled)
    np.testing.assert_allclose(found.predictions, NUMBER.predict(ROWS), rtol=1e-12)
    assert (str(found.version), found.stage, found.digest) == (str(version), Stage.PRODUCTION, version.digest)
    assert found.model_seconds > 0
    assert found.probabilities is None
    assert list(found.to_pandas().columns) == ["row", "prediction"]
    assert UUID(found.request_id).version == 7


@pytest.mark.system
async def test_a_classifier_gives_classes_and_their_probabilities(scorer: AsyncClient) -> None:
    version = await in_production(scorer, CLASS)
    found = await scorer.score(version.model, ROWS)
    assert found.predictions.tolist() == CLASS.predict(ROWS).tolist()
    assert found.classes == ("down", "up")
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities, CLASS.predict_proba(ROWS), rtol=1e-9)
    assert list(found.to_pandas().columns) == ["row", "prediction", "probability:down", "probability:up"]


@pytest.mark.system
async def test_a_past_time_is_answered_by_the_version_of_then(scorer: AsyncClient) -> None:
    first = await in_production(scorer, NUMBER)
    then = datetime.now(UTC)
    second = await scorer.register(first.model, OTHER, reference=ROWS)
    await scorer.promote(second, to="staging")
    await scorer.promote(second, to="production", reason="it passed its tests")
    now, before = await scorer.score(first.model, ROWS), await scorer.score(first.model, ROWS, as_of=then)
    assert (now.version.version, before.version.version) == (2, 1)
    assert before.stage is Stage.PRODUCTION, "as it was then"
    np.testing.assert_array_equal(before.predictions, NUMBER.predict(ROWS))
    np.testing.assert_allclose(now.predictions, OTHER.predict(ROWS), rtol=1e-9, atol=1e-12)


@pytest.mark.system
async def test_several_versions_answer_for_the_same_rows(scorer: AsyncClient) -> None:
    version = await in_production(scorer, NUMBER, OTHER)
    champion, challenger, latest = await scorer.score_versions(version.model, ROWS, ["production", 1, "latest"])
    assert [one.version.version for one in (champion, challenger, latest)] == [2, 1, 2]
    assert champion.sequence == challenger.sequence == latest.sequence
    np.testing.assert_array_equal(champion.predictions, latest.predictions)
    np.testing.assert_allclose(challenger.predictions, NUMBER.predict(ROWS), rtol=1e-12)


@pytest.mark.system
async def test_the_highest_rows_are_told_with_their_ties(scorer: AsyncClient) -> None:
    version = await in_production(scorer, LinearRegression().fit(ROWS, ROWS.a))
    rows = pd.DataFrame({"a": [1.0, 3.0, 2.0, 3.0, 2.0, 2.0], "b": 0.0, "c": 0.0})
    found = await scorer.score(version.model, rows, top_k=3)
    assert found.rows is not None
    assert (found.rows.tolist(), found.ties) == ([1, 3, 2], 2)
    np.testing.assert_allclose(found.predictions, [3.0, 3.0, 2.0])
    everything = await scorer.score(version.model, rows, top_k=100)
    assert everything.rows is not None
    assert (everything.rows.tolist(), everything.ties) == ([1, 3, 2, 4, 5, 0], 0)


@pytest.mark.system
async def test_of_two_classes_the_second_ranks(scorer: AsyncClient) -> None:
    version = await in_production(scorer, CLASS)
    found = await scorer.score(version.model, ROWS, top_k=5)
    expected = np.argsort(-CLASS.predict_proba(ROWS)[:, 1], kind="stable")[:5]
    assert found.rows is not None
    assert found.rows.tolist() == expected.tolist()
    three = LogisticRegression().fit(ROWS, pd.cut(ROWS.a, 3, labels=["x", "y", "z"]).astype(str))
    other = await in_production(scorer, three)
    with pytest.raises(errors.InvalidField, match=r"top_k: ranks by a number"):
        await scorer.score(other.model, ROWS, top_k=5)


@pytest.mark.system
async def test_of_rows_without_an_answer_none_is_ranked(scorer: AsyncClient) -> None:
    version = await in_production(scorer, SILENT)
    found = await scorer.score(version.model, ROWS, top_k=5)
    assert found.rows is not None
    assert (found.rows.tolist(), found.predictions.tolist(), found.ties) == ([], [], 0)
    assert (await scorer.score(version.model, ROWS)).rows is None


@pytest.mark.system
async def test_columns_that_cannot_be_sent_are_left_out(scorer: AsyncClient) -> None:
    version = await in_production(scorer, NUMBER)
    noted = ROWS.assign(notes=pd.Series([{"seen": True}] * len(ROWS), dtype=object))
    expected = NUMBER.predict(ROWS)
    np.testing.assert_allclose((await scorer.score(version.model, noted)).predictions, expected, rtol=1e-12)
    [streamed] = await collect(scorer.score_stream(version.model, [noted]))
    np.testing.assert_allclose(streamed.predictions, expected, rtol=1e-12)
    needed = ROWS.assign(a=pd.Series([{"seen": True}] * len(ROWS), dtype=object))
    with pytest.raises(errors.InvalidField, match=r"(?s)has no column 'a'.*data\['a'\]"):
        await scorer.score(version.model, needed)
    with pytest.raises(errors.InvalidField, match=r"(?s)has no column 'a'.*data\['a'\]"):
        await collect(scorer.score_stream(version.model, [needed]))


@pytest.mark.system
async def test_rows_that_fail_are_told_one_by_one(scorer: AsyncClient) -> None:
    version = await in_production(scorer, NUMBER)
    rows = ROWS.iloc[:20].copy()
    rows.iloc[[3, 4, 17], 1] = np.nan  # This model takes no missing values.
    with pytest.raises(errors.ModelFailed, match="contains NaN"):
        await scorer.score(version.model, rows)
    found = await scorer.score(version.model, rows, row_errors=True)
    assert sorted(found.failed) == [3, 4, 17]
    assert all("contains NaN" in why for why in found.failed.values())
    well = [row for row in range(20) if row not in found.failed]
    np.testing.assert_allclose(found.predictions[well], NUMBER.predict(rows.iloc[well]), rtol=1e-12)
    assert np.isnan(found.predictions[[3, 4, 17]]).all()


@pytest.mark.system
async def test_classes_of_rows_that_fail_are_none(scorer: AsyncClient) -> None:
    version = await in_production(scorer, CLASS)
    rows = ROWS.iloc[:4].copy()
    rows.iloc[2, 0] = np.nan
    found = await scorer.score(version.model, rows, row_errors=True)
    assert found.predictions[2] is None
    assert found.predictions[[0, 1, 3]].tolist() == CLASS.predict(rows.iloc[[0, 1, 3]]).tolist()


@pytest.mark.system
async def test_rows_that_a_model_does_not_take_are_told_one_by_one(scorer: AsyncClient) -> None:
    rows = frame_for("catboost", rows=50)
    few: dict[str, Any] = {"iterations": 5, "thread_count": 1, "verbose": False, "allow_writing_files": False}
    model = CatBoostRegressor(**few, cat_features=["venue"]).fit(rows, target("regression", rows))
    version = await scorer.register(f"spx-{uuid4().hex[:8]}", model, reference=rows)
    gap = rows.astype({"venue": object})
    gap.loc[7, "venue"] = None  # CatBoost takes no missing categories.
    found = await scorer.score(version.model, gap, version=1, row_errors=True)
    assert list(found.failed) == [7]
    assert "has no 'venue';" in found.failed[7], "not the row of a part of the table"
    well = [row for row in range(len(rows)) if row != 7]
    np.testing.assert_allclose(found.predictions[well], model.predict(rows.iloc[well]), rtol=1e-12)
    with pytest.raises(errors.InvalidField, match="has no column 'venue'"):
        await scorer.score(version.model, rows.drop(columns="venue"), version=1, row_errors=True)


async def test_classes_that_differ_from_part_to_part_are_put_together() -> None:
    async def predict(part: Columns) -> tuple[Run, float]:
        values = part["x"].tolist()
        if 3 in values:
            raise errors.ModelFailed("it does not like 3")
        classes = sorted(set(values))  # As of an ONNX model that does not name its classes.
        predicted = np.array([classes.index(one) for one in values])
        return Run(ModelKind.CLASSIFICATION, tuple(classes), predicted, None, None), 0.1

    run, failed = await RowFailures(predict).run({"x": np.array([9, 7, 3, 5, 7])})
    assert failed == {2: "it does not like 3"}
    assert [run.classes[place] if place >= 0 else None for place in run.predicted] == [9, 7, None, 5, 7]


@pytest.mark.parametrize("name", ["", "x" * 257])
async def test_further_columns_are_ignored_whatever_their_names(scorer: AsyncClient, name: str) -> None:
    version = await in_production(scorer, NUMBER)
    found = await scorer.score(version.model, ROWS.assign(**{name: 1.0}))
    np.testing.assert_allclose(found.predictions, NUMBER.predict(ROWS), rtol=1e-12)


async def test_a_version_is_chosen_in_one_way(scorer: AsyncClient) -> None:
    version = await in_production(scorer, NUMBER, OTHER)
    several = pytest.raises(errors.InvalidField, match="stage: is given with version; give one of them")
    with several:
        await scorer.score(version.model, ROWS, stage="production", version=1)
    with several:
        await collect(scorer.score_stream(version.model, [ROWS], stage="production", version=1))
    with several:
        await scorer.resolve(version.model, stage="production", version=1)


@pytest.mark.system
async def test_a_stream_is_answered_in_order_by_one_version(scorer: AsyncClient) -> None:
    version = await in_production(scorer, NUMBER)
    tables = [ROWS.iloc[start : start + size] for start, size in ((0, 1), (1, 50), (51, 149))]
    found = await collect(scorer.score_stream(version.model, tables))
    np.testing.assert_allclose(np.concatenate([one.predictions for one in found]), NUMBER.predict(ROWS), rtol=1e-12)
    assert {str(one.version) for one in found} == {str(version)}
    large = pd.DataFrame(RNG.normal(size=(300_000, 3)), columns=["a", "b", "c"])
    parts = await collect(scorer.score_stream(version.model, [large]))
    assert len(parts) > 1
    np.testing.assert_allclose(np.concatenate([one.predictions for one in parts]), NUMBER.predict(large), rtol=1e-12)


async def test_a_halted_model_is_refused_with_its_reason(scorer: AsyncClient) -> None:
    version = await in_production(scorer, NUMBER)
    await scorer.halt(version.model, reason="losing")
    with pytest.raises(errors.ModelHalted, match="losing"):
        await scorer.score(version.model, ROWS)
    await scorer.resume(version.model)
    assert len((await scorer.score(version.model, ROWS)).predictions) == len(ROWS)


@pytest.mark.system
async def test_a_halt_stops_a_stream_that_is_open(scorer: AsyncClient, scoring_sdk: Client) -> None:
    version = await in_production(scorer, NUMBER)
    large = pd.DataFrame(RNG.normal(size=(20_000, 3)), columns=["a", "b", "c"])
    answered: list[Scores] = []

    def tables() -> Iterator[pd.DataFrame]:
        yield large
        scoring_sdk.halt(version.model, reason="losing")
        for _ in range(5):  # The stream ends while some of them are being sent.
            yield large

    async def collects() -> None:
        async for scores in scorer.score_stream(version.model, tables()):
            answered.append(scores)

    for _ in range(50):
        with pytest.raises(errors.ModelHalted, match="losing"):
            await collects()
        assert len(answered) <= 1, "nothing is answered after the halt"
        answered.clear()
        await scorer.resume(version.model)


@pytest.mark.system
async def test_a_stream_that_fails_while_tables_are_sent_says_why(scorer: AsyncClient) -> None:
    version = await in_production(scorer, NUMBER)
    large = pd.DataFrame(RNG.normal(size=(20_000, 3)), columns=["a", "b", "c"])
    gap = large.copy()
    gap.iloc[7, 1] = np.nan  # This model takes no missing values.
    for _ in range(10):
        with pytest.raises(errors.ModelFailed, match="contains NaN"):
            await collect(scorer.score_stream(version.model, [large, gap, *[large] * 10]))


async def test_what_cannot_be_scored_is_refused(scorer: AsyncClient) -> None:
    version = await in_production(scorer, NUMBER)
    with pytest.raises(errors.InvalidField, match="data: has no column 'c'"):
        await scorer.score(version.model, ROWS[["a", "b"]])
    with pytest.raises(errors.ModelNotFound):
        await scorer.score(f"{version.model}-x", ROWS)
    with pytest.raises(errors.VersionNotFound):
        await scorer.score(version.model, ROWS, version=9)
    with pytest.raises(errors.NothingResolved):
        await scorer.score(version.model, ROWS, stage="staging")
    with pytest.raises(errors.InvalidField, match="no rows"):
        await scorer.score(version.model, ROWS.iloc[:0])


async def test_a_server_without_scoring_says_how_it_is_started(client: AsyncClient) -> None:
    with pytest.raises(errors.NotServed, match="--scoring-processes"):
        await client.score("spx", ROWS)


@pytest.mark.system
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(12)), cut=st.integers(1, 11))
def test_rows_are_answered_alone_as_together(order: list[int], cut: int, ready: tuple[Client, str]) -> None:
    scorer, name = ready
    rows = ROWS.iloc[:12]
    together = scorer.score(name, rows).predictions
    np.testing.assert_array_equal(scorer.score(name, rows.iloc[order]).predictions, together[order])
    parts = [scorer.score(name, part).predictions for part in (rows.iloc[:cut], rows.iloc[cut:])]
    np.testing.assert_allclose(np.concatenate(parts), together, rtol=1e-12)


@pytest.fixture(scope="module")
def ready(scoring_server: RunningServer) -> Any:
    with Client(scoring_server.target) as client:
        version = client.register(f"spx-{uuid4().hex[:8]}", NUMBER, reference=ROWS)
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
        yield client, version.model
