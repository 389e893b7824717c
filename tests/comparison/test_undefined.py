"""Metrics that some rows do not define, ties and narrow intervals, through both clients: each ends in an answer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelward import AsyncClient, Metric, Verdict, errors
from tests.comparison.test_predictions import compared

pytestmark = pytest.mark.system  # A grid of metrics, models and data.

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.normal(size=250)
SPARSE = np.where(np.arange(250) == 100, 0.02, 0.0)


@pytest.fixture
async def versions(client: AsyncClient, name: str, tmp_path: Path) -> list[str]:
    (tmp_path / "model.bin").write_bytes(b"weights")
    return [str((await client.register(name, tmp_path / "model.bin")).ref) for _ in range(2)]


async def drawn(client: AsyncClient, comparison_id: str) -> str:
    assert (await client.render_comparison(comparison_id, "png")).startswith(b"\x89PNG")
    page: bytes = await client.render_comparison(comparison_id)
    return page.decode()


@pytest.mark.parametrize("primary", ["sharpe", "net_return"])
async def test_metric_that_a_version_lacks_is_undefined_for_it_alone(
    client: AsyncClient, versions: list[str], primary: str
) -> None:
    """The sides of one day with a return: one version never loses, so there is no downside to divide by."""
    answers = [np.sign(LABELS[100]) * np.ones(250), -np.sign(LABELS[100]) * np.ones(250)]
    found = await compared(client, versions, answers, LABELS, returns=np.abs(SPARSE), primary=primary)
    assert f"sortino is undefined for {versions[0]}: it needs rows with a loss, and it has none" in found.notes
    assert [one.metric for one in found.result(versions[0]).undefined] == [Metric.SORTINO]
    assert found.result(versions[1])["sortino"] < 0
    assert not {one.metric for one in found.result(versions[1]).differences} & {Metric.SORTINO}
    assert found.conclusion.verdict is Verdict.INCONCLUSIVE
    assert any("sharpe is undefined in" in note for note in found.notes)
    assert "sortino is undefined for" in await drawn(client, found.comparison_id)


async def test_metric_that_was_asked_for_is_left_out_and_the_next_decides(
    client: AsyncClient, versions: list[str]
) -> None:
    answers, metrics = [np.ones(250), np.full(250, 2.0)], ["sortino", "mae"]
    found = await compared(client, versions, answers, LABELS, returns=np.abs(LABELS), metrics=metrics)
    assert found.primary_metric is Metric.MAE
    assert "the primary metric is mae, because sortino is omitted" in found.notes
    with pytest.raises(errors.InvalidField, match="sortino needs rows with a loss") as refused:
        await compared(client, versions, answers, LABELS, returns=np.abs(LABELS), primary="sortino")
    assert refused.value.violations[0].field == "primary_metric"
    with pytest.raises(
        errors.InvalidField, match="has none that the baseline and another version define; sortino needs"
    ):
        await compared(client, versions, answers, LABELS, returns=np.abs(LABELS), metrics=["sortino"])


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
async def test_few_rows_are_answered(client: AsyncClient, versions: list[str], rows: int) -> None:
    random = np.random.default_rng(0)
    answers = [random.normal(size=rows), random.normal(size=rows)]
    found = await compared(client, versions, answers, LABELS[:rows], returns=LABELS[:rows])
    assert found.conclusion.verdict is Verdict.INCONCLUSIVE


async def test_ties_are_answered_by_every_metric(client: AsyncClient, versions: list[str]) -> None:
    labels = np.tile([0, 0, 1, 1], 10)
    found = await compared(client, versions, [np.tile([0, 1, 1, 1], 10), np.tile([0, 0, 1, 0], 10)], labels)
    assert (found.conclusion.difference.difference, found.conclusion.difference.p_value) == (0, 1)
    assert [str(one) for one in found.confidence_set] == versions
    mirrored = await compared(client, versions, [LABELS + 1, LABELS - 1], LABELS)
    assert (mirrored.conclusion.difference.difference, mirrored.conclusion.difference.p_value) == (0, 1)
    assert mirrored.summary.endswith("Both have the same value on these rows.")


ANSWERS = {
    "as narrow as rounding": (np.tile([1.1, -0.9], 50), np.tile([0.9, -1.1], 50), np.tile([1.0, -1], 50)),
    "huge": (LABELS * 1e149, LABELS * -1e149, LABELS * 1e149),
    "tiny": (LABELS * 1e-140, LABELS * -1e-140, LABELS * 1e-140),
    "equal": (LABELS, LABELS, LABELS),
    "twins": (LABELS + 1, (LABELS + 1) * (1 + 1e-15), LABELS),
    "minus zero": (np.full(40, -0.0), np.zeros(40), np.zeros(40)),
}


@pytest.mark.weekly
@pytest.mark.parametrize("case", ANSWERS)
async def test_whatever_is_kept_can_be_drawn(client: AsyncClient, versions: list[str], case: str) -> None:
    one, other, truth = ANSWERS[case]
    found = await compared(client, versions, [one, other], truth, returns=truth)
    page = await drawn(client, found.comparison_id)
    assert "nan" not in page.lower().replace("&#39;", "")
    if case in {"as narrow as rounding", "equal", "twins", "minus zero"}:
        assert (found.conclusion.verdict, found.conclusion.difference.difference) == (Verdict.INCONCLUSIVE, 0)


async def test_worse_by_the_same_on_every_row_is_judged_by_the_signs(client: AsyncClient, versions: list[str]) -> None:
    def answered(rows: int) -> Any:
        return compared(client, versions, [np.full(rows, 2.0), np.ones(rows)], np.zeros(rows), block_rows=1)

    few, many = await answered(5), await answered(40)
    assert (few.conclusion.verdict, few.conclusion.difference.p_value) == (Verdict.INCONCLUSIVE, 1 / 16)
    assert (many.conclusion.verdict, many.conclusion.difference.p_value) == (Verdict.SUPERIOR, 2.0**-39)
    assert [str(one) for one in many.confidence_set] == [versions[1]]


async def test_two_rows_of_each_class_prove_nothing(client: AsyncClient, versions: list[str]) -> None:
    labels = np.array([0, 0, 1, 1])
    right = {"id": np.arange(4), "prediction": labels, "probability": np.array([0.1, 0.2, 0.8, 0.9])}
    wrong = right | {"prediction": 1 - labels, "probability": 1 - right["probability"]}
    found = await compared(client, versions, [wrong, right], labels, primary="roc_auc")
    assert (found.conclusion.verdict, found.conclusion.difference.p_value) == (Verdict.INCONCLUSIVE, 0.125)
