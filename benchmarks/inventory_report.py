"""How long does the yearly report of many models take, and how much memory?

    python benchmarks/inventory_report.py [--models 1000 10000]

A ledger (SQLite) of models with two versions each, of which one went through staging to production, and beside the
records of that a finding, a halt and its end of each model. Each form of the report is made in this process; printed
are its size, the seconds, and by how much the peak of resident memory grew, for each number of models.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filled import BATCH, Store, fill_ledger
from filled_history import ACTOR, fill_history
from memory import _forget_peak, _peak
from rich.console import Console
from rich.table import Table

from modelward.findings import Finding, FindingSeverity
from modelward.lifecycle import Halt
from modelward_server.reports.inventory.report import InventoryReports, ReportForm, WantedReport
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.ledger import Ledger

MB = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, nargs="+", default=[1_000, 10_000])
    table = Table("models", "form", "MB", "seconds", "ms / model", "grew by MiB", "load")
    for models in parser.parse_args().models:
        with tempfile.TemporaryDirectory() as name:
            for row in _measured(Path(name), models):
                table.add_row(*row)
    Console(width=120).print(table)


def _measured(folder: Path, models: int) -> Iterator[tuple[str, ...]]:
    ledger = Ledger(_filled(folder, models))
    reports, now = InventoryReports(ledger, folder), datetime.now(UTC)
    _size(reports, WantedReport(now.date(), form=ReportForm.EVENTS), now)  # Libraries that are imported once.
    for form in ReportForm:
        before, begun = _forget_peak(os.getpid()), time.monotonic()
        size = _size(reports, WantedReport(now.date(), form=form), now)
        seconds, grew = time.monotonic() - begun, _peak(os.getpid()) - before
        figures = f"{size / MB:.1f}", f"{seconds:.1f}", f"{1000 * seconds / models:.2f}", f"{grew:.1f}"
        yield f"{models:,}", str(form), *figures, f"{os.getloadavg()[0]:.1f}"
    ledger.close()


def _size(reports: InventoryReports, wanted: WantedReport, now: datetime) -> int:
    return sum(map(len, reports.pieces(wanted, now)))


def _filled(folder: Path, models: int) -> str:
    """Fill a ledger, and return its URL."""
    url, store = f"sqlite:///{folder / 'ledger.db'}", Store(models, 2)
    fill_ledger(url, store)
    fill_history(url, store)
    ledger = Ledger(url)
    names = [store.model(number) for number in range(models)]
    for begin in range(0, models, BATCH):
        some = names[begin : begin + BATCH]
        with ledger.writing() as session:
            audit.append_all(session, Kind.FINDING, [(name, 0, _finding(name)) for name in some], ACTOR)
            for kind in (Kind.HALTED, Kind.RESUMED):
                audit.append_all(session, kind, [(name, 0, _halt()) for name in some], ACTOR)
    ledger.close()
    return url


def _finding(model: str) -> Finding:
    title, owner = "no stress test", "quant"
    return Finding(f"finding-{model}", model, 0, title, FindingSeverity.LOW, owner, ACTOR.name, ACTOR.at)


def _halt() -> Halt:
    return Halt(ACTOR.name, "a feed was late", ACTOR.at)


if __name__ == "__main__":
    main()
