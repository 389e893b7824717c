"""The page of the inventory: what was in production at an instant."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from modelward import AsyncClient, Inventory, InventoryScope, Lineage, SourceCode, TrainingData
from modelward.caller import Role
from modelward.lifecycle import Transition
from modelward_server.console.pages import inventory
from modelward_server.console.pages.lists import ROWS
from tests.console.conftest import sign_in
from tests.security.test_tokens import token_of
from tests.support.clients import collect
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Takes seconds.

HOSTILE = "<script>alert(1)</script>"
FORMULA = "@SUM(1)"


@pytest.fixture
async def moves(sdk: AsyncClient, name: str, tmp_path: Path) -> Sequence[Transition]:
    """The changes of stage of a model, the oldest first: version 1 in production, then 2, then none."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    for version in (1, 2):
        await sdk.register(name, tmp_path / "model.bin")
        await sdk.promote(f"{name}/{version}", to="staging")
        await sdk.promote(f"{name}/{version}", to="production", reason=(HOSTILE, FORMULA)[version - 1])
    await sdk.promote(f"{name}/2", to="archived")
    return (await collect(sdk.list_transitions(name)))[::-1]


async def test_each_instant_has_what_was_in_production_then(
    browser: httpx.AsyncClient, name: str, moves: Sequence[Transition]
) -> None:
    expected: dict[int, int | None] = {}
    for move in moves:
        entered, left = move.to_stage == "production", move.from_stage == "production" and not move.displaced_by
        last = expected[max(expected)] if expected else None
        expected[move.sequence] = move.version.version if entered else None if left else last
    assert set(expected.values()) == {None, 1, 2}
    for move in moves:
        if move.displaced_by:
            continue  # It is at the instant of the promotion that displaced it.
        query = {"as_of": move.moved_at.isoformat(), "prefix": name}
        (row,) = (await browser.get("/inventory.json", params=query)).json()["rows"]
        version = row["promotion"] and row["promotion"]["version"]["version"]
        assert version == expected[move.sequence], move


async def test_page_tells_who_when_and_why(browser: httpx.AsyncClient, name: str, moves: Sequence[Transition]) -> None:
    first = next(move for move in moves if move.to_stage == "production")
    page = (await browser.get("/inventory", params={"as_of": first.moved_at.isoformat(), "prefix": name})).text
    assert f'datetime="{first.moved_at.isoformat()}"' in page
    assert ">ada</td>" in page
    assert "&lt;script&gt;" in page
    assert HOSTILE not in page
    before = (await browser.get("/inventory", params={"as_of": "2001-01-01T00:00", "prefix": name})).text
    assert "No model existed then" in before
    assert (await browser.get("/inventory?page=guessed")).status_code == 400


@pytest.mark.parametrize("path", ["/inventory?as_of=", "/inventory.csv?as_of=", "/audit?since=", "/audit?until="])
@pytest.mark.parametrize("at", ["then", "0001-01-01T00:00%2B05:00", "9999-12-31T23:59:59.999999"])
async def test_what_is_no_instant_is_refused(browser: httpx.AsyncClient, path: str, at: str) -> None:
    assert (await browser.get(path + at)).status_code == 400


@pytest.mark.parametrize("path", ["/inventory?as_of=", "/inventory.csv?as_of=", "/models/{}?as_of="])
async def test_what_will_be_in_production_is_not_told(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, path: str
) -> None:
    await sdk.create_model(name)
    answer = await browser.get(f"{path.format(name)}2200-01-01T00:00")
    assert (answer.status_code, "is in the future" in answer.text) == (400, True)


async def test_a_model_with_nothing_in_production_is_listed(
    browser: httpx.AsyncClient, name: str, moves: Sequence[Transition]
) -> None:
    page = (await browser.get("/inventory", params={"prefix": name})).text
    assert "nothing" in page.partition("<tbody>")[2]


async def test_csv_holds_the_same_and_no_formula(
    browser: httpx.AsyncClient, name: str, moves: Sequence[Transition]
) -> None:
    second = [move for move in moves if move.to_stage == "production"][1]
    at = second.moved_at + timedelta(microseconds=1)
    table = await browser.get("/inventory.csv", params={"as_of": at.isoformat(), "prefix": name})
    (row,) = csv.DictReader(io.StringIO(table.text))
    assert (row["model"], row["version"], row["promoted_by"]) == (name, "2", "ada")
    assert (row["since"], row["reason"]) == (second.moved_at.isoformat(), f"'{FORMULA}")


async def test_a_page_has_50_models_and_a_link_to_more(
    browser: httpx.AsyncClient, sdk: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ROWS == 50
    monkeypatch.setattr(inventory, "ROWS", 2)
    prefix = f"many-{uuid4().hex}-"
    names = [f"{prefix}{number}" for number in range(3)]
    for name in names:
        await sdk.create_model(name)
    first = (await browser.get("/inventory.json", params={"prefix": prefix})).json()
    second = (await browser.get(f"/inventory.json?{first['next_page']}")).json()
    assert [[row["model"] for row in page["rows"]] for page in (first, second)] == [names[:2], names[2:]]
    assert 'rel="next"' in (await browser.get("/inventory", params={"prefix": prefix})).text
    table = (await browser.get("/inventory.csv", params={"prefix": prefix})).text
    assert [row["model"] for row in csv.DictReader(io.StringIO(table))] == names


async def test_models_of_others_are_not_listed(stranger: httpx.AsyncClient, guarded: RunningServer) -> None:
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER, "spx-"))
    for path in ("/inventory", "/inventory.json", "/inventory.csv"):
        shown = await stranger.get(path)
        assert (shown.status_code, "spx-1" in shown.text, "ndx-" in shown.text) == (200, True, False), path


async def test_an_empty_page_says_so(stranger: httpx.AsyncClient, guarded: RunningServer) -> None:
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER, "none-"))
    assert "No model existed then" in (await stranger.get("/inventory")).text


STATED = Inventory(
    owners=("ada", HOSTILE),
    accountable_manager="Grace Hopper",
    purpose="direction at the close",
    tier=2,
    scope=InventoryScope(desks=("index",), asset_classes=("futures",)),
    limits=("10 contracts", FORMULA),
    next_review=date(2027, 3, 31),
)


async def test_inventory_has_owner_tier_and_next_review(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, moves: Sequence[Transition]
) -> None:
    await sdk.update_model(name, inventory=STATED)
    page = (await browser.get("/inventory", params={"prefix": name})).text
    for cell in (
        'data-label="owner">ada, &lt;script&gt;',
        'data-label="tier">2<',
        'data-label="next review">2027-03-31<',
    ):
        assert cell in page
    assert HOSTILE not in page
    (row,) = csv.DictReader(io.StringIO((await browser.get("/inventory.csv", params={"prefix": name})).text))
    assert (row["owners"], row["desks"], row["tier"]) == (f'["ada", "{HOSTILE}"]', '["index"]', "2")
    assert (row["next_review"], row["limits"], row["regions"]) == ("2027-03-31", f'["10 contracts", "{FORMULA}"]', "")


@pytest.mark.system
async def test_page_of_a_model_shows_what_is_stated_of_it(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str
) -> None:
    await sdk.create_model(f"{name}-vol")
    await sdk.create_model(name)
    assert "Nothing is stated" in (await browser.get(f"/models/{name}")).text
    await sdk.update_model(name, inventory=replace(STATED, depends_on=(f"{name}-vol",)))
    page = (await browser.get(f"/models/{name}")).text
    shown = (
        "Grace Hopper",
        "direction at the close",
        ">2<",
        "futures",
        "10 contracts",
        "2027-03-31",
        "ada, &lt;script",
    )
    for fact in (*shown, f'<a href="/models/{name}-vol">'):
        assert fact in page
    assert HOSTILE not in page


@pytest.mark.system
async def test_page_of_a_version_shows_its_lineage(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    await sdk.register(name, tmp_path / "model.bin", collect_lineage=False)
    assert "Nothing was told of it" in (await browser.get(f"/models/{name}/versions/1")).text
    code = SourceCode("https://git.example.com/x.git", "0123abc", dirty=True)
    data = (TrainingData("s3://bucket/x", "a" * 64),)
    lineage = Lineage(code, data, parent_version=1, weaknesses=(HOSTILE,))
    await sdk.register(name, tmp_path / "model.bin", lineage=lineage)
    page = (await browser.get(f"/models/{name}/versions/2")).text
    shown = ("https://git.example.com/x.git", "0123abc, with changes", "s3://bucket/x", "a" * 64, "numpy", "&lt;script")
    for fact in (*shown, f'<a href="/models/{name}/versions/1">version 1</a>'):
        assert fact in page
    assert HOSTILE not in page


async def test_csv_has_nothing_hidden_and_no_formula_in_full_width(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str
) -> None:
    stated = Inventory(purpose="\uff1d1+1", accountable_manager="\u202eada")
    await sdk.create_model(name, inventory=stated)
    (row,) = csv.DictReader(io.StringIO((await browser.get("/inventory.csv", params={"prefix": name})).text))
    assert (row["purpose"], row["accountable_manager"]) == ("'\uff1d1+1", "\\u202eada")
