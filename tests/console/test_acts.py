"""Further changes by the console: A/B tests, retraining, schedules, and the halt of many models."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from modelward import AsyncClient, errors
from modelward.caller import Role
from modelward.lifecycle import LoadFailure
from tests.console.conftest import ADDRESS, browsing, sign_in
from tests.console.test_changes import fields, sent
from tests.reports.test_drift_report import Page
from tests.security.test_tokens import token_of
from tests.support.abtest_traffic import outcomes, register_two
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Takes seconds.

HOSTILE = "<script>alert(1)</script>"
FORM = '<form method="post" class="act">'


@pytest.fixture
async def two(sdk: AsyncClient, name: str, tmp_path: Path) -> dict[str, str]:
    """A champion in production, and a challenger in staging."""
    return await register_two(sdk, name, tmp_path, staged=True)


async def test_an_ab_test_is_concluded_as_it_was_shown(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str]
) -> None:
    test = await sdk.create_ab_test(name, two, primary_metric="pnl_bps")
    path = f"/models/{name}/conclude?test={name}"
    assert path in (await browser.get(f"/models/{name}/ab")).text
    undecided = await browser.get(path)
    assert "does not choose a winner yet" in undecided.text
    assert FORM not in undecided.text
    await sdk.record_ab_outcomes(test, outcomes(test, 1000, lift=2.0))
    asked = (await browser.get(path)).text
    assert f"challenger ({name}/2) wins" in asked
    assert f"{name}/2 is then in production" in asked
    assert f"{name}/1 leaves production" in asked
    assert f"modelward ab conclude {name} --action by-rule" in asked
    assert (await sdk.get_ab_test(name)).conclusion is None
    for _ in range(2):
        answer = await sent(browser, path, fields(asked))
        assert (answer.status_code, answer.headers["location"]) == (303, f"/models/{name}/ab")
    assert (await sdk.resolve(name)).version.version == 2
    assert "Concluded by console" in (await browser.get(f"/models/{name}/ab")).text


async def test_a_winner_and_what_follows_can_be_chosen(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str]
) -> None:
    await sdk.create_ab_test(name, two, primary_metric="pnl_bps")
    path = f"/models/{name}/conclude?test={name}&winner=challenger&action=none"
    asked = (await browser.get(path)).text
    assert "Nothing is promoted" in asked
    assert '<option value="challenger" selected>' in asked
    await sent(browser, path, fields(asked))
    conclusion = (await sdk.get_ab_test(name)).conclusion
    assert conclusion
    assert (conclusion.winner, conclusion.reason) == ("challenger", "better")
    assert (await sdk.resolve(name)).version.version == 1
    assert (await browser.get(f"{path}&action=win")).status_code == 400
    assert (await browser.get(f"/models/{name}/conclude")).status_code == 400
    await sdk.create_model(f"{name}-other")
    assert (await browser.get(path.replace(f"/{name}/", f"/{name}-other/"))).status_code == 400


async def test_a_retraining_is_requested_after_what_is_due_was_shown(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str
) -> None:
    await sdk.create_model(name)
    path = f"/models/{name}/retrain"
    assert path in (await browser.get(f"/models/{name}")).text
    asked = (await browser.get(path)).text
    assert "No schedule makes the model due now" in asked
    assert "A job waits in the queue" in asked
    assert [job async for job in sdk.list_jobs(name)] == []
    for _ in range(2):
        assert (await sent(browser, path, fields(asked))).headers["location"] == "/retraining"
    [job] = [job async for job in sdk.list_jobs(name)]
    assert [reason.summary for reason in job.reasons] == ["requested by console: better"]
    again = (await browser.get(path)).text
    assert "requested by console: better" in again
    assert f"The job {job.job_id}, which is pending" in again


async def test_a_schedule_is_paused_and_resumed(browser: httpx.AsyncClient, sdk: AsyncClient, name: str) -> None:
    await sdk.create_model(name)
    schedule = await sdk.create_schedule(name, every=timedelta(days=30), schedule_id=name)
    pause = f"/models/{name}/pause-schedule?schedule={name}"
    asked = (await browser.get(pause)).text
    assert "It would fire at" in asked
    assert f"modelward schedule pause {name} --reason" in asked
    await sent(browser, pause, fields(asked))
    paused = await sdk.get_schedule(schedule.schedule_id)
    assert (paused.paused, paused.pause_reason) == (True, "better")
    assert (await sent(browser, pause, fields(asked) | {"request_id": ""})).status_code == 409, "another etag"
    resume = pause.replace("/pause-", "/resume-")
    asked = (await browser.get(resume)).text
    assert "Firings that were missed meanwhile" in asked
    assert 'name="reason"' not in asked
    await sent(browser, resume, fields(asked))
    assert not (await sdk.get_schedule(schedule.schedule_id)).paused
    await sdk.create_model(f"{name}-other")
    assert (await browser.get(pause.replace(f"/{name}/", f"/{name}-other/"))).status_code == 400


async def test_many_models_are_halted_after_they_were_listed(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str
) -> None:
    for number in range(53):
        await sdk.create_model(f"{name}-{number:02}", tags={"desk": f"{name} <b>"})
    await sdk.halt(f"{name}-00", reason="before")
    assert 'href="/halt"' in (await browser.get("/")).text
    assert FORM not in (await browser.get("/halt")).text
    path = "/halt?" + str(httpx.QueryParams({"prefix": name, "tags": f"desk={name} <b>"}))
    asked = (await browser.get(path)).text
    assert "52 models are halted by this" in asked
    assert "and 2 more" in asked
    assert "1 halted before" in asked
    assert asked.count("<a href") < 70
    assert (await sdk.get_model(f"{name}-01")).halt is None
    form = {key: value.replace("&lt;", "<").replace("&gt;", ">") for key, value in fields(asked).items()}
    answer = await sent(browser, path, form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    halts = [model.halt async for model in sdk.list_models(name_prefix=name)]
    assert [halt.reason for halt in halts if halt] == ["before"] + ["better"] * 52
    for wrong in ("tags=desk", "all=on&prefix=x", "prefix=!"):
        assert (await browser.get(f"/halt?{wrong}")).status_code == 400


async def test_a_viewer_is_offered_none_of_these(stranger: httpx.AsyncClient, guarded: RunningServer) -> None:
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER))
    for path in ("/models/spx-1/halt", "/models/spx-1/retrain", "/halt?prefix=spx"):
        page = await stranger.get(path)
        assert (FORM in page.text, "and yours is viewer" in page.text) == (False, True)
        form_key = page.text.partition('name="form_key" value="')[2].partition('"')[0]
        form = {"form_key": form_key, "reason": "because", "prefix": "spx"}
        answer = await stranger.post(path, data=form, headers={"origin": ADDRESS})
        assert answer.status_code == 403
    for path in ("/", "/models/spx-1", "/retraining"):
        page = await stranger.get(path)
        shown = Page(page.content)
        assert shown.count("a", href="/halt") == shown.count("a", href="/models/spx-1/retrain") == 0
    await sign_in(stranger, token_of(guarded, "tess", Role.TRAINER))
    assert FORM in (await stranger.get("/models/spx-1/retrain")).text
    assert FORM not in (await stranger.get("/models/spx-1/halt")).text


@pytest.fixture
async def reader(server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at a console that offers no changes."""
    async with browsing(server, read_only=True) as browser:
        yield browser


async def test_a_console_without_changes_offers_and_makes_none(
    reader: httpx.AsyncClient, browser: httpx.AsyncClient, sdk: AsyncClient, name: str
) -> None:
    await sdk.create_model(name)
    for path in (f"/models/{name}/retrain", f"/models/{name}/halt", f"/halt?prefix={name}"):
        form = fields((await browser.get(path)).text)
        assert form
        assert (await reader.get(path)).status_code == 404
        assert (await sent(reader, path, form)).status_code == 404
    assert f"/models/{name}/retrain" not in (await reader.get(f"/models/{name}")).text
    assert (await sdk.get_model(name)).halt is None


async def test_the_rollout_of_a_change_is_shown_until_all_engines_have_it(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str]
) -> None:
    await sdk.report_active(two["champion"], engine="fast")
    await sdk.report_active(two["champion"], engine=HOSTILE)
    path = f"/models/{name}/promote?version=2&to=production"
    answer = await sent(browser, path, fields((await browser.get(path)).text))
    rollout = answer.headers["location"]
    page = (await browser.get(rollout)).text
    assert "0 of 2 engines run version 2" in page
    assert "Look again" in page
    assert '<div id="live">' in page
    await sdk.report_active(two["challenger"], engine="fast")
    await sdk.report_active(two["champion"], engine=HOSTILE, failure=LoadFailure(2, HOSTILE))
    page = (await browser.get(rollout)).text
    assert "1 of 2 engines run version 2" in page
    assert "could not load version 2: &lt;script&gt;" in page
    assert HOSTILE not in page
    await sdk.report_active(two["challenger"], engine=HOSTILE)
    page = (await browser.get(rollout)).text
    assert "Every engine that reports runs the version in production" in page
    assert "Look again" not in page
    await sdk.halt(name, reason=HOSTILE)
    with pytest.raises(errors.ModelHalted):
        await sdk.resolve(name)
    assert f"{name} is halted" in (await browser.get(rollout)).text
    assert (await browser.get("/models/nobody/rollout")).status_code == 404
