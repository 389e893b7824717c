"""What do open pages of the console cost the server, and how soon do they show a promotion?

    python benchmarks/console_live.py [--pages 200] [--models 50] [--seconds 30]

`modelward serve` with its console in one process, filled by bulk inserts. Another process holds the pages open as the
script of the console does: one stream of server-sent events each, which brings the page again after a change. Once a
second another model is promoted. The processor time is that of the server's process, promotions included; it is also
measured without pages. The delay is from the call that promotes to the arrival of a page that names the promotion.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from filled import Store, _port, fill_ledger, fill_state
from resolve import _free_port
from rich.console import Console
from rich.table import Table

from modelward import AsyncClient, PromotionPolicy

VERSIONS = 2
MIXED = ("/", "/", "/models/{model}", "/models/{model}/rollout", "/engines", "/retraining")
LIMIT = 1 << 24
"""The longest line of a page, which is one event."""


@dataclass
class Pages:
    """Open pages, and when each of them showed which promotion."""

    promoted_at: dict[str, float] = field(default_factory=dict)
    """The start of each call that promotes, by its actor, whom the page names."""
    delays: list[float] = field(default_factory=list)
    events: int = 0
    received: int = 0

    async def open(self, port: int, page: str) -> None:
        """Hold a page open, and note what it shows."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LIMIT)
        writer.write(f"GET /events?page={page} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        seen: set[str] = set()
        try:
            while line := await reader.readline():
                self.received += len(line)
                self.events += line == b'data: <div id="live">\n'
                self._note(line, seen)
        finally:
            writer.close()

    def _note(self, line: bytes, seen: set[str]) -> None:
        if b">promotion-" not in line:
            return
        for name in self.promoted_at.keys() - seen:
            if f">{name}<".encode() in line:
                seen.add(name)
                self.delays.append(time.perf_counter() - self.promoted_at[name])


@dataclass(frozen=True)
class Cost:
    """What a run cost."""

    case: str
    share: float
    """Seconds of the processor for each second."""
    pages: Pages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument(
        "--models", type=int, default=50, help="a page shows 50: the delay is measured for up to as many"
    )
    parser.add_argument("--seconds", type=int, default=30)
    given = parser.parse_args()
    before = os.getloadavg()[0]
    cases = {"no page": [], "all on /": ["/"] * given.pages, "on different pages": _mixed(given.pages, given.models)}
    costs = [_measured(case, pages, given.models, given.seconds) for case, pages in cases.items()]
    title = f"{given.pages} open pages, {given.models} models, a promotion a second for {given.seconds} s"
    table = Table("pages", "% of a core", "renderings/s received", "MB/s", "p50 ms", "p99 ms", title=title)
    for cost in costs:
        table.add_row(*_row(cost, given.seconds))
    Console(width=120).print(table)
    print(f"{os.cpu_count()} cores, load {before:.1f} before and {os.getloadavg()[0]:.1f} after")


def _mixed(pages: int, models: int) -> list[str]:
    store = Store(models, VERSIONS)
    return [MIXED[number % len(MIXED)].format(model=store.model(number % models)) for number in range(pages)]


def _row(cost: Cost, seconds: int) -> list[str]:
    pages = cost.pages
    cuts = [1000 * cut for cut in statistics.quantiles(pages.delays, n=100)] if len(pages.delays) > 1 else []
    delays = [f"{cuts[49]:,.0f}", f"{cuts[98]:,.0f}"] if cuts else ["", ""]
    return [
        cost.case,
        f"{100 * cost.share:.1f}",
        f"{pages.events / seconds:,.0f}",
        f"{pages.received / seconds / 1e6:.1f}",
        *delays,
    ]


def _measured(case: str, pages: list[str], models: int, seconds: int) -> Cost:
    store, console_port = Store(models, VERSIONS), _free_port()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.db"
        fill_ledger(url, store)
        fill_state(url, store)
        ports = ["--port", "0", "--console-port", str(console_port)]
        command = [sys.executable, "-m", "modelward", "serve", *ports, "--data-dir", folder]
        log = Path(folder, "log")
        with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as server:
            try:
                return asyncio.run(_run(case, pages, store, (int(_port(log)), console_port), server.pid, seconds))
            finally:
                server.terminate()


async def _run(case: str, pages: list[str], store: Store, ports: tuple[int, int], pid: int, seconds: int) -> Cost:
    told = Pages()
    async with AsyncClient(f"127.0.0.1:{ports[0]}", actor="first", timeout=60) as client:
        for number in range(store.models):  # The versions have no files that could be tried.
            await client.set_promotion_policy(PromotionPolicy(store.model(number), disabled_gates=("usable",)))
        opened = [asyncio.create_task(told.open(ports[1], page)) for page in pages]
        await asyncio.sleep(8)  # The pages are open, and what a server does at its start is done.
        told.events = told.received = 0
        begun, used = time.perf_counter(), _used(pid)
        for number in range(seconds):
            await _promote(ports[0], store, number, told)
            await asyncio.sleep(max(0.0, begun + number + 1 - time.perf_counter()))
        share = (_used(pid) - used) / (time.perf_counter() - begun)
        for task in opened:
            task.cancel()
        await asyncio.gather(*opened, return_exceptions=True)
    return Cost(case, share, told)


async def _promote(port: int, store: Store, number: int, told: Pages) -> None:
    """Put the model's other version into production, by an actor of its own."""
    model, actor = store.model(number % store.models), f"promotion-{number}"
    versions = [VERSIONS - 1, VERSIONS] if number // store.models % 2 == 0 else [VERSIONS, VERSIONS - 1]
    async with AsyncClient(f"127.0.0.1:{port}", actor=actor) as client:
        told.promoted_at[actor] = time.perf_counter()
        await client.promote(f"{model}/{versions[0]}", to="production")


def _used(pid: int) -> float:
    """Return the seconds of the processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
