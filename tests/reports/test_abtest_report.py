"""A/B tests drawn through the front door: before any outcome, while they run, and when they are broken."""

from pathlib import Path

import pytest

from modelward import AsyncClient, errors
from tests.reports.test_drift_report import Page
from tests.support.abtest_traffic import outcomes, register_two

pytestmark = pytest.mark.system  # Takes seconds.


async def test_page_and_picture_show_how_a_test_stands(client: AsyncClient, name: str, tmp_path: Path) -> None:
    test = await client.create_ab_test(
        name, await register_two(client, name, tmp_path), primary_metric="pnl_bps", description="<b>does it pay?</b>"
    )
    empty = Page(await client.render_ab_test(test))
    assert "There are no outcomes yet." in empty.text
    await client.record_ab_outcomes(test, outcomes(test, 300))
    result = await client.ab_test_result(test)
    page = Page(await client.render_ab_test(name))
    for description in (result.summary, "<b>does it pay?</b>", "in pnl_bps over time", "confidence sequence", name):
        assert description in page.text
    assert page.count("path", class_="band") == 1
    assert page.count("script") == page.count("link") == page.count("img") == 0
    for drawn in (await client.render_ab_test(test, "png"), await client.render_ab_test(name, format="png")):
        assert drawn.startswith(b"\x89PNG")
    with pytest.raises(errors.AbTestNotFound):
        await client.render_ab_test(f"{name}-none")
    with pytest.raises(errors.InvalidField, match="not one of html, png"):
        await client.render_ab_test(test, "pdf")  # type: ignore[arg-type]
