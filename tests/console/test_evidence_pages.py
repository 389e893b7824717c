"""Evidence packs, the log of scores and drills in the console."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from modelward import EngineProof
from modelward.caller import Role
from modelward.evidence.verify import verify_pack
from modelward.lifecycle import Stage, VersionRef
from modelward.scoring import ScoreRecord
from modelward_server.scoring.score_log import record_scores
from tests.console.conftest import sign_in
from tests.console.desk_browser import HOSTILE, be, seen, send
from tests.security.test_tokens import token_of
from tests.support.desk import Desk
from tests.support.waiting import eventually

pytestmark = pytest.mark.system  # Takes seconds.


async def test_the_evidence_of_a_version_is_downloaded(at_desk: httpx.AsyncClient, desk: Desk, tmp_path: Path) -> None:
    name = desk.model()
    address = f"/models/{name}/versions/1/evidence.zip"
    await be(at_desk, desk, "compliance")
    assert address in await seen(at_desk, f"/models/{name}/versions/1")
    today = datetime.now(UTC).date()
    for number, query in enumerate(("", f"?as_of={today}")):
        answer = await at_desk.get(address + query)
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}-1.zip"'
        pack = tmp_path / f"{number}.zip"
        pack.write_bytes(answer.content)
        found = verify_pack(pack)
        assert (found.intact, found.versions, found.records > 0) == (True, (f"{name}/1",), True)
    for wrong in ("?as_of=2099-01-01", "?as_of=2026-13-01", "?as_of=yesterday", "?as_of=0001-01-01T00:00%2B05:00"):
        assert (await at_desk.get(address + wrong)).status_code == 400
    for missing in (address.replace("/1/", "/9/"), f"{address}?as_of={today - timedelta(days=1)}"):
        assert (await at_desk.get(missing)).status_code == 404
    desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    pack.write_bytes((await at_desk.get("/evidence.zip")).content)
    assert f"{name}/1" in verify_pack(pack).versions
    assert "/evidence.zip" in await seen(at_desk, "/inventory")
    limited = token_of(desk.running, "limited", Role.VIEWER, f"{name}-none")
    await sign_in(at_desk, limited)
    assert "/evidence.zip" not in await seen(at_desk, "/inventory")
    assert (await at_desk.get("/evidence.zip")).status_code == 403
    assert (await at_desk.get(address)).status_code == 403


async def test_the_log_of_scores_is_shown_where_there_is_one(at_desk: httpx.AsyncClient, desk: Desk) -> None:
    name, at = desk.model(), datetime.now(UTC) - timedelta(hours=1)
    await be(at_desk, desk, "compliance")
    assert 'href="/scores"' not in await seen(at_desk, "/approvals")
    assert "No answer was logged" in await seen(at_desk, "/scores")
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
    assert 'href="/scores"' in await seen(at_desk, "/approvals")
    assert "&lt;script&gt;" in await seen(at_desk, f"/scores?model={name}&version=1")
    assert "engine-7" not in await seen(at_desk, f"/scores?until={(at + timedelta(seconds=30)).isoformat()[:19]}")
    own = await seen(at_desk, "/scores?actor=engine-7")
    assert ("&lt;script&gt;" in own, "a" * 64 in own) == (False, True)
    assert "engine-7" not in await seen(at_desk, f"/scores?request={0:032x}")
    assert "engine-7" in await seen(at_desk, f"/scores?request={1:032x}")
    assert (await at_desk.get("/scores?since=then")).status_code == 400


async def test_a_drill_is_started_and_tells_which_engines_are_proven(at_desk: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model()
    desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    for engine in ("ny4-01", HOSTILE):
        desk.quant.report_active(f"{name}/1", engine=engine, silent_after=timedelta(days=1))
    await be(at_desk, desk, "compliance")
    assert f"/models/{name}/drill" not in await seen(at_desk, f"/models/{name}")
    assert "yours is viewer" in await seen(at_desk, f"/models/{name}/drill")
    assert "yours is viewer" in await seen(at_desk, "/drill")
    await be(at_desk, desk, "risk")
    start = f"/models/{name}/drill"
    assert start in await seen(at_desk, f"/models/{name}")
    assert "2 running" in await seen(at_desk, start)
    answer = await send(at_desk, start, {"reason": "yearly test"})
    page = answer.headers["location"]
    (drill,) = desk.founder.list_drills(name)
    assert (page, drill.reason, drill.started_by) == (f"/drills/{drill.drill_id}", "yearly test", "risk")
    runs = await seen(at_desk, page)
    assert ("0 of 2 engines proven to stop" in runs, 'http-equiv="refresh"' in runs) == (True, True)
    assert "data-ended" not in runs
    desk.quant.answer_drill(drill.drill_id, engine="ny4-01", stopped_after=timedelta(milliseconds=12))
    runs = await seen(at_desk, page)
    assert ("1 of 2 engines proven to stop" in runs, ">0.012<" in runs, "waiting" in runs) == (True, True, True)
    desk.quant.answer_drill(drill.drill_id, engine=HOSTILE, used_none=True)
    ended = await seen(at_desk, page)
    assert ("Every engine would have stopped" in ended, "data-ended" in ended) == (True, True)
    assert "2 of 2" in await seen(at_desk, f"/drills?model={name}")
    assert {one.proof for one in desk.founder.get_drill(drill.drill_id).engines} == {EngineProof.PROVEN}


async def test_an_engine_that_does_not_answer_is_not_proven(at_desk: httpx.AsyncClient, desk: Desk) -> None:
    name = desk.model()
    desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    desk.quant.report_active(f"{name}/1", engine="ny4-01", silent_after=timedelta(days=1))
    (drill,) = desk.risk.start_drill([name], reason="test", timeout=timedelta(seconds=1))
    eventually(lambda: desk.risk.get_drill(drill.drill_id).ended_at)
    await be(at_desk, desk, "compliance")
    page = await seen(at_desk, f"/drills/{drill.drill_id}")
    assert ("1 engine has not answered" in page, "not proven" in page) == (True, True)
    await be(at_desk, desk, "risk")
    assert (await send(at_desk, "/drill", {"reason": "all"})).headers["location"] == "/drills"
    (newest, _) = desk.risk.list_drills(name)
    assert newest.reason == "all"
