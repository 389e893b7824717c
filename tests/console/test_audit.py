"""The page of the audit log: filtered, verified, and exported."""

import csv
import io
import json
import re
from datetime import timedelta

import httpx
import pytest

from modelward import AsyncClient, Client
from modelward.caller import Role
from modelward.lifecycle import AuditRecord
from modelward_server.console.pages import audit
from modelward_server.console.pages.lists import ROWS
from tests.console.conftest import ADDRESS, sign_in
from tests.security.test_tokens import token_of
from tests.support.clients import collect
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Takes seconds.

HOSTILE = "<script>alert(1)</script>"
FORMULA = "=HYPERLINK(0)"


async def of_model(sdk: AsyncClient, name: str) -> list[AuditRecord]:
    """Return the records of a model, the newest first."""
    return [record for record in await collect(sdk.export_audit_log()) if record.model == name][::-1]


@pytest.fixture
async def changed(sdk: AsyncClient, name: str) -> str:
    """A model that has been halted and resumed."""
    await sdk.create_model(name)
    await sdk.halt(name, reason=HOSTILE)
    await sdk.resume(name, reason=FORMULA)
    return name


async def test_newest_changes_come_first_and_older_ones_one_click_away(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ROWS == 50
    monkeypatch.setattr(audit, "ROWS", 3)
    await sdk.create_model(name)
    for number in range(5):
        await sdk.update_model(name, description=str(number))
    records = await collect(sdk.export_audit_log())
    newest = (await browser.get("/audit.json")).json()
    older = (await browser.get(f"/audit.json?{newest['older']}")).json()
    shown = [change["sequence"] for change in (*newest["changes"], *older["changes"])]
    assert shown == [record.sequence for record in records[::-1]][: len(shown)]
    assert len(newest["changes"]) == len(older["changes"]) == 3
    assert f'href="/audit?{newest["older"]}"' in (await browser.get("/audit")).text


async def test_a_filter_keeps_model_actor_kind_and_time(
    browser: httpx.AsyncClient, sdk: AsyncClient, changed: str
) -> None:
    resumed, halted, created = await of_model(sdk, changed)
    for query, kept in (
        ({"model": changed}, [resumed, halted, created]),
        ({"model": changed, "actor": "nobody"}, []),
        (
            {"model": changed, "kind": created.kind},
            [one for one in (resumed, halted, created) if one.kind == created.kind],
        ),
        ({"model": changed, "since": halted.happened_at.isoformat()}, [resumed, halted]),
        ({"model": changed, "until": halted.happened_at.isoformat()}, [created]),
    ):
        shown = (await browser.get("/audit.json", params=query)).json()["changes"]
        assert [one["sequence"] for one in shown] == [one.sequence for one in kept], query
    far = {"until": (created.happened_at - timedelta(days=9000)).isoformat()}
    assert "No change fits" in (await browser.get("/audit", params=far)).text
    assert (await browser.get("/audit?since=soon")).status_code == 400
    assert (await browser.get("/audit?before=-1")).status_code == 400


async def test_search_goes_on_where_a_page_has_ended(
    browser: httpx.AsyncClient, sdk: AsyncClient, changed: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "SEARCHED", 2)
    monkeypatch.setattr(audit, "BLOCK", 1)
    for number in range(3):
        await sdk.create_model(f"after-{number}-{name}")
    found: list[dict[str, object]] = []
    query = f"model={changed}"
    for _ in range(5):
        shown = (await browser.get(f"/audit.json?{query}")).json()
        found, query = found + shown["changes"], shown["older"]
    assert [one["sequence"] for one in found] == [one.sequence for one in await of_model(sdk, changed)]


async def test_hostile_texts_are_shown_as_texts(browser: httpx.AsyncClient, changed: str) -> None:
    page = (await browser.get("/audit", params={"model": changed})).text
    assert "&lt;script&gt;alert(1)" in page
    assert HOSTILE not in page
    reflected = (await browser.get("/audit", params={"actor": f'">{HOSTILE}'})).text
    assert HOSTILE not in reflected


async def test_exports_hold_what_the_filter_keeps(browser: httpx.AsyncClient, sdk: AsyncClient, changed: str) -> None:
    records = (await of_model(sdk, changed))[::-1]
    lines = await browser.get("/audit/export.jsonl", params={"model": changed})
    assert [json.loads(line) for line in lines.text.splitlines()] == [record.to_dict() for record in records]
    table = await browser.get("/audit/export.csv", params={"model": changed})
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [int(row["sequence"]) for row in rows] == [record.sequence for record in records]
    assert [row["state"] for row in rows] == [record.payload for record in records]
    assert "attachment" in table.headers["content-disposition"]


async def test_no_cell_is_a_formula(browser: httpx.AsyncClient, server: RunningServer, name: str) -> None:
    async with AsyncClient(server.target, actor=FORMULA) as client:
        await client.create_model(name)
    table = (await browser.get("/audit/export.csv", params={"model": name})).text
    (row,) = csv.DictReader(io.StringIO(table))
    assert row["actor"] == f"'{FORMULA}"


async def test_the_log_is_verified_by_a_form_of_this_console_only(browser: httpx.AsyncClient, sdk: AsyncClient) -> None:
    page = (await browser.get("/audit")).text
    (form_key,) = re.findall(r'name="form_key" value="([^"]*)"', page)
    head = (await sdk.verify_audit_log()).head_hash
    sent = {"form_key": form_key, "expected_hash": head}
    found = await browser.post("/audit/verify", data=sent, headers={"origin": ADDRESS})
    assert (found.status_code, "is intact" in found.text, "of record" in found.text) == (200, True, True)
    missing = await browser.post("/audit/verify", data={**sent, "expected_hash": "0" * 64})
    assert "not in the log" in missing.text
    for refused in ({**sent, "form_key": "guessed"}, {"expected_hash": head}):
        assert (await browser.post("/audit/verify", data=refused)).status_code == 403
    elsewhere = await browser.post("/audit/verify", data=sent, headers={"origin": "https://elsewhere.example"})
    assert elsewhere.status_code == 403


async def test_who_may_reach_some_models_sees_their_changes_of_stage(
    stranger: httpx.AsyncClient, guarded: RunningServer
) -> None:
    with Client(guarded.target, token=token_of(guarded, "root", Role.ADMIN)) as client:
        for model in ("spx-audited", "ndx-audited"):
            client.register(model, "README.md")
            client.promote(f"{model}/1", to="staging", reason=HOSTILE)
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER, "spx-"))
    page = (await stranger.get("/audit")).text
    assert "training to staging: &lt;script&gt;" in page
    assert "spx-audited" in page
    for path in ("/audit", "/audit.json", "/audit/export.jsonl", "/audit/export.csv"):
        shown = await stranger.get(path)
        assert (shown.status_code, "ndx-" in shown.text) == (200, False), path
    (form_key,) = set(re.findall(r'name="form_key" value="([^"]*)"', page))
    assert (await stranger.post("/audit/verify", data={"form_key": form_key})).status_code == 403


async def test_older_changes_of_stage_are_one_click_away(
    stranger: httpx.AsyncClient, guarded: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ROWS", 1)
    with Client(guarded.target, token=token_of(guarded, "root", Role.ADMIN)) as client:
        client.register("old-1", "README.md")
        client.promote("old-1/1", to="staging")
        client.promote("old-1/1", to="production", reason="it passed its tests")
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER, "old-"))
    words: list[str] = []
    query = ""
    for _ in range(3):
        shown = (await stranger.get(f"/audit.json?{query}")).json()
        words, query = words + [one["words"] for one in shown["changes"]], shown["older"]
    assert words == ["staging to production: it passed its tests", "training to staging", "in training: registered"]


async def test_a_stranger_downloads_nothing(stranger: httpx.AsyncClient) -> None:
    for path in ("/audit/export.jsonl", "/audit/export.csv", "/inventory.csv"):
        assert (await stranger.get(path)).status_code == 303


async def test_an_empty_page_says_so(stranger: httpx.AsyncClient, guarded: RunningServer) -> None:
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER, "none-"))
    assert "Nothing was changed yet" in (await stranger.get("/audit")).text
