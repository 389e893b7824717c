"""Findings and reviews in the console: what each person sees, may do, and is told."""

import re
from datetime import date
from html import unescape

import httpx
import pytest

from modelward import PromotionPolicy, RequiredApproval
from modelward_server.console.pages.lists import ROWS
from tests.console.conftest import ADDRESS
from tests.console.desk_browser import FORM, HOSTILE, be, seen, send
from tests.console.test_changes import fields
from tests.support.desk import Desk

pytestmark = pytest.mark.system  # Takes seconds.


async def test_a_finding_is_opened_changed_and_closed_by_those_who_may(at_desk: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model()
    await be(at_desk, desk, "trader")
    assert "open-finding" not in await seen(at_desk, f"/models/{name}/versions/1")
    assert "it needs the role validator, and yours is operator" in await seen(at_desk, f"/models/{name}/open-finding")
    await be(at_desk, desk, "both")
    assert f"/models/{name}/open-finding?version=1" in await seen(at_desk, f"/models/{name}/versions/1")
    asked = await seen(at_desk, f"/models/{name}/open-finding?version=1")
    assert f"modelward findings open {name}/1 " in asked
    filled = {
        "title": HOSTILE,
        "severity": "high",
        "owner": "junior",
        "due": "2026-01-01",
        "description": "long\r\ntext",
    }
    opened = await send(at_desk, f"/models/{name}/open-finding?version=1", {**filled, "remedy": "", "evidence": ""})
    page = opened.headers["location"]
    (finding,) = desk.founder.list_findings(name)
    assert page == f"/findings/{finding.finding_id}"
    assert (finding.version, finding.due, finding.opened_by) == (1, date(2026, 1, 1), "both")
    for path in (
        "/findings?overdue=on&owner=junior&min_severity=high",
        f"/models/{name}",
        f"/models/{name}/versions/1",
    ):
        shown = await seen(at_desk, path)
        assert "&lt;script&gt;" in shown, path
        assert "2026-01-01, overdue" in shown, path
    change, close = (
        f"/models/{name}/{act}?finding={finding.finding_id}" for act in ("change-finding", "close-finding")
    )
    await be(at_desk, desk, "junior")
    assert change in await seen(at_desk, page)
    assert "You can neither lower its severity nor remove its due date" in await seen(at_desk, change)
    new = {"severity": "high", "owner": "quant", "due": "2099-01-01", "remedy": "charge costs"}
    lower = await send(at_desk, change, {**new, "severity": "low"})
    assert (lower.status_code, "charge costs" in lower.text) == (403, True)
    assert (await send(at_desk, change, {**new, "due": ""})).status_code == 403
    assert (await send(at_desk, change, new)).headers["location"] == page
    await be(at_desk, desk, "risk")
    assert (await send(at_desk, change, {**new, "due": ""})).headers["location"] == page
    again = await send(at_desk, close, {"remedy": "costs are charged", "comment": "", "etag": "r1"})
    assert (again.status_code, "costs are charged" in again.text) == (409, True)
    assert (await send(at_desk, close, {"remedy": "costs are charged", "comment": "seen"})).status_code == 303
    await be(at_desk, desk, "both")
    history = unescape(await seen(at_desk, page)).partition("History")[2]
    assert re.findall(r'class="wrap text">(.*?)</td>', history) == [
        "opened; severity: high; owner: junior; due: 2026-01-01",
        "owner: quant, before: junior; due: 2099-01-01, before: 2026-01-01; remedy: charge costs",
        "due: none, before: 2099-01-01",
        "closed; remedy: costs are charged, before: charge costs",
    ]
    assert change not in history
    assert "it was closed by risk" in await seen(at_desk, close)
    assert "&lt;script&gt;" not in await seen(at_desk, f"/findings?model={name}")
    assert "&lt;script&gt;" in await seen(at_desk, f"/findings?model={name}&state=any")


async def test_the_longest_texts_are_taken_and_lines_end_as_they_were_typed(
    at_desk: httpx.AsyncClient, desk: Desk
) -> None:
    name = desk.model()
    await be(at_desk, desk, "risk")
    longest = "日" * 4_999 + "\n" + "本" * 5_000
    as_sent = longest.replace("\n", "\r\n")  # As browsers send it.
    texts = {"title": "wrong", "severity": "low", "owner": "bob", "description": as_sent, "remedy": as_sent}
    answer = await send(at_desk, f"/models/{name}/open-finding", texts)
    assert answer.status_code == 303, answer.text
    [found] = desk.risk.list_findings(name)
    assert (found.description, found.remedy) == (longest, longest)


async def test_an_owner_who_reviews_does_not_close_a_finding(at_desk: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model()
    finding = desk.risk.open_finding(name, title="no costs", severity="low", owner="both").finding_id
    await be(at_desk, desk, "both")
    page = await seen(at_desk, f"/findings/{finding}")
    assert "You may not close it: you own it, or did" in page
    assert "close-finding" not in page
    assert FORM not in await seen(at_desk, f"/models/{name}/close-finding?finding={finding}")


async def test_a_review_is_due_recorded_and_shown(at_desk: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model()
    desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    desk.trader.halt(name, reason=HOSTILE)
    await be(at_desk, desk, "risk")
    for path in ("/reviews", f"/reviews?model={name}", f"/models/{name}", f"/models/{name}/record-review"):
        assert "it was halted by trader" in await seen(at_desk, path), path
    wrong = {
        "outcome": "approved",
        "comment": HOSTILE,
        "conditions": "half the size",
        "evidence": "",
        "next_review": "",
    }
    record = f"/models/{name}/record-review?version=1"
    again = await send(at_desk, record, wrong)
    assert (again.status_code, HOSTILE in unescape(again.text), HOSTILE in again.text) == (400, True, False)
    assert '<option value="approved" selected>' in again.text
    right = {**wrong, "outcome": "approved_with_conditions", "next_review": "2099-03-31"}
    form = fields(again.text)
    answer = await at_desk.post(record, data={**form, **right}, headers={"origin": ADDRESS})
    assert answer.headers["location"] == f"/reviews?model={name}"
    (review,) = desk.founder.list_reviews(name)
    assert (review.version, review.reviewed_by, review.conditions) == (1, "risk", ("half the size",))
    for path in (f"/reviews?model={name}", f"/models/{name}", f"/models/{name}/versions/1"):
        shown = await seen(at_desk, path)
        assert "approved with conditions" in shown, path
        assert "half the size" in shown, path
    assert "No review is due of this model" in await seen(at_desk, f"/reviews?model={name}")
    desk.risk.record_review(name, outcome="rejected", comment="too many words " * 600 + "and the last one")
    assert "and the last one" in await seen(at_desk, f"/reviews?model={name}")
    await be(at_desk, desk, "compliance")
    assert "record-review" not in await seen(at_desk, f"/reviews?model={name}")


async def test_long_lists_are_shown_page_by_page(at_desk: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model()
    desk.founder.set_promotion_policy(PromotionPolicy(name, required_approvals=(RequiredApproval(("risk",)),)))
    for number in range(ROWS + 2):
        desk.risk.open_finding(name, title=f"finding {number:03}", severity="low", owner="ada")
    pending = desk.quant.request_approval(f"{name}/1", reason="it waits").approval_id
    await be(at_desk, desk, "compliance")
    found: list[str] = []
    address = f"/findings?model={name}&owner=ada"
    while address:
        page = await seen(at_desk, address)
        found += re.findall(r">(finding \d+)<", page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        address = unescape(following[1]) if following else ""
    assert found == [f"finding {number:03}" for number in reversed(range(ROWS + 2))]
    assert pending in (await seen(at_desk, "/approvals")).partition("The others")[0]
    assert pending in await seen(at_desk, "/approvals?waits_for=risk")
    for path in ("/approvals", "/findings", "/reviews", "/drills", "/scores"):
        assert (await at_desk.get(f"{path}?page=guessed")).status_code == 400
        assert (await at_desk.get(f"{path}?model=nobody")).status_code == 404
    assert (await at_desk.get("/scores?version=one")).status_code == 400
