"""Comparison by segments through the front door."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelward import Client, ClosureSessions, SegmentAdjustment, Verdict
from modelward._coerce import AnyVersion
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Comparisons of segments.

DAYS = pd.bdate_range("2024-01-02", periods=80)
SECTORS = np.array(["Banks", "Banks", "Energy", "Energy", "Tech", "Tech"])
DATE, SYMBOL = (places.ravel() for places in np.indices((len(DAYS), len(SECTORS))))


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.target, actor="tester") as client:
        yield client


@pytest.fixture
def versions(client: Client, name: str, tmp_path: Path) -> list[AnyVersion]:
    (tmp_path / "model.bin").write_bytes(b"model")
    return [client.register(name, tmp_path / "model.bin") for _ in range(2)]


def asked(client: Client, versions: list[AnyVersion], order: Any, **given: Any) -> Any:
    """Compare two models, of which the second is better in all sectors but Energy, where it is worse."""
    random = np.random.default_rng(3)
    label = random.normal(size=len(DATE))
    noise = np.where(SECTORS[SYMBOL] == "Energy", 1.5, 0.5)
    answers = [label + random.normal(size=len(DATE)), label + noise * random.normal(size=len(DATE))]
    rows = pd.DataFrame({"day": DAYS[DATE], "symbol": SYMBOL, "sector": SECTORS[SYMBOL]}).iloc[order]
    sent = {version: answer[order] for version, answer in zip(versions, answers, strict=True)}
    returns = 0.01 * label[order]
    keys: dict[str, Any] = {"time": "day", "group": "symbol", "returns": returns}
    return client.compare([], rows, label[order], predictions=sent, baseline=versions[0], **keys, **given)


def test_a_version_that_is_better_may_be_worse_in_a_sector(client: Client, versions: list[AnyVersion]) -> None:
    regimes = {
        "January": ("2024-01", "2024-01"),
        "2020": (None, "2020-12-31"),
        "after the Spring Festival": ClosureSessions("XSHG", days=10, last=3),
    }
    found = asked(client, versions, np.arange(len(DATE)), by="sector", regimes=regimes, primary="mse")
    assert [one.name for one in found.segments[:1]] == ["Energy"]
    verdicts = {one.name: one.result(versions[1]).verdict for one in found.segments if not one.note}
    assert verdicts["Energy"] is Verdict.INFERIOR
    assert verdicts["Banks"] is verdicts["Tech"] is Verdict.SUPERIOR
    assert found.segment("2020").note == "has no rows"
    festival = found.segment("after the Spring Festival")
    assert (festival.window.first, festival.window.last, festival.window.times) == ("2024-02-19", "2024-02-21", 3)
    assert festival.note == "has only 3 times; 10 are the fewest that are tested"
    assert found.segment_adjustment is SegmentAdjustment.BENJAMINI_YEKUTIELI
    shuffled = asked(
        client, versions, np.random.default_rng(0).permutation(len(DATE)), by="sector", regimes=regimes, primary="mse"
    )
    assert shuffled.segments == found.segments
    assert client.get_comparison(found.comparison_id) == found
    assert "Benjamini and Yekutieli" in client.render_comparison(found.comparison_id).decode()


def test_a_metric_that_a_segment_does_not_define_is_a_note(client: Client, versions: list[AnyVersion]) -> None:
    found = asked(client, versions, np.arange(len(DATE)), by=SYMBOL, primary="rank_ic")
    assert {one.note for one in found.segments} == {"rank_ic needs rows with a time and a group; name their columns"}
    assert found.segment_adjustment is None


def test_the_returns_of_a_segment_are_those_of_its_rows(client: Client, versions: list[AnyVersion]) -> None:
    """The net return of a range of days is that of the days, with positions held from the days before."""
    order = np.arange(len(DATE))
    whole = asked(client, versions, order, primary="net_return", cost_bps=10.0, regimes={"all": (None, None)})
    half = {"first": (None, str(DAYS[39].date())), "second": (str(DAYS[40].date()), None)}
    parts = asked(client, versions, order, primary="net_return", cost_bps=10.0, regimes=half)
    for version in versions:
        own = whole.result(version)["net_return"]
        assert whole.segment("all").result(version).estimate.value == pytest.approx(own, rel=1e-12)
        mean = np.mean([parts.segment(name).result(version).estimate.value for name in half])
        assert mean == pytest.approx(own, rel=1e-9)
    assert parts.segment_adjustment is SegmentAdjustment.BENJAMINI_HOCHBERG
