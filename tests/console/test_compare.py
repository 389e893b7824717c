"""The form of a comparison: versions, test data by upload or URI, progress and the verdict; and what is refused."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from modelward import AsyncClient
from modelward.caller import Role
from modelward_server.console import uploads
from modelward_server.console.compare_runs import MAX_RUNNING, Run, Runs
from modelward_server.console.pages import compare
from tests.console.conftest import ADDRESS, browsing, sign_in
from tests.security.test_tokens import token_of
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.

HOSTILE = "<script>alert(1)</script>"
ORIGIN = {"origin": ADDRESS}
PART = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
CSV = {"file": ("test.csv", b"x,up\n1,0\n2,1\n", "text/csv")}


def fields(page: str) -> dict[str, str]:
    """Return the hidden fields of the form that is sent with a file."""
    form = page.partition('enctype="multipart/form-data"')[2].partition("</form>")[0]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))


def held_out() -> pd.DataFrame:
    """Return rows with two features, a label that the first decides, returns, times and an unusable column."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(300, 2)), columns=["x0", "x1"])
    days = pd.date_range("2024-01-01", periods=300).strftime("%Y-%m-%d")
    return rows.assign(up=(rows.x0 > 0).astype(int), ret=rows.x0 / 100, day=days, note="a b")


@pytest.fixture
async def two(sdk: AsyncClient, name: str) -> str:
    """A model with a version that predicts the label from the wrong feature, and one that takes the right one."""
    data = held_out()
    for column in ("x1", "x0"):
        features = data[["x0", "x1"]].assign(**{c: 0.0 for c in ("x0", "x1") if c != column})
        await sdk.register(name, LogisticRegression().fit(features, data.up))
    return name


async def sent(browser: httpx.AsyncClient, form: Mapping[str, Any], files: Mapping[str, Any]) -> httpx.Response:
    return await browser.post("/compare", data={**form}, files={**files}, headers=ORIGIN)


async def verdict(browser: httpx.AsyncClient, address: str) -> httpx.Response:
    """Look at a comparison until it has ended, as a browser without scripts does."""
    page = await browser.get(address)
    while page.status_code == 200:
        assert 'http-equiv="refresh"' in page.text, page.text
        await asyncio.sleep(0.1)
        page = await browser.get(address)
    return await browser.get(page.headers["location"])


async def test_a_comparison_of_an_uploaded_file_ends_at_its_verdict(
    browser: httpx.AsyncClient, sdk: AsyncClient, two: str, tmp_path: Path
) -> None:
    assert f"/compare?model={two}" in (await browser.get(f"/models/{two}/comparisons")).text
    asked = await browser.get(f"/compare?model={two}")
    form: dict[str, Any] = {**fields(asked.text), "versions": [f"{two}/1"], "further": f"{two}/2", "label": "up"}
    form |= {"returns": "ret", "time": "day", "ignore": "note", "primary": "accuracy", "baseline": f"{two}/1"}
    held_out().to_parquet(tmp_path / "data")
    for content, again in ((held_out().to_csv(index=False).encode(), True), ((tmp_path / "data").read_bytes(), False)):
        form["request_id"] = str(uuid4())
        begun = await sent(browser, form, {"file": (HOSTILE, content, "text/csv")})
        assert begun.status_code == 303, begun.text
        if again:  # A second click.
            assert (await sent(browser, form, CSV)).headers["location"] == begun.headers["location"]
        assert HOSTILE not in (await browser.get(begun.headers["location"])).text
        shown = await verdict(browser, begun.headers["location"])
        assert f'{two}/2 against {two}/1: <span class="better">superior</span>' in shown.text
    stored = [one async for one in sdk.list_comparisons(two)]
    assert [(one.rows, one.primary_metric, one.created_by) for one in stored] == [(300, "accuracy", "console")] * 2
    assert {metric.metric for metric in stored[0].results[0].metrics} >= {"accuracy", "net_return"}
    assert stored[0].window
    twin = (await browser.get(f"/comparisons/{stored[0].comparison_id}.json")).json()
    assert twin["rows"][0]["verdict"] == "superior"
    assert f"/comparisons/{stored[0].comparison_id}" in (await browser.get(f"/models/{two}/comparisons")).text


async def test_csv_that_is_uploaded_is_read_as_the_reference_says(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str
) -> None:
    """Codes of digits are text, and an empty text is missing, although the first version has no reference."""
    codes = ["600519", None, "300750", "600519"] * 50
    data = pd.DataFrame({"code": codes, "up": [int(code == "600519") for code in codes]})
    rows = data[["code"]]
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, data.up)
    await sdk.register(name, model)
    await sdk.register(name, model, reference=rows)
    form = fields((await browser.get(f"/compare?model={name}")).text)
    asked = {**form, "versions": [f"{name}/1", f"{name}/2"], "label": "up", "primary": "accuracy"}
    begun = await sent(browser, asked, {"file": ("test.csv", data.to_csv(index=False).encode(), "text/csv")})
    assert begun.status_code == 303, begun.text
    await verdict(browser, begun.headers["location"])
    [stored] = [one async for one in sdk.list_comparisons(name)]
    assert [(one.failure, one.metrics[0].value) for one in stored.results] == [("", 1.0), ("", 1.0)]


async def test_what_is_wrong_is_said_at_the_field(
    browser: httpx.AsyncClient, two: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "REFUSED_SOON_SECONDS", 60.0)
    asked = (await browser.get(f"/compare?model={two}")).text
    form: dict[str, Any] = {**fields(asked), "versions": [f"{two}/2", f"{two}/1"], "label": "up"}
    data = held_out().drop(columns=["ret", "day", "note"]).to_csv(index=False).encode()
    good = {"file": ("test.csv", data, "text/csv")}
    wrong: list[tuple[dict[str, Any], Mapping[str, Any], str, str]] = [
        ({"versions": [f"{two}/1"]}, good, "further", "two versions"),
        ({"further": HOSTILE}, good, "further", "is not of the form"),
        ({"further": f"{two}/9"}, good, "further", "there is no"),
        ({"baseline": f"{two}/9"}, good, "baseline", ""),
        ({"label": ""}, good, "label", "name the column"),
        ({"label": HOSTILE}, good, "label", "not in the data"),
        ({"time": "day"}, good, "time", "not in the data"),
        ({"primary": HOSTILE}, good, "primary", "is not one of"),
        ({}, {"file": ("", b"", "text/csv")}, "file", "choose a file"),
        ({"uri": "file:///data/q3.parquet"}, good, "file", "not both"),
        ({"uri": "file:///data/q3.parquet"}, {"file": ("", b"", "text/csv")}, "uri", "may not read"),
        ({}, {"file": ("test.csv", b"", "text/csv")}, "file", "is empty"),
        ({}, {"file": ("test.csv", b"\xffa,up\n1,0\n", "text/csv")}, "file", "is not UTF-8"),
        ({"ignore": "day"}, good, "ignore", "not in the data"),
        ({}, {"file": ("test.csv", b"PAR1" + b"x" * 99, "text/csv")}, "file", "Parquet"),
        ({}, {"file": ("test.csv", b"ARROW1" + b"x" * 99, "text/csv")}, "file", "no CSV or Parquet"),
        ({}, {"file": ("test.csv", b"," * 10_000 + b"\n", "text/csv")}, "file", "more than 10,000 columns"),
        ({}, CSV, "file", "has no column"),
    ]
    for changed, files, field, said in wrong:
        answer = await sent(browser, {**form, **changed}, files)
        assert answer.status_code == 400, (changed, field)
        [problem] = re.findall(rf'<p class="problem" id="{field}-problem">(.*?)</p>', answer.text, re.DOTALL)
        assert said in problem.replace("&#39;", "'"), (field, problem)
        assert f'aria-describedby="{field}-problem"' in answer.text
        assert HOSTILE not in answer.text
        assert f'value="{two}/1" checked' in answer.text
    assert f"modelward compare {two}/1 {two}/2 DATA" in answer.text, "the page offers the newest first"
    assert "There is no comparison yet" in (await browser.get(f"/models/{two}/comparisons")).text


async def test_a_file_that_is_too_large_is_refused_in_words(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = fields((await browser.get("/compare")).text)
    monkeypatch.setattr(uploads, "MAX_UPLOAD_BYTES", 2000)
    monkeypatch.setattr(uploads, "MAX_DISCARDED_BYTES", 4000)
    for size in (3000, 100_000):
        answer = await sent(browser, form, {"file": ("test.csv", b"x" * size, "text/csv")})
        assert (answer.status_code, "<h1>The file is too large</h1>" in answer.text) == (413, True)


@pytest.mark.parametrize(
    ("changed", "headers"),
    [({"form_key": "guessed"}, ORIGIN), ({"form_key": ""}, {}), ({}, {"origin": "https://elsewhere.example"})],
)
async def test_a_form_of_another_site_begins_nothing(
    browser: httpx.AsyncClient, changed: dict[str, str], headers: dict[str, str]
) -> None:
    form = fields((await browser.get("/compare")).text) | changed
    answer = await browser.post("/compare", data=form, files=CSV, headers=headers)
    assert (answer.status_code, "Nothing was changed" in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/x-www-form-urlencoded", b"form_key=x"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b"--c\r\n\r\nwhat"),
        (
            "multipart/form-data; boundary=b; charset=zlib",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff',
        ),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
    ],
)
async def test_what_is_no_form_with_a_file_is_refused_in_words(
    browser: httpx.AsyncClient, kind: str, content: bytes
) -> None:
    answer = await browser.post("/compare", content=content, headers={**ORIGIN, "content-type": kind})
    assert answer.status_code in {400, 403}
    assert "<h1>" in answer.text


async def test_who_may_not_compare_is_offered_nothing_and_refused(
    stranger: httpx.AsyncClient, guarded: RunningServer
) -> None:
    assert (await stranger.post("/compare", data={}, files=CSV, headers=ORIGIN)).status_code == 303
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER))
    assert "/compare" not in (await stranger.get("/")).text
    assert "/compare" not in (await stranger.get("/models/spx-1/comparisons")).text
    page = (await stranger.get("/compare")).text
    assert ("and yours is viewer" in page, "multipart" in page) == (True, False)
    answer = await stranger.post("/compare", data={}, files=CSV, headers=ORIGIN)
    assert (answer.status_code, "requires trainer" in answer.text) == (403, True)
    await sign_in(stranger, token_of(guarded, "tess", Role.TRAINER, "spx-"))
    form = fields((await stranger.get("/compare")).text) | {"further": "spx-1/1 ndx-1/1", "label": "up"}
    answer = await sent(stranger, form, CSV)
    assert (answer.status_code, "ndx-1" in answer.text) == (400, True)
    assert (await stranger.get("/compare?model=ndx-1")).status_code in {403, 404}


@pytest.fixture
async def reader(server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at a console that offers no changes."""
    async with browsing(server, read_only=True) as browser:
        yield browser


async def test_a_console_without_changes_compares_nothing(reader: httpx.AsyncClient) -> None:
    assert "/compare" not in (await reader.get("/")).text
    assert (await reader.get("/compare")).status_code == 404
    assert (await sent(reader, {}, CSV)).status_code == 404
    for path in (f"/compare/{uuid4()}", "/compare/none", "/comparisons/none"):
        assert (await reader.get(path)).status_code == 404


async def test_of_one_user_only_so_many_run_and_they_end_with_the_session(browser: httpx.AsyncClient) -> None:
    runs, ended = Runs(), asyncio.Event()

    async def forever(_: object) -> Any:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    for number in range(MAX_RUNNING):
        runs.begin(Run(str(number), (), "", ""), forever)
    with pytest.raises(Exception, match="run already"):
        runs.check_room()
    await asyncio.sleep(0)
    runs.end()
    await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)


async def send_half(browser: httpx.AsyncClient, begun: asyncio.Event) -> httpx.Response:
    """Send the beginning of a form, and never its rest."""

    async def half() -> AsyncIterator[bytes]:
        yield PART
        begun.set()
        await asyncio.Event().wait()

    headers = {**ORIGIN, "content-type": "multipart/form-data; boundary=b"}
    return await browser.post("/compare", content=half(), headers=headers)


async def test_a_form_that_stops_in_the_middle_is_given_up(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "SILENCE_SECONDS", 0.2)
    answer = await send_half(browser, asyncio.Event())
    assert (answer.status_code, "nothing arrived for 0.2 s" in answer.text) == (504, True)


async def test_so_many_forms_arrive_at_the_same_time(browser: httpx.AsyncClient) -> None:
    begun = [asyncio.Event() for _ in range(MAX_RUNNING)]
    held = [asyncio.create_task(send_half(browser, one)) for one in begun]
    for one in begun:
        await one.wait()
    answer = await browser.post("/compare", data={}, files=CSV, headers=ORIGIN)
    assert (answer.status_code, "under way" in answer.text) == (429, True)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    assert (await browser.post("/compare", data={}, files=CSV, headers=ORIGIN)).status_code == 403
