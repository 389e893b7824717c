"""Approvals in the console: what each person sees, may do, and is told."""

from collections.abc import Mapping
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from modelward import PromotionPolicy, RequiredApproval
from modelward.governance import ApprovalState
from tests.console.conftest import ADDRESS, browsing
from tests.console.desk_browser import FORM, HOSTILE, be, seen, send
from tests.console.test_changes import fields
from tests.support.desk import Desk

pytestmark = pytest.mark.system  # Takes seconds.

LONG = "half the size " + "until the end of the quarter, " * 50 + "and not later"


async def test_a_promotion_is_requested_approved_by_each_function_and_made(
    at_desk: httpx.AsyncClient, desk: Desk
) -> None:
    name = desk.model("risk", "trading")
    promote, request = (f"/models/{name}/{act}?version=1&to=production" for act in ("promote", "request-approval"))
    await be(at_desk, desk, "trader")
    refused = unescape(await seen(at_desk, promote))
    assert "Approvals are missing of risk, trading" in refused
    assert request in refused
    await be(at_desk, desk, "quant")
    assert request in unescape(await seen(at_desk, f"/models/{name}/versions/1"))
    wanted = {"wanted": f"better {HOSTILE}", "conditions": f"{LONG}\r\n\r\n{HOSTILE}", "evidence": ""}
    made = await send(at_desk, request, wanted)
    page = made.headers["location"]
    (approval,) = desk.founder.list_approvals(name)
    assert (made.status_code, page) == (303, f"/approvals/{approval.approval_id}")
    assert (approval.reason, approval.conditions) == (wanted["wanted"], (LONG, HOSTILE))
    assert FORM not in (await at_desk.get(request)).text, "one is open"
    own = await seen(at_desk, page)
    assert "Approve for" not in own
    assert "You may not decide for risk: you hold no function" in own
    assert "withdraw-approval" in own
    await be(at_desk, desk, "risk")
    listed = await seen(at_desk, f"/approvals?model={name}")
    assert "<b>risk</b>, yours" in listed
    shown = unescape(await seen(at_desk, page))
    approve = f"/models/{name}/approve?approval={approval.approval_id}&function=risk"
    assert approve in shown
    assert "Approve for trading" not in shown
    asked = await at_desk.get(approve)
    assert LONG in asked.text
    form = fields(asked.text) | {"comment": "limits are set"}
    for _ in range(2):
        answer = await at_desk.post(approve, data=form, headers={"origin": ADDRESS})
        assert (answer.status_code, answer.headers["location"]) == (303, page)
    assert FORM not in (await at_desk.get(approve.replace("=risk", "=trading"))).text
    await be(at_desk, desk, "trader")
    refused = await seen(at_desk, promote)
    assert "An approval is missing of trading" in refused
    assert f'href="{page}">The request that waits' in refused
    await send(at_desk, approve.replace("=risk", "=trading"), {"comment": ""})
    assert "Move to production" in await seen(at_desk, page)
    assert (await send(at_desk, promote, {"reason": "it passed its tests"})).status_code == 303
    used = desk.founder.get_approval(approval.approval_id)
    assert [(one.function, one.decided_by, one.comment) for one in used.decisions] == [
        ("risk", "risk", "limits are set"),
        ("trading", "trader", ""),
    ]
    assert used.state is ApprovalState.USED


async def test_a_refusal_needs_a_comment_and_what_was_written_stays(at_desk: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model("risk")
    approval = desk.quant.request_approval(f"{name}/1", reason="better").approval_id
    await be(at_desk, desk, "risk")
    reject = f"/models/{name}/reject?approval={approval}&function=risk"
    again = await send(at_desk, reject, {"comment": "  "})
    assert again.status_code == 400
    assert "Nothing was changed: comment" in again.text
    form = fields(again.text)
    assert (await at_desk.post(reject, data={**form, "comment": "no"}, headers={"origin": ADDRESS})).status_code == 303
    assert desk.founder.get_approval(approval).state is ApprovalState.REJECTED
    assert (await send_closed(at_desk, reject, form)).status_code == 409
    await be(at_desk, desk, "quant")
    wanted = {"wanted": "smaller", "evidence": f"{HOSTILE}\nnone", "expires_at": "2001-01-01T00:00"}
    again = await send(at_desk, f"/models/{name}/request-approval?version=1&to=production", wanted)
    assert (again.status_code, HOSTILE in again.text) == (400, False)
    for text in ("smaller", f"{HOSTILE}\nnone", "2001-01-01T00:00"):
        assert text in unescape(again.text)
    assert (await at_desk.get(f"/models/{name}/approve?approval={approval}&function=risk")).status_code == 200
    other = desk.model("risk")
    assert (await at_desk.get(f"/models/{other}/approve?approval={approval}&function=risk")).status_code == 400


async def send_closed(at_desk: httpx.AsyncClient, path: str, form: Mapping[str, str]) -> httpx.Response:
    fresh = {**form, "request_id": "", "etag": "", "comment": "again"}
    return await at_desk.post(path, data=fresh, headers={"origin": ADDRESS})


async def test_who_requested_may_withdraw_and_others_not(at_desk: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model("risk")
    approval = desk.quant.request_approval(f"{name}/1", reason="better").approval_id
    withdraw = f"/models/{name}/withdraw-approval?approval={approval}"
    await be(at_desk, desk, "junior")
    assert "withdraw-approval" not in await seen(at_desk, f"/approvals/{approval}")
    assert "only they or an operator withdraw it" in await seen(at_desk, withdraw)
    await be(at_desk, desk, "quant")
    assert (await send(at_desk, withdraw, {})).headers["location"] == f"/approvals/{approval}"
    assert "withdrawn" in await seen(at_desk, f"/approvals?model={name}&state=withdrawn")
    assert "No request fits this filter" in await seen(at_desk, f"/approvals?model={name}&state=pending")
    assert (await at_desk.get("/approvals?state=open")).status_code == 400


async def test_a_console_without_changes_offers_none_of_these(desk: Desk) -> None:
    name = desk.model("risk")
    approval = desk.quant.request_approval(f"{name}/1", reason="better").approval_id
    finding = desk.both.open_finding(name, title="no costs", severity="low", owner="ada").finding_id
    async with browsing(desk.running, read_only=True) as at_desk:
        await be(at_desk, desk, "risk")
        acts = ("approve", "reject", "request-approval", "change-finding", "close-finding", "open-finding")
        for path in (f"/approvals/{approval}", f"/findings/{finding}", f"/models/{name}", f"/models/{name}/versions/1"):
            page = await seen(at_desk, path)
            assert [act for act in (*acts, "record-review") if f"/{act}" in page] == []
        opening = f"/models/{name}/open-finding"
        assert (await at_desk.get(opening)).status_code == 404


async def test_the_pages_have_json_twins(at_desk: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model("risk")
    approval = desk.quant.request_approval(f"{name}/1", reason="better")
    await be(at_desk, desk, "risk")
    twin = (await at_desk.get(f"/approvals/{approval.approval_id}.json")).json()
    assert (twin["approval"]["reason"], twin["waiting"]) == ("better", {"risk": ""})
    assert (await at_desk.get(f"/approvals.json?model={name}")).json()["pending"][0]["reason"] == "better"
    assert (await at_desk.get("/findings?format=json&state=closed")).json()["given"]["state"] == "closed"
    assert urlsplit(str((await at_desk.get("/reviews.json")).url)).path == "/reviews.json"


async def test_who_registered_a_version_elsewhere_is_told_that_another_must_decide(
    at_desk: httpx.AsyncClient, desk: Desk, tmp_path: Path
) -> None:
    there = desk.trader.register(f"{desk.model()}-there", Path(__file__))
    here = desk.quant.import_evidence(desk.founder.export_evidence(there, tmp_path / "pack.zip"), as_model=desk.model())
    desk.trader.promote(here, to="staging")
    rules = (RequiredApproval(("trading",)),)
    desk.founder.set_promotion_policy(PromotionPolicy(here.model, required_approvals=rules))
    request = desk.quant.request_approval(here, reason="better")
    await be(at_desk, desk, "trader")
    assert "you registered the version; another person must decide" in await seen(
        at_desk, f"/approvals/{request.approval_id}"
    )
