"""What do open pages of the console cost the server, and how soon do they show a promotion?

    python benchmarks/console_live.py [--pages 200] [--seconds 15]

`modelward serve` with its console in one process, with a model for each promotion; three engines report each. This
process holds the pages open as the script of the console does: one stream of server-sent events each, which brings the
page again after a change. Once a second another model is promoted. The processor time is that of the server's process,
promotions included; it is also measured without pages. The delay is from the call that promotes to the arrival of a
page that names the promotion.
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

from filled import _port
from resolve import _free_port
from rich.console import Console
from rich.table import Table

from modelward import AsyncClient

ENGINES = 3
AT_ONCE = 4
"""Models that are prepared at once."""
QUIET_SECONDS = 5.0
"""Before a case is measured: its pages are open, and what went before is done."""
MIXED = ("/", "/", "/models/{model}", "/models/{model}/rollout", "/engines", "/retraining")
LIMIT = 1 << 24
"""The longest line of a page, which is one event."""


@dataclass
class Pages:
    """Open pages, and when each of them showed which promotion."""

    promoted_at: dict[str, float] = field(default_factory=dict)
    """The start of each call that promotes, by its actor, whom the page names."""
    calls: list[float] = field(default_factory=list)
    """How long each of these calls took."""
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
                self.events += line.startswith(b'data: <div id="live"')
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
    parser.add_argument("--seconds", type=int, default=15)
    given = parser.parse_args()
    before = os.getloadavg()[0]
    models = [f"model-{number:03d}" for number in range(3 * given.seconds)]
    mixed = [MIXED[number % len(MIXED)].format(model=models[number % len(models)]) for number in range(given.pages)]
    cases = {"no page": [], "all on /": ["/"] * given.pages, "on different pages": mixed}
    costs = _measured(cases, models, given.seconds)
    title = f"{given.pages} open pages, {len(models)} models, a promotion a second for {given.seconds} s"
    table = Table("pages", "% of a core", "pages/s sent", "MB/s", "call p50 ms", "p50 ms", "p99 ms", title=title)
    for cost in costs:
        table.add_row(*_row(cost, given.seconds))
    Console(width=120).print(table)
    print(f"{os.cpu_count()} cores, load {before:.1f} before and {os.getloadavg()[0]:.1f} after")


def _row(cost: Cost, seconds: int) -> list[str]:
    pages = cost.pages
    cuts = [1000 * cut for cut in statistics.quantiles(pages.delays, n=100)] if len(pages.delays) > 1 else []
    delays = [f"{cuts[49]:,.0f}", f"{cuts[98]:,.0f}"] if cuts else ["", ""]
    return [
        cost.case,
        f"{100 * cost.share:.1f}",
        f"{pages.events / seconds:,.0f}",
        f"{pages.received / seconds / 1e6:.1f}",
        f"{1000 * statistics.median(pages.calls):,.0f}",
        *delays,
    ]


def _measured(cases: dict[str, list[str]], models: list[str], seconds: int) -> list[Cost]:
    console_port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        ports = ["--port", "0", "--console-port", str(console_port)]
        command = [sys.executable, "-m", "modelward", "serve", *ports, "--data-dir", folder]
        log = Path(folder, "log")
        with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as server:
            try:
                return asyncio.run(_run(cases, models, (int(_port(log)), console_port), server.pid, seconds))
            finally:
                server.terminate()


async def _run(
    cases: dict[str, list[str]], models: list[str], ports: tuple[int, int], pid: int, seconds: int
) -> list[Cost]:
    free, file = asyncio.Semaphore(AT_ONCE), Path(__file__)  # Any file; it is not loaded.
    async with AsyncClient(f"127.0.0.1:{ports[0]}", actor="first", timeout=120) as client:
        await asyncio.gather(*(_prepare(client, model, file, free) for model in models))
    costs = []
    for number, (case, pages) in enumerate(cases.items()):
        promoted = models[number * seconds : (number + 1) * seconds]
        costs.append(await _case(case, pages, promoted, ports, pid))
        print(f"{case}: {100 * costs[-1].share:.1f} % of a core", flush=True)
    return costs


async def _prepare(client: AsyncClient, model: str, file: Path, free: asyncio.Semaphore) -> None:
    """Register a version that is in production on each engine, and one in staging."""
    async with free:
        for version in (1, 2):
            await client.register(model, file)
            await client.promote(f"{model}/{version}", to="staging")
            if version == 1:
                await client.promote(f"{model}/1", to="production", reason="it passed its tests")
        for number in range(ENGINES):
            await client.report_active(f"{model}/1", engine=f"engine-{number}")


async def _case(case: str, pages: list[str], models: list[str], ports: tuple[int, int], pid: int) -> Cost:
    told = Pages()
    opened = [asyncio.create_task(told.open(ports[1], page)) for page in pages]
    await asyncio.sleep(QUIET_SECONDS)
    told.events = told.received = 0
    begun, used = time.perf_counter(), _used(pid)
    for number, model in enumerate(models):
        actor = f"promotion-{model}"
        async with AsyncClient(f"127.0.0.1:{ports[0]}", actor=actor) as client:
            told.promoted_at[actor] = time.perf_counter()
            await client.promote(f"{model}/2", to="production", reason="it passed its tests")
            told.calls.append(time.perf_counter() - told.promoted_at[actor])
        await asyncio.sleep(max(0.0, begun + number + 1 - time.perf_counter()))
    share = (_used(pid) - used) / (time.perf_counter() - begun)
    for task in opened:
        task.cancel()
    await asyncio.gather(*opened, return_exceptions=True)
    return Cost(case, share, told)


def _used(pid: int) -> float:
    """Return the seconds of the processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
