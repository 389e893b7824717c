"""What a server needs with many small models loaded: a part of `scoring.py`."""

from pathlib import Path

import psutil
import scoring_peers
from rich.table import Table
from scoring_models import frame, small_model
from scoring_ours import server
from scoring_peers import NotMeasuredError

from modelward import Client

SMALL_MODELS = 50
MIB = 1 << 20


def memory_table(folder: Path, environments: Path) -> tuple[Table, list[str]]:
    """Return the memory of each server, and what was left out."""
    left_out = ["MLflow is left out: its server holds one model"]
    table = Table("server", "MiB", "of each model")
    with server(folder, SMALL_MODELS) as (process, target), Client(target, timeout=120) as client:
        for seed in range(SMALL_MODELS):
            client.register(f"small-{seed}", small_model(seed), reference=frame(200))
        before = _memory_mib(process.pid)
        for seed in range(SMALL_MODELS):
            client.score(f"small-{seed}", frame(1), version=1)
        _add_memory(table, "ours, a process for each model", before, _memory_mib(process.pid))
    try:
        programs = scoring_peers.environment("MLServer", environments)
        held = [_of_small_models(programs, number, folder / f"of-{number}") for number in (1, SMALL_MODELS)]
        _add_memory(table, "MLServer, one process for all models", *held)
    except NotMeasuredError as why:
        left_out.append(f"MLServer is left out: {why}")
    return table, left_out


def _of_small_models(programs: Path, number: int, folder: Path) -> float:
    with scoring_peers.small_models(programs, number, folder) as process:
        return _memory_mib(process.pid)


def _add_memory(table: Table, name: str, before: float, after: float) -> None:
    table.add_row(name, f"{after:,.0f}", f"{(after - before) / SMALL_MODELS:.1f}")


def _memory_mib(process: int) -> float:
    """Return the memory of a process and all below it, each shared page counted once."""
    parent = psutil.Process(process)
    return sum(one.memory_full_info().pss for one in [parent, *parent.children(recursive=True)]) / MIB
