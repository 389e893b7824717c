"""Approvals, findings, reviews and evidence in the console: what each person sees, may do, and is told."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from modelward import PromotionPolicy, RequiredApproval
from modelward.caller import Role
from modelward.evidence.verify import verify_pack
from modelward.governance import ApprovalState
from modelward.lifecycle import Stage, VersionRef
from modelward.scoring import ScoreRecord
from modelward_server.console.pages.lists import ROWS
from modelward_server.scoring.score_log import record_scores
from modelward_server.settings import Settings
from tests.console.conftest import ADDRESS, browsing, sign_in
from tests.console.test_changes import fields
from tests.security.test_tokens import token_of
from tests.support.desk import Desk
from tests.support.running_server import RunningServer

HOSTILE = "<script>alert(1)</script>"
FORM = '<form method="post" class="act">'


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    running = RunningServer(Settings(port=0, data_dir=tmp_path_factory.mktemp("data"), auth=True))
    made = Desk(running)
    yield made
    for client in made.clients.values():
        client.close()
    running.stop()


@pytest.fixture
async def browser(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    async with browsing(desk.running) as browser:
        yield browser


async def be(browser: httpx.AsyncClient, desk: Desk, person: str) -> None:
    """Let somebody of the desk sign in."""
    await sign_in(browser, desk.token(person))


async def send(browser: httpx.AsyncClient, path: str, filled: Mapping[str, str]) -> httpx.Response:
    """Fill in the form of a change, and send it."""
    page = await browser.get(path)
    assert FORM in page.text, page.text
    form = {name: unescape(value) for name, value in fields(page.text).items()}
    return await browser.post(path, data={**form, **filled}, headers={"origin": ADDRESS})


async def seen(browser: httpx.AsyncClient, path: str) -> str:
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    assert HOSTILE not in answer.text
    return answer.text


async def test_a_promotion_is_requested_approved_by_each_function_and_made(
    browser: httpx.AsyncClient, desk: Desk
) -> None:
    name = desk.model("risk", "trading")
    promote, request = (f"/models/{name}/{act}?version=1&to=production" for act in ("promote", "request-approval"))
    await be(browser, desk, "trader")
    refused = unescape(await seen(browser, promote))
    assert "Approvals are missing of risk, trading" in refused
    assert request in refused
    await be(browser, desk, "quant")
    assert request in unescape(await seen(browser, f"/models/{name}/versions/1"))
    wanted = {"wanted": f"better {HOSTILE}", "conditions": f"half the size\r\n\r\n{HOSTILE}", "evidence": ""}
    made = await send(browser, request, wanted)
    page = made.headers["location"]
    (approval,) = desk.founder.list_approvals(name)
    assert (made.status_code, page) == (303, f"/approvals/{approval.approval_id}")
    assert (approval.reason, approval.conditions) == (wanted["wanted"], ("half the size", HOSTILE))
    assert FORM not in (await browser.get(request)).text, "one is open"
    own = await seen(browser, page)
    assert "Approve for" not in own
    assert "You may not decide for risk: you hold no function" in own
    assert "withdraw-approval" in own
    await be(browser, desk, "risk")
    listed = await seen(browser, f"/approvals?model={name}")
    assert "<b>risk</b>, yours" in listed
    shown = unescape(await seen(browser, page))
    approve = f"/models/{name}/approve?approval={approval.approval_id}&function=risk"
    assert approve in shown
    assert "Approve for trading" not in shown
    asked = await browser.get(approve)
    form = fields(asked.text) | {"comment": "limits are set"}
    for _ in range(2):
        answer = await browser.post(approve, data=form, headers={"origin": ADDRESS})
        assert (answer.status_code, answer.headers["location"]) == (303, page)
    assert FORM not in (await browser.get(approve.replace("=risk", "=trading"))).text
    await be(browser, desk, "trader")
    assert f'href="{page}">The request that waits' in await seen(browser, promote)
    await send(browser, approve.replace("=risk", "=trading"), {"comment": ""})
    assert "Move to production" in await seen(browser, page)
    assert (await send(browser, promote, {"reason": "it passed its tests"})).status_code == 303
    used = desk.founder.get_approval(approval.approval_id)
    assert [(one.function, one.decided_by, one.comment) for one in used.decisions] == [
        ("risk", "risk", "limits are set"),
        ("trading", "trader", ""),
    ]
    assert used.state is ApprovalState.USED


async def test_a_refusal_needs_a_comment_and_what_was_written_stays(browser: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model("risk")
    approval = desk.quant.request_approval(f"{name}/1", reason="better").approval_id
    await be(browser, desk, "risk")
    reject = f"/models/{name}/reject?approval={approval}&function=risk"
    again = await send(browser, reject, {"comment": "  "})
    assert again.status_code == 400
    assert "Nothing was changed: comment" in again.text
    form = fields(again.text)
    assert (await browser.post(reject, data={**form, "comment": "no"}, headers={"origin": ADDRESS})).status_code == 303
    assert desk.founder.get_approval(approval).state is ApprovalState.REJECTED
    assert (await send_closed(browser, reject, form)).status_code == 409
    await be(browser, desk, "quant")
    wanted = {"wanted": "smaller", "evidence": f"{HOSTILE}\nnone", "expires_at": "2001-01-01T00:00"}
    again = await send(browser, f"/models/{name}/request-approval?version=1&to=production", wanted)
    assert (again.status_code, HOSTILE in again.text) == (400, False)
    for text in ("smaller", f"{HOSTILE}\nnone", "2001-01-01T00:00"):
        assert text in unescape(again.text)
    assert (await browser.get(f"/models/{name}/approve?approval={approval}&function=risk")).status_code == 200
    other = desk.model("risk")
    assert (await browser.get(f"/models/{other}/approve?approval={approval}&function=risk")).status_code == 400


async def send_closed(browser: httpx.AsyncClient, path: str, form: Mapping[str, str]) -> httpx.Response:
    fresh = {**form, "request_id": "", "etag": "", "comment": "again"}
    return await browser.post(path, data=fresh, headers={"origin": ADDRESS})


async def test_who_requested_may_withdraw_and_others_not(browser: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model("risk")
    approval = desk.quant.request_approval(f"{name}/1", reason="better").approval_id
    withdraw = f"/models/{name}/withdraw-approval?approval={approval}"
    await be(browser, desk, "junior")
    assert "withdraw-approval" not in await seen(browser, f"/approvals/{approval}")
    assert "only they or an operator withdraw it" in await seen(browser, withdraw)
    await be(browser, desk, "quant")
    assert (await send(browser, withdraw, {})).headers["location"] == f"/approvals/{approval}"
    assert "withdrawn" in await seen(browser, f"/approvals?model={name}&state=withdrawn")
    assert "No request fits this filter" in await seen(browser, f"/approvals?model={name}&state=pending")
    assert (await browser.get("/approvals?state=open")).status_code == 400


async def test_a_finding_is_opened_changed_and_closed_by_those_who_may(browser: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model()
    await be(browser, desk, "trader")
    assert "open-finding" not in await seen(browser, f"/models/{name}/versions/1")
    assert "it needs the role validator, and yours is operator" in await seen(browser, f"/models/{name}/open-finding")
    await be(browser, desk, "both")
    assert f"/models/{name}/open-finding?version=1" in await seen(browser, f"/models/{name}/versions/1")
    filled = {
        "title": HOSTILE,
        "severity": "high",
        "owner": "junior",
        "due": "2026-01-01",
        "description": "long\r\ntext",
    }
    opened = await send(browser, f"/models/{name}/open-finding?version=1", {**filled, "remedy": "", "evidence": ""})
    page = opened.headers["location"]
    (finding,) = desk.founder.list_findings(name)
    assert page == f"/findings/{finding.finding_id}"
    assert (finding.version, finding.due, finding.opened_by) == (1, date(2026, 1, 1), "both")
    for path in (
        "/findings?overdue=on&owner=junior&min_severity=high",
        f"/models/{name}",
        f"/models/{name}/versions/1",
    ):
        shown = await seen(browser, path)
        assert "&lt;script&gt;" in shown, path
        assert "2026-01-01, overdue" in shown, path
    change, close = (
        f"/models/{name}/{act}?finding={finding.finding_id}" for act in ("change-finding", "close-finding")
    )
    await be(browser, desk, "junior")
    assert change in await seen(browser, page)
    assert "You cannot lower its severity" in await seen(browser, change)
    new = {"severity": "high", "owner": "quant", "due": "2099-01-01", "remedy": "charge costs"}
    lower = await send(browser, change, {**new, "severity": "low"})
    assert (lower.status_code, "charge costs" in lower.text) == (403, True)
    assert (await send(browser, change, new)).headers["location"] == page
    await be(browser, desk, "risk")
    again = await send(browser, close, {"remedy": "costs are charged", "comment": "", "etag": "r1"})
    assert (again.status_code, "costs are charged" in again.text) == (409, True)
    assert (await send(browser, close, {"remedy": "costs are charged", "comment": "seen"})).status_code == 303
    await be(browser, desk, "both")
    history = unescape(await seen(browser, page)).partition("History")[2]
    assert re.findall(r'class="wrap text">(.*?)</td>', history) == [
        "opened; severity: high; owner: junior; due: 2026-01-01",
        "owner: quant, before: junior; due: 2099-01-01, before: 2026-01-01; remedy: charge costs",
        "closed; remedy: costs are charged, before: charge costs",
    ]
    assert change not in history
    assert "it was closed by risk" in await seen(browser, close)
    assert "&lt;script&gt;" not in await seen(browser, f"/findings?model={name}")
    assert "&lt;script&gt;" in await seen(browser, f"/findings?model={name}&state=any")


async def test_an_owner_who_reviews_does_not_close_a_finding(browser: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model()
    finding = desk.risk.open_finding(name, title="no costs", severity="low", owner="both").finding_id
    await be(browser, desk, "both")
    page = await seen(browser, f"/findings/{finding}")
    assert "You may not close it: you own it, or did" in page
    assert "close-finding" not in page
    assert FORM not in await seen(browser, f"/models/{name}/close-finding?finding={finding}")


async def test_a_review_is_due_recorded_and_shown(browser: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model()
    desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    desk.trader.halt(name, reason=HOSTILE)
    await be(browser, desk, "risk")
    for path in ("/reviews", f"/reviews?model={name}", f"/models/{name}", f"/models/{name}/record-review"):
        assert "it was halted by trader" in await seen(browser, path), path
    wrong = {
        "outcome": "approved",
        "comment": HOSTILE,
        "conditions": "half the size",
        "evidence": "",
        "next_review": "",
    }
    record = f"/models/{name}/record-review?version=1"
    again = await send(browser, record, wrong)
    assert (again.status_code, HOSTILE in unescape(again.text), HOSTILE in again.text) == (400, True, False)
    assert '<option value="approved" selected>' in again.text
    right = {**wrong, "outcome": "approved_with_conditions", "next_review": "2099-03-31"}
    form = fields(again.text)
    answer = await browser.post(record, data={**form, **right}, headers={"origin": ADDRESS})
    assert answer.headers["location"] == f"/reviews?model={name}"
    (review,) = desk.founder.list_reviews(name)
    assert (review.version, review.reviewed_by, review.conditions) == (1, "risk", ("half the size",))
    for path in (f"/reviews?model={name}", f"/models/{name}", f"/models/{name}/versions/1"):
        shown = await seen(browser, path)
        assert "approved with conditions" in shown, path
        assert "half the size" in shown, path
    assert "No review is due of this model" in await seen(browser, f"/reviews?model={name}")
    await be(browser, desk, "compliance")
    assert "record-review" not in await seen(browser, f"/reviews?model={name}")


async def test_the_evidence_of_a_version_is_downloaded(browser: httpx.AsyncClient, desk: Desk, tmp_path: Path) -> None:
    name = desk.model()
    address = f"/models/{name}/versions/1/evidence.zip"
    await be(browser, desk, "compliance")
    assert address in await seen(browser, f"/models/{name}/versions/1")
    today = datetime.now(UTC).date()
    for number, query in enumerate(("", f"?as_of={today}", f"?as_of={today - timedelta(days=1)}")):
        answer = await browser.get(address + query)
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}-1.zip"'
        pack = tmp_path / f"{number}.zip"
        pack.write_bytes(answer.content)
        found = verify_pack(pack)
        assert (found.intact, found.versions, found.records > 0) == (True, (f"{name}/1",), number < 2)
    for wrong in ("?as_of=2099-01-01", "?as_of=2026-13-01", "?as_of=yesterday", "?as_of=0001-01-01T00:00%2B05:00"):
        assert (await browser.get(address + wrong)).status_code == 400
    assert (await browser.get(address.replace("/1/", "/9/"))).status_code == 404
    desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    pack.write_bytes((await browser.get("/evidence.zip")).content)
    assert f"{name}/1" in verify_pack(pack).versions
    assert "/evidence.zip" in await seen(browser, "/inventory")
    limited = token_of(desk.running, "limited", Role.VIEWER, f"{name}-none")
    await sign_in(browser, limited)
    assert "/evidence.zip" not in await seen(browser, "/inventory")
    assert (await browser.get("/evidence.zip")).status_code == 403
    assert (await browser.get(address)).status_code == 403


async def test_long_lists_are_shown_page_by_page(browser: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model()
    desk.founder.set_promotion_policy(PromotionPolicy(name, required_approvals=(RequiredApproval(("risk",)),)))
    for number in range(ROWS + 2):
        desk.risk.open_finding(name, title=f"finding {number:03}", severity="low", owner="ada")
    pending = desk.quant.request_approval(f"{name}/1", reason="it waits").approval_id
    await be(browser, desk, "compliance")
    found: list[str] = []
    address = f"/findings?model={name}&owner=ada"
    while address:
        page = await seen(browser, address)
        found += re.findall(r">(finding \d+)<", page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        address = unescape(following[1]) if following else ""
    assert found == [f"finding {number:03}" for number in reversed(range(ROWS + 2))]
    assert pending in (await seen(browser, "/approvals")).partition("The others")[0]
    assert pending in await seen(browser, "/approvals?waits_for=risk")
    for path in ("/approvals", "/findings", "/reviews", "/scores"):
        assert (await browser.get(f"{path}?page=guessed")).status_code == 400
        assert (await browser.get(f"{path}?model=nobody")).status_code == 404
        assert (await browser.get(f"{path}?version=one")).status_code == 400


async def test_the_log_of_scores_is_shown_where_there_is_one(browser: httpx.AsyncClient, desk: Desk) -> None:
    name, at = desk.model(), datetime.now(UTC) - timedelta(hours=1)
    await be(browser, desk, "compliance")
    assert 'href="/scores"' not in await seen(browser, "/approvals")
    assert "No answer was logged" in await seen(browser, "/scores")
    records = [
        ScoreRecord(
            request_id=f"{number:032x}",
            scored_at=at + timedelta(minutes=number),
            actor=(HOSTILE, "engine-7")[number],
            authenticated=True,
            version=VersionRef(name, 1),
            stage=Stage.STAGING,
            method="Score",
            rows=100,
            digest="d" * 64,
            rows_sha256="a" * 64,
            answer_sha256="b" * 64,
        )
        for number in range(2)
    ]
    with desk.running.app.ledger.writing() as session:
        record_scores(session, records)
    assert 'href="/scores"' in await seen(browser, "/approvals")
    assert "&lt;script&gt;" in await seen(browser, f"/scores?model={name}&version=1")
    assert "engine-7" not in await seen(browser, f"/scores?until={(at + timedelta(seconds=30)).isoformat()[:19]}")
    own = await seen(browser, "/scores?actor=engine-7")
    assert ("&lt;script&gt;" in own, "a" * 64 in own) == (False, True)
    assert (await browser.get("/scores?since=then")).status_code == 400


async def test_a_console_without_changes_offers_none_of_these(desk: Desk) -> None:
    name = desk.model("risk")
    approval = desk.quant.request_approval(f"{name}/1", reason="better").approval_id
    finding = desk.both.open_finding(name, title="no costs", severity="low", owner="ada").finding_id
    async with browsing(desk.running, read_only=True) as browser:
        await be(browser, desk, "risk")
        acts = ("approve", "reject", "request-approval", "change-finding", "close-finding", "open-finding")
        for path in (f"/approvals/{approval}", f"/findings/{finding}", f"/models/{name}", f"/models/{name}/versions/1"):
            page = await seen(browser, path)
            assert [act for act in (*acts, "record-review") if f"/{act}" in page] == []
        opening = f"/models/{name}/open-finding"
        assert (await browser.get(opening)).status_code == 404


async def test_the_pages_have_json_twins(browser: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model("risk")
    approval = desk.quant.request_approval(f"{name}/1", reason="better")
    await be(browser, desk, "risk")
    twin = (await browser.get(f"/approvals/{approval.approval_id}.json")).json()
    assert (twin["approval"]["reason"], twin["waiting"]) == ("better", {"risk": ""})
    assert (await browser.get(f"/approvals.json?model={name}")).json()["pending"][0]["reason"] == "better"
    assert (await browser.get("/findings?format=json&state=closed")).json()["given"]["state"] == "closed"
    assert urlsplit(str((await browser.get("/reviews.json")).url)).path == "/reviews.json"
