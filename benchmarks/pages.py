"""The rules behind the pages of lists and the overview, on a large ledger: time by the clock and of the processor.

    python benchmarks/pages.py [--versions 100000] [--times 9]

The ledger is the SQLite one that `scale.py` fills. The rules are called without gRPC, so that the processor's time,
which other load on the machine distorts less, is that of the queries. Run it in an earlier tree to compare.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from scale import PAGE, _fill
from sqlalchemy.orm import Session

from modelward.lifecycle import Stage, VersionRef
from modelward_server.governance.overview import get_overview
from modelward_server.lifecycle.queries import VersionFilter, list_models, list_versions
from modelward_server.lifecycle.transition_queries import list_transitions
from modelward_server.storage.ledger import Ledger

NOW = datetime.now(UTC)
ALL = VersionRef("", 0)
RULES: dict[str, Callable[[Session], object]] = {
    "all versions": lambda session: list_versions(session, VersionFilter(), PAGE, ""),
    "versions in a stage": lambda session: list_versions(session, VersionFilter(stages=[Stage.ARCHIVED]), PAGE, ""),
    "versions with a tag": lambda session: list_versions(session, VersionFilter(tags={"half": "1"}), PAGE, ""),
    "transitions": lambda session: list_transitions(session, ALL, None, None, PAGE, ""),
    "transitions before a time": lambda session: list_transitions(session, ALL, None, NOW, PAGE, ""),
    "models": lambda session: list_models(session, "", (), {}, PAGE, ""),
    "overview": lambda session: get_overview(session, "", PAGE, "", NOW),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=9, help="how often each is called")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _fill(f"sqlite:///{folder}/ledger.db", given.versions, 0)
        ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        table = Table("page", "p50 ms", "processor ms")
        for name, rule in RULES.items():
            table.add_row(name, *(f"{figure:.1f}" for figure in _measure(ledger, rule, given.times)))
        ledger.close()
    Console().print(table, f"load average {os.getloadavg()[0]:.1f}")


def _measure(ledger: Ledger, rule: Callable[[Session], object], times: int) -> tuple[float, float]:
    clock, processor = [], []
    for _ in range(times):
        begun = time.perf_counter(), time.thread_time()
        with ledger.reading() as session:
            rule(session)
        clock.append(time.perf_counter() - begun[0])
        processor.append(time.thread_time() - begun[1])
    return statistics.median(clock) * 1000, statistics.median(processor) * 1000


if __name__ == "__main__":
    main()
