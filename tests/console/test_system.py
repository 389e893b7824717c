"""The page of the system: health by part, and who the user is to the server."""

import httpx
import pytest

import modelward
from modelward import AsyncClient
from modelward.caller import Role
from modelward_server.console.application import application
from tests.console.conftest import ADDRESS, sign_in
from tests.security.test_tokens import token_of
from tests.support.running_server import RunningServer


async def test_parts_tasks_and_versions_are_shown(browser: httpx.AsyncClient, server: RunningServer) -> None:
    answer = (await browser.get("/system.json")).json()
    shown = answer["health"]
    assert shown["parts"].keys() == {"server", "database", "MLflow"}
    assert shown["parts"]["database"] == "serving"
    assert shown["tasks"]["mirror"] == "serving"
    assert shown["services"]["modelward.v1.LifecycleService"] == "serving"
    assert (answer["server"], answer["console_version"]) == (server.target, modelward.__version__)
    page = (await browser.get("/system")).text
    for text in ("Database", "mirror", server.target, modelward.__version__, "requires no authentication"):
        assert text in page


async def test_callers_are_told_who_they_are_and_no_secret(stranger: httpx.AsyncClient, guarded: RunningServer) -> None:
    token = token_of(guarded, "<b>vera</b>", Role.VIEWER, "spx-", "dax-")
    assert (await stranger.get("/system")).status_code == 303
    await sign_in(stranger, token)
    page = (await stranger.get("/system")).text
    assert "&lt;b&gt;vera&lt;/b&gt;" in page
    assert "<b>vera" not in page
    assert "viewer" in page
    assert "dax-, spx-" in page or "spx-, dax-" in page
    for path in ("/system", "/system.json"):
        assert token not in (await stranger.get(path)).text
        assert str(guarded.settings.data_dir) not in (await stranger.get(path)).text


@pytest.mark.system
async def test_operators_see_settings_and_replicas_and_others_do_not(
    stranger: httpx.AsyncClient, guarded: RunningServer
) -> None:
    for role, prefixes, shown in ((Role.VIEWER, (), 0), (Role.OPERATOR, ("spx-",), 0), (Role.OPERATOR, (), 1)):
        await sign_in(stranger, token_of(guarded, "otto", role, *prefixes))
        page = (await stranger.get("/system")).text
        assert page.count("modelward settings") == page.count("Servers that share the ledger") == shown
        told = (await stranger.get("/system.json")).json()["system"]
        assert (told is not None) == bool(shown)
    assert "secret, not set" in page
    assert [one["replica_id"] for one in told["replicas"]] == [told["replica_id"]]


async def test_a_server_that_does_not_answer_is_named_so() -> None:
    app = application(lambda _: AsyncClient("127.0.0.1:1", timeout=0.2), loopback=True)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ADDRESS) as browser,
    ):
        answer = await browser.get("/system")
    assert (answer.status_code, "does not answer" in answer.text) == (503, True)
