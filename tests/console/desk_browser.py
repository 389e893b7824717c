"""A browser without scripts at the console of a desk, for whoever signs in."""

from collections.abc import Mapping
from html import unescape

import httpx

from tests.console.conftest import ADDRESS, sign_in
from tests.console.test_changes import fields
from tests.support.desk import Desk

HOSTILE = "<script>alert(1)</script>"
FORM = '<form method="post" class="act">'


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
