"""The page of retraining: why models are due, the queue, and what schedules did and will do."""

import json
from datetime import timedelta

import httpx
import pytest

from modelward import AsyncClient
from modelward.caller import Role
from modelward.retraining import JobState
from modelward_server.console.pages import retraining
from modelward_server.console.pages.lists import ROWS
from tests.console.conftest import sign_in
from tests.security.test_tokens import token_of
from tests.support.running_server import RunningServer

HOSTILE = "<script>alert(1)</script>"


@pytest.mark.system
async def test_a_job_and_its_lease_are_shown(browser: httpx.AsyncClient, sdk: AsyncClient, name: str) -> None:
    await sdk.create_model(name)
    job = await sdk.request_retraining(name, reason=HOSTILE, queue=name[-40:])
    waiting = (await browser.get("/retraining")).text
    assert job.job_id in waiting
    assert HOSTILE not in waiting
    await sdk.lease_job(name, holder="<b>worker</b>")
    leased = (await browser.get("/retraining")).text
    row = leased.partition(job.job_id)[2].partition("</tr>")[0]
    assert "&lt;b&gt;worker&lt;/b&gt;" in row
    assert "leased" in row
    assert "1 of " in row


@pytest.mark.system
async def test_next_firings_are_shown_until_the_schedule_is_paused(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str
) -> None:
    await sdk.create_model(name)
    schedule = await sdk.create_schedule(name, every=timedelta(minutes=1))
    upcoming = (await browser.get("/retraining.json")).json()["upcoming"]
    assert [one["schedule"]["model"] for one in upcoming].count(name) == 5
    await sdk.pause_schedule(schedule.schedule_id, reason=HOSTILE)
    shown = (await browser.get("/retraining.json")).json()
    assert name not in {one["schedule"]["model"] for one in shown["upcoming"]}
    page = (await browser.get("/retraining")).text
    assert "paused: &lt;script&gt;" in page
    assert HOSTILE not in page


@pytest.mark.system
async def test_no_more_than_a_page_of_jobs_is_shown(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ROWS == sum(retraining.JOBS.values()) == 50
    monkeypatch.setattr(retraining, "ROWS", 2)
    monkeypatch.setattr(retraining, "JOBS", {JobState.PENDING: 2})
    for number in range(3):
        await sdk.create_model(f"{number}-{name}")
        await sdk.request_retraining(f"{number}-{name}")
    shown = (await browser.get("/retraining.json")).json()
    assert [job["model"] for job in shown["jobs"]] == [f"2-{name}", f"1-{name}"]
    assert max(map(len, (shown["due"], shown["firings"], shown["upcoming"], shown["schedules"]))) <= 2
    assert "The newest of each state;" in (await browser.get("/retraining")).text


@pytest.mark.system
async def test_dead_jobs_come_first_with_what_failed(browser: httpx.AsyncClient, sdk: AsyncClient, name: str) -> None:
    for model in (name, f"later-{name}"):
        await sdk.create_model(model)
        await sdk.request_retraining(model)
    job = await sdk.fail_job(await sdk.lease_job(name, holder="worker"), HOSTILE, give_up=True)
    jobs = (await browser.get("/retraining.json")).json()["jobs"]
    assert [job["state"] for job in jobs] == sorted((job["state"] for job in jobs), key=list(retraining.JOBS).index)
    page = (await browser.get("/retraining")).text
    assert "dead: &lt;script&gt;" in page.partition(job.job_id)[2].partition("</tr>")[0]
    assert HOSTILE not in page


@pytest.mark.system
@pytest.mark.parametrize("path", ["/retraining", "/retraining.json"])
async def test_models_of_others_are_not_shown(stranger: httpx.AsyncClient, guarded: RunningServer, path: str) -> None:
    await sign_in(stranger, token_of(guarded, "otto", Role.OPERATOR))
    async with AsyncClient(guarded.target, token=token_of(guarded, "root", Role.ADMIN)) as client:
        await client.request_retraining("ndx-1")
    assert "ndx-1" in (await stranger.get(path)).text
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER, "spx-"))
    page = await stranger.get(path)
    assert (page.status_code, "ndx-1" in page.text) == (200, False)


async def test_an_empty_page_says_so(stranger: httpx.AsyncClient, guarded: RunningServer) -> None:
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER, "none-"))
    page = (await stranger.get("/retraining")).text
    for words in ("No model is due", "No job is pending", "No schedule has fired", "There is no schedule"):
        assert words in page
    assert json.loads((await stranger.get("/retraining.json")).text)["jobs"] == []
