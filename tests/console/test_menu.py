"""The menu says where the user is, on every page."""

from pathlib import Path

import httpx
import pytest

from modelward import AsyncClient, PromotionPolicy, RequiredApproval
from tests.reports.test_drift_report import Page
from tests.support.console_states import REGISTRY_PAGES, pages_of

SECTIONS = {
    "compare": "/compare",
    "compare-model": "/compare",
    "engines": "/engines",
    "retraining": "/retraining",
    "retrain": "/retraining",
    **dict.fromkeys(("approvals", "findings", "reviews", "drills", "scores"), "/approvals"),
    **dict.fromkeys(("request-approval", "record-review"), "/approvals"),
    **dict.fromkeys(("approval", "finding", "drill", "open-finding", "start-drill"), "/approvals"),
    "audit": "/audit",
    "audit-of-model": "/audit",
    "inventory": "/inventory",
    "system": "/system",
}
"""The link that is marked on each page; on all others it is that of the first page."""


@pytest.mark.system  # Takes seconds.
async def test_every_page_marks_its_place_in_the_menu(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    await sdk.register(name, tmp_path / "model.bin")
    await sdk.promote(f"{name}/1", to="staging")
    await sdk.set_promotion_policy(PromotionPolicy(name, required_approvals=(RequiredApproval(("risk",)),)))
    approval = await sdk.request_approval(f"{name}/1", reason="better")
    finding = await sdk.open_finding(name, title="no costs", severity="low", owner="bob")
    [drill] = await sdk.start_drill([name], reason="the yearly one")
    of_ids = {
        "approval": f"/approvals/{approval.approval_id}",
        "finding": f"/findings/{finding.finding_id}",
        "drill": f"/drills/{drill.drill_id}",
        "open-finding": f"/models/{name}/open-finding",
        "start-drill": "/drill",
    }
    for page, address in (REGISTRY_PAGES | pages_of(name, 1) | of_ids).items():
        elements = Page((await browser.get(address)).content).elements
        links = [attributes["href"] for _, attributes in elements if "aria-current" in attributes]
        assert SECTIONS.get(page, "/") in links, (address, links)
        own_path = address.partition("?")[0]
        assert {"approvals", "findings", "reviews", "drills", "scores"}.isdisjoint({page}) or own_path in links
