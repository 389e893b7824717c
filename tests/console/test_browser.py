"""The console in a real browser: changes, open pages that follow them, and what people with disabilities need."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

from modelward import Client, Role, errors
from modelward_server.reports.model_card.page import draw_page
from modelward_server.settings import Settings
from tests.console.layout import broken_words
from tests.security.test_tokens import token_of
from tests.support.chromium import CHROMIUM, NOT_INSTALLED, running_chromium
from tests.support.console_states import REGISTRY_PAGES, WORST, Wrong, pages_of
from tests.support.running_server import RunningServer
from tests.support.scale import FULL
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.system, pytest.mark.skipif(CHROMIUM is None, reason=NOT_INSTALLED)]

PAGES = REGISTRY_PAGES | pages_of(WORST, 2)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
"""What axe tries: levels A and AA of WCAG 2.2."""
SOON = 1000 * PATIENCE_SECONDS
"""Milliseconds in which an open page follows a change; a second or so, but for what else the machine does."""
SHOWN = ("status of 404", "status of 409")
"""What the browser says of the pages that show an error."""


@dataclass(frozen=True)
class World:
    """A console in which everything is wrong at once, a client of its server, and a browser."""

    address: str
    token: str
    client: Client
    browser: Browser
    make: Wrong
    signed_in: Path
    """The cookies of who has signed in."""

    @property
    def pages(self) -> dict[str, str]:
        """The addresses of all pages, by name."""
        return PAGES | self.make.pages

    def model(self, name: str) -> str:
        """Make a model with version 1 in production and version 2 in staging."""
        self.make.in_production(name)
        return name


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("wrong")
    running = RunningServer(Settings(port=0, data_dir=folder / "data", console_port=0, auth=True))
    maker = token_of(running, "ada", Role.ADMIN)
    # Not who made it all, and may neither approve nor review it.
    token = token_of(running, "rita", Role.ADMIN, functions=("risk", "trading"))
    with Client(running.target, token=maker) as client, running_chromium() as browser:
        make, address = Wrong(running, client, folder), f"http://127.0.0.1:{running.app.console.port}"
        make.fill()
        world = World(address, token, client, browser, make, folder / "cookies")
        with browser.new_context(base_url=address) as context:
            sign_in(context.new_page(), token)
            context.storage_state(path=world.signed_in)
        yield world
    running.stop()


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """What pages ask other servers for, and what the browser finds wrong with them; there must be none."""
    found: list[str] = []
    yield found
    assert found == []


@pytest.fixture
def context(world: World, faults: list[str]) -> Iterator[BrowserContext]:
    """Windows of somebody who has signed in."""
    with watched(world, faults, storage_state=world.signed_in) as context:
        yield context


def watched(
    world: World,
    faults: list[str],
    *,
    storage_state: Path | None = None,
    java_script_enabled: bool = True,
    color_scheme: Literal["light", "dark"] = "light",
    width: int = 1320,
) -> BrowserContext:
    """Return new windows, the faults of which are noted."""
    context = world.browser.new_context(
        base_url=world.address,
        storage_state=storage_state,
        java_script_enabled=java_script_enabled,
        color_scheme=color_scheme,
        viewport={"width": width, "height": 900},
    )

    def note_request(request: Request) -> None:
        if not request.url.startswith(f"{world.address}/"):
            faults.append(f"asks for {request.url}")

    def note_message(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(status in message.text for status in SHOWN):
            faults.append(message.text)

    context.on("request", note_request)
    context.on("console", note_message)
    context.on("weberror", lambda error: faults.append(str(error.error)))
    return context


def sign_in(page: Page, token: str, after: str = "/system") -> None:
    page.goto(f"/login?next={after}")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def test_a_token_opens_the_page_that_was_asked_for(world: World, faults: list[str]) -> None:
    with watched(world, faults) as context:
        page = context.new_page()
        page.goto("/inventory")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        page.get_by_label("Token").fill(world.token)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{world.address}/inventory")
        page.get_by_role("button", name="Sign out").click()
        page.goto("/inventory")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_promotion_in_one_window_is_seen_in_another_without_a_reload(world: World, context: BrowserContext) -> None:
    model = world.model("promoted")
    watching, acting = context.new_page(), context.new_page()
    watching.goto(f"/models/{model}")
    watching.evaluate("window.kept = true")
    in_production = watching.locator(".key dd").first
    expect(in_production).to_have_text("version 1")
    acting.goto(f"/models/{model}/versions/2")
    acting.get_by_role("link", name="Move to production").click()
    acting.get_by_label("Reason").fill("better on the newest quarter")
    acting.get_by_role("button", name="Move version 2").click()
    expect(in_production).to_have_text("version 2", timeout=SOON)
    assert watching.evaluate("window.kept"), "it was loaded again"
    assert world.client.resolve(model).version.version == 2


def test_a_page_that_follows_no_longer_says_so(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/")
    notice = page.get_by_role("alert").filter(has_text="does not follow changes")
    expect(notice).to_be_hidden()
    page.route("**/events?*", lambda route: route.fulfill(status=204))  # As after the end of the session.
    page.reload()
    expect(notice).to_be_visible()


def test_a_rollback_of_what_has_changed_meanwhile_changes_nothing_and_says_so(
    world: World, context: BrowserContext
) -> None:
    model = world.model("changed-meanwhile")
    world.client.promote(f"{model}/2", to="production", reason="it passed its tests")
    page = context.new_page()
    page.goto(f"/models/{model}/rollback")
    page.get_by_label("Reason").fill("worse than before")
    world.client.update_model(model, description="changed by somebody else")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("alert").first).to_contain_text("something has changed since this page was shown")
    expect(page.get_by_label("Reason")).to_have_value("worse than before")
    assert world.client.resolve(model).version.version == 2


def test_many_models_are_halted_by_one_form(world: World, context: BrowserContext) -> None:
    models = [world.model(f"many-{number}") for number in range(3)]
    page = context.new_page()
    page.goto("/")
    page.get_by_role("link", name="Halt many models").click()
    page.get_by_label("Names begin with").fill("many-")
    page.get_by_role("button", name="Show which").click()
    page.get_by_label("Reason").fill("exchange outage")
    page.get_by_role("button", name="Halt 3 models").click()
    expect(page.locator("main")).to_contain_text("exchange outage")
    for model in models:
        with pytest.raises(errors.ModelHalted, match="exchange outage"):
            world.client.resolve(model)
        world.client.resume(model)


def test_the_slider_tells_what_was_in_production(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(f"/models/{WORST}")
    slider, then = page.get_by_role("slider", name="Time"), page.locator("#then")
    slider.focus()
    page.keyboard.press("Home")
    expect(then).to_contain_text("no version was in production")
    page.keyboard.press("End")
    expect(then).to_contain_text("version 2 was in production")
    assert page.locator("#as_of").input_value()


@pytest.mark.parametrize(
    ("scheme", "width", "pages"),
    [
        ("light", 1320, slice(None) if FULL else slice(0, None, 2)),
        ("dark", 390, slice(None) if FULL else slice(1, None, 2)),
    ],
    ids=["light", "dark"],
)
@pytest.mark.weekly("dark")
def test_axe_finds_nothing_and_every_page_fits_its_window(
    world: World, faults: list[str], scheme: Literal["light", "dark"], width: int, pages: slice
) -> None:
    axe = Axe()
    violations = []
    with watched(world, faults, storage_state=world.signed_in, color_scheme=scheme, width=width) as context:
        page = context.new_page()
        for name, path in [*world.pages.items(), ("login", "/login")][pages]:
            page.goto(path)
            found = axe.run(page, options={"runOnly": RULES, "resultTypes": ["violations"]}).response["violations"]
            violations += [(name, one["id"], one["nodes"][0]["html"][:200]) for one in found]
            if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
                violations.append((name, "too wide", f"{wide} pixels"))
            violations += [(name, "a broken word", word) for word in broken_words(page)]
    assert violations == []


@pytest.mark.parametrize("width", [390, 3840])
def test_a_model_card_fits_its_window_and_breaks_no_word(world: World, faults: list[str], width: int) -> None:
    model, version = world.client.get_model(WORST), world.client.get_version(f"{WORST}/2")
    moves = list(world.client.list_transitions(WORST, version=2))
    with watched(world, faults, width=width) as context:
        page = context.new_page()
        page.set_content(draw_page(model, version, moves, list(world.client.list_approvals(WORST))).decode())
        expect(page.get_by_role("cell", name="staging to production")).to_be_visible()
        assert broken_words(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_hint_to_scroll_is_shown_where_a_table_does_not_fit_and_only_there(world: World, faults: list[str]) -> None:
    shown = "[...document.querySelectorAll('.scroll')].map(one => getComputedStyle(one, '::before').display != 'none')"
    cut_off = "[...document.querySelectorAll('.scroll')].map(one => one.scrollWidth > one.clientWidth + 1)"
    found = set[bool]()
    with watched(world, faults, storage_state=world.signed_in, width=1000) as context:
        page = context.new_page()
        for path in ("/findings?state=any", "/approvals", "/drills", f"/models/{WORST}/versions/2"):
            page.goto(path)
            assert page.evaluate(shown) == page.evaluate(cut_off), path
            found |= set(page.evaluate(cut_off))
    assert found == {True, False}


def test_without_scripts_every_page_and_a_change_work(world: World, faults: list[str]) -> None:
    model = world.model("without-scripts")
    with watched(world, faults, storage_state=world.signed_in, java_script_enabled=False) as context:
        page = context.new_page()
        for name, path in world.pages.items():
            answer = page.goto(path)
            assert answer
            assert (name, answer.status) == (name, 404 if name == "fault" else 200)
            expect(page.locator("h1")).not_to_be_empty()
        page.goto(f"/models/{model}")
        page.get_by_label("What was in production at this time").fill("2001-01-01T00:00:00")
        page.locator("#main").get_by_role("button", name="Show").click()
        expect(page.locator("#then")).to_contain_text("no version was in production")
        page.get_by_role("link", name="Halt").click()
        page.get_by_label("Reason").fill("exchange outage")
        page.get_by_role("button", name="Halt").click()
    assert [halted.name for halted in world.client.list_models(name_prefix=model) if halted.halt] == [model]


def test_a_change_needs_no_mouse_and_the_focus_is_always_seen(world: World, context: BrowserContext) -> None:
    model = world.model("without-mouse")
    page = context.new_page()
    page.goto(f"/models/{model}")
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if page.evaluate("document.activeElement.textContent").startswith("Halt"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("exchange outage")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("exchange outage")
    with pytest.raises(errors.ModelHalted, match="exchange outage"):
        world.client.resolve(model)
