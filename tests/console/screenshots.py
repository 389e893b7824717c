"""Take a picture of every page of the console, for whoever changes how it looks.

    python -m tests.console.screenshots FOLDER [STATE ...]

The states are `empty` (no model), `bare` (a model without versions), `demo` (the data of `modelward demo`, which take a
minute or two the first time), `many` (1,000 models) and `wrong` (all is wrong at once); all by default. Each page
comes from a real server and is shown in Chromium, light and dark, in windows from a telephone to a 4K screen; some also
as they print. Pages that are wider than their window, or that break a word, are named. The README shows the beginning
of `demo/model-1320-light.png`.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from benchmarks.filled import Store, fill_ledger, fill_state
from playwright.sync_api import Browser, Page

from modelward import Client, Role
from modelward_server.settings import Settings
from tests.console.layout import broken_words
from tests.security.test_tokens import token_of
from tests.support.chromium import running_chromium
from tests.support.console_states import REGISTRY_PAGES, WORST, Wrong, pages_of
from tests.support.running_server import RunningServer

WINDOWS = {390: 844, 1000: 800, 1320: 900, 1920: 1080, 3840: 2160}
"""The height of each window, by its width."""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PRINTED = ("version", "inventory", "audit")
MAX_HEIGHT = 5000
"""Of a longer page the beginning is shown."""


@dataclass(frozen=True)
class State:
    """A console to look at."""

    address: str
    pages: Mapping[str, str]
    token: str = ""
    """What to sign in with; empty where nobody needs to."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the pictures are kept, and the demo's data")
    parser.add_argument("states", nargs="*", default=list(STATES), metavar="STATE", help=", ".join(STATES))
    given = parser.parse_args()
    with running_chromium() as browser, TemporaryDirectory() as scratch:
        for name in given.states:
            data, pictures = Path(given.folder if name == KEPT else scratch, f"{name}-data"), given.folder / name
            pictures.mkdir(parents=True, exist_ok=True)
            with STATES[name](data) as state:
                for line in take(browser, state, pictures):
                    print(line, flush=True)


def take(browser: Browser, state: State, pictures: Path) -> Iterator[str]:
    """Take all pictures of a state, and yield what is wrong with a page and what was taken."""
    for scheme in SCHEMES:
        for width, height in WINDOWS.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            yield from _sign_in(page, state, pictures / f"login-{width}-{scheme}.png")
            for name, path in state.pages.items():
                yield from _shoot(page, f"{state.address}{path}", pictures / f"{name}-{width}-{scheme}.png")
                if name in PRINTED and (width, scheme) == (1320, "light"):
                    page.pdf(path=pictures / f"{name}.pdf", prefer_css_page_size=True, print_background=True)
            page.context.close()
        yield f"{pictures}: {scheme}, {len(state.pages)} pages in {len(WINDOWS)} windows"


def _sign_in(page: Page, state: State, picture: Path) -> Iterator[str]:
    if state.token:
        yield from _shoot(page, f"{state.address}/login", picture)
        page.get_by_label("Token").fill(state.token)
        page.get_by_role("button", name="Sign in").click()


def _shoot(page: Page, address: str, picture: Path) -> Iterator[str]:
    page.goto(address)
    width, height = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    window = page.viewport_size
    assert window
    clip = {"x": 0, "y": 0, "width": window["width"], "height": min(max(height, window["height"]), MAX_HEIGHT)}
    page.screenshot(path=picture, full_page=True, clip=clip)  # type: ignore[arg-type] # It is a FloatRect.
    if width > window["width"]:
        yield f"{picture}: the page is {width} pixels wide"
    if broken := broken_words(page):
        yield f"{picture}: broken are the words {broken}"


@contextmanager
def _served(data: Path, *, auth: bool = False, mlflow_uri: str = "") -> Iterator[tuple[RunningServer, str]]:
    running = RunningServer(Settings(port=0, data_dir=data, console_port=0, auth=auth, mlflow_uri=mlflow_uri))
    yield running, f"http://127.0.0.1:{running.app.console.port}"
    running.stop()


@contextmanager
def _empty(data: Path) -> Iterator[State]:
    with _served(data) as (_, address):
        yield State(address, REGISTRY_PAGES)


@contextmanager
def _bare(data: Path) -> Iterator[State]:
    with _served(data) as (running, address), Client(running.target) as client:
        client.create_model("spx-direction")
        yield State(address, {"now": "/", "engines": "/engines"} | pages_of("spx-direction", 0))


@contextmanager
def _demo(data: Path) -> Iterator[State]:
    if not data.exists():
        subprocess.run([sys.executable, "-m", "modelward", "demo", "--keep", str(data)], check=True)
    with _served(data) as (running, address), Client(running.target) as client:
        version = client.resolve("spx-direction").version.version
        for engine in ("ld4-01", "ny4-01", "ny4-02", "ty3-01", "engine-1"):
            client.report_active(f"spx-direction/{version}", engine=engine, silent_after=timedelta(days=1))
        yield State(address, REGISTRY_PAGES | pages_of("spx-direction", version))


@contextmanager
def _many(data: Path) -> Iterator[State]:
    data.mkdir()
    store, url = Store(1000, 2), f"sqlite:///{data}/ledger.db"
    fill_ledger(url, store)
    fill_state(url, store)
    with _served(data) as (_, address):
        yield State(address, REGISTRY_PAGES | pages_of(store.model(7), store.versions))


@contextmanager
def _wrong(data: Path) -> Iterator[State]:
    with _served(data, auth=True, mlflow_uri="http://127.0.0.1:9") as (running, address):
        with Client(running.target, token=token_of(running, "ada", Role.ADMIN)) as client:
            made = Wrong(running, client, data)
            made.fill()
        # Not who made it all, and may neither approve nor review it.
        other = token_of(running, "rita", Role.ADMIN, functions=("risk", "trading"))
        yield State(address, REGISTRY_PAGES | pages_of(WORST, 2) | made.pages | made.reports, other)


STATES: Mapping[str, Callable[[Path], AbstractContextManager[State]]] = {
    "empty": _empty,
    "bare": _bare,
    "demo": _demo,
    "many": _many,
    "wrong": _wrong,
}
KEPT = "demo"
"""The state whose data are kept, because it takes long to make them."""
if __name__ == "__main__":
    main()
