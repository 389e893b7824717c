"""What the pages of the console cost, beside the calls by which MLflow's UI learns the same, in one run.

    python benchmarks/console.py [--models 10 1000 10000] [--times 30]

Each model has two versions, one of them in production, drift reports and 3 engines. A page is one request over HTTP to
`modelward serve --console-port`, which asks the server over gRPC as every other client does; the answer is the whole
page. MLflow's are the requests of its UI to `mlflow server` on SQLite with one worker: JSON, from which a browser still
draws the page, without drift, engines and counts, which MLflow does not have. Both stores are filled by bulk inserts;
all requests are timed in turn. No page may have a list of more than 50 rows. The load of the machine is printed.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from filled import Store, Took, fill_ledger, fill_mlflow, fill_state, served, time_in_turn
from rich.console import Console
from rich.table import Table

VERSIONS, REPORTS = 2, 2
ROWS = 50
"""The most rows of a list of a page."""


@dataclass(frozen=True)
class Requests:
    """What is asked for together, and how it is named."""

    browser: httpx.Client
    paths: Sequence[str]

    def prepare(self) -> None:
        """Do nothing."""

    def call(self) -> list[httpx.Response]:
        return [self.browser.get(path).raise_for_status() for path in self.paths]

    @property
    def size(self) -> int:
        """The bytes of all answers."""
        return sum(len(answer.content) for answer in self.call())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, nargs="+", default=[10, 1000, 10_000], help="the models of each store")
    parser.add_argument("--times", type=int, default=30, help="how often each is asked for")
    given = parser.parse_args()
    for models in given.models:
        store, before = Store(models, VERSIONS), os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder, _both(Path(folder), store) as (console, mlflow):
            asked = _pages(console, store) | _of_mlflow(mlflow, store)
            _check_rows(_pages(console, store))
            took = time_in_turn(asked, given.times)
            Console(width=120).print(_table(asked, took))
        print(f"{store}, {os.cpu_count()} cores, load {before:.1f} before and {os.getloadavg()[0]:.1f} after\n")


@contextmanager
def _both(folder: Path, store: Store) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Fill and run both servers, and give a browser of each."""
    fill_mlflow(folder / "mlflow.db", store)
    fill_ledger(f"sqlite:///{folder}/ledger.db", store)
    fill_state(f"sqlite:///{folder}/ledger.db", store, REPORTS)
    port = _free_port()
    with (
        served(folder, "", "--console-port", str(port)),
        _mlflow(folder) as address,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as console,
        httpx.Client(base_url=address, timeout=60) as mlflow,
    ):
        _wait_for(console, "/")
        _wait_for(mlflow, "/health")
        yield console, mlflow


def _pages(browser: httpx.Client, store: Store) -> dict[str, Requests]:
    home = f"/models/{store.model(store.models // 2)}"
    paths = {
        "now": "/",
        "model": home,
        "model, as of": f"{home}?as_of=2026-03-02T14:31",
        "version": f"{home}/versions/{VERSIONS}",
        "drift": f"{home}/drift",
        "engines": "/engines",
        "retraining": "/retraining",
        "audit": "/audit",
        "inventory": "/inventory",
        "inventory, as of": "/inventory?as_of=2026-03-02T14:31",
        "system": "/system",
    }
    if following := re.search(r'rel="next" href="([^"]*)"', browser.get("/").text):
        paths["now, second page"] = following[1].replace("&amp;", "&")
    return {name: Requests(browser, [path]) for name, path in paths.items()}


PEERS = {"now": "list", "now, second page": "list", "inventory": "list", "model": "model", "version": "version"}
"""MLflow's page with the same facts, as far as it has them."""


def _of_mlflow(browser: httpx.Client, store: Store) -> dict[str, Requests]:
    api, name = "/ajax-api/2.0/mlflow", store.model(store.models // 2)
    paths = {
        "list": [f"{api}/registered-models/search?max_results={ROWS}&order_by=name%20ASC"],
        "model": [
            f"{api}/registered-models/get?name={name}",
            f"{api}/model-versions/search?filter=name%3D%27{name}%27&max_results={ROWS}",
        ],
        "version": [
            f"{api}/registered-models/get?name={name}",
            f"{api}/model-versions/get?name={name}&version={VERSIONS}",
        ],
    }
    return {f"MLflow, {page}": Requests(browser, of_page) for page, of_page in paths.items()}


def _check_rows(pages: Mapping[str, Requests]) -> None:
    for name, page in pages.items():
        text = page.call()[0].text
        lists = [(body, "<tr") for body in re.findall(r"<tbody>.*?</tbody>", text, re.DOTALL)]
        lists += [(body, "<li") for body in re.findall(r"<[uo]l.*?</[uo]l>", text, re.DOTALL)]
        longest = max((body.count(row) for body, row in lists), default=0)
        assert longest <= ROWS, f"{name} has a list of {longest} rows"


def _table(asked: Mapping[str, Requests], took: Mapping[str, Took]) -> Table:
    table = Table("page")
    for heading in ("p50, ms", "p95, ms", "bytes", "of MLflow's p50"):
        table.add_column(heading, justify="right")
    for name, one in took.items():
        peer = took.get(f"MLflow, {PEERS.get(name)}")
        ratio = f"{one.p50 / peer.p50:.2f}" if peer else ""
        table.add_row(name, f"{one.p50:.1f}", f"{one.p95:.1f}", f"{asked[name].size:,}", ratio)
    return table


@contextmanager
def _mlflow(folder: Path) -> Iterator[str]:
    """Run MLflow's server in a process of its own and give its address."""
    port = str(_free_port())
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    command = [sys.executable, "-m", "mlflow", "server", *store, "--port", port, "--workers", "1"]
    with (folder / "mlflow.log").open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for(browser: httpx.Client, path: str) -> None:
    for _ in range(3000):
        try:
            browser.get(path).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{browser.base_url} does not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
