"""What do predictions by the server cost, beside MLServer, MLflow's server, the library itself and an empty call?

    python benchmarks/scoring.py [--seconds 2] [--environments FOLDER] [--only rates memory promotions] [--promotions]

Rates: LightGBM (300 trees), HistGradientBoosting and an ONNX network on 20 features; one row and 3,000; 1, 8 and 32
clients, coroutines of this process, each of which waits for its answer before it asks again. Every server gets requests
that are ready as bytes: ours and MLServer over gRPC, MLflow as JSON over HTTP; "SDK" is `AsyncClient.score` of a data
frame. "Raw" is the library's own call in this process, with as many threads as it takes by itself.
Memory: a server with 50 small models loaded, all its processes together, shared pages counted once.
Promotions: one-row calls of 8 clients while promotions and rollbacks go on, beside the same without.

The peers are installed with uv into FOLDER, where they are found again. What cannot be measured is left out with the
reason. `--promotions` is short for `--only promotions`.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import rpc_rates
import scoring_peers
from grpc import aio
from resolve import _free_port
from rich.console import Console
from rich.table import Table
from rpc_rates import Measured, _ask, _measure_empty, running
from scoring_memory import memory_table
from scoring_models import Model, frame, models
from scoring_ours import scoring
from scoring_peers import NotMeasuredError
from scoring_promotions import promotions_table

from modelward._scoring import put_rows
from modelward.data import to_columns
from modelward.v1 import scoring_pb2 as pb
from modelward.v1.scoring_pb2_grpc import ScoringServiceStub

CLIENTS = (1, 8, 32)
SIZES = (1, 3_000)
Cell = tuple[str, int, int]
"""The model, the rows of a call, and the clients."""
Rates = dict[str, dict[Cell, Measured]]
"""By server."""
SHOW = Console(width=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each is asked")
    parser.add_argument(
        "--environments", type=Path, help="where the peers are installed; a temporary folder by default"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--promotions", dest="only", action="store_const", const=["promotions"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for part in given.only:
            place = Path(folder, part)
            place.mkdir()
            PARTS[part](place, given.environments or Path(folder, "environments"), given.seconds)
            SHOW.print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _measure_rates(folder: Path, environments: Path, seconds: float) -> None:
    chosen = models()
    raw = {(model.name, rows): _raw(model, rows) for model in chosen for rows in SIZES}
    empty = asyncio.run(_empty(seconds))
    found = asyncio.run(_ours(folder, chosen, seconds))
    _print_beside(found["ours"], raw, empty)
    for peer, measure in (("MLServer", _of_mlserver), ("MLflow", _of_mlflow)):
        try:
            programs = scoring_peers.environment(peer, environments)
        except NotMeasuredError as why:
            SHOW.print(f"{peer} is left out: {why}")
            continue
        found[peer] = asyncio.run(measure(programs, chosen, folder / peer, seconds))
        _print_rates(peer, found[peer], found["ours"])


def _raw(model: Model, rows: int) -> float:
    """Return the median seconds of the library's own call."""
    table = model.rows(rows)
    model.predict(table)
    return statistics.median(timeit.repeat(lambda: model.predict(table), number=1, repeat=50))


async def _empty(seconds: float) -> dict[int, Measured]:
    port = _free_port()
    with running([sys.executable, rpc_rates.__file__, "--empty-server", str(port)]):
        return {clients: await _measure_empty(f"127.0.0.1:{port}", seconds, clients) for clients in CLIENTS}


async def _ours(folder: Path, chosen: list[Model], seconds: float) -> Rates:
    found: Rates = {"ours": {}, "SDK": {}}
    async with scoring(folder, {model.name: model.trained for model in chosen}) as (channel, client):
        score = ScoringServiceStub(channel).Score
        for name, rows, clients in _cells(chosen):
            request = put_rows(pb.ScoreRequest(model=name), to_columns(frame(rows)))
            found["ours"][name, rows, clients] = await _ask(partial(score, request), seconds, clients)
            sdk = partial(client.score, name, frame(rows))
            found["SDK"][name, rows, clients] = await _ask(sdk, seconds, clients)
    for server, cells in found.items():
        _print_rates(server, cells, found["ours"])
    return found


def _cells(chosen: list[Model]) -> Iterator[Cell]:
    return ((model.name, rows, clients) for model in chosen for rows in SIZES for clients in CLIENTS)


async def _of_mlserver(programs: Path, chosen: list[Model], folder: Path, seconds: float) -> dict[Cell, Measured]:
    found: dict[Cell, Measured] = {}
    async with scoring_peers.mlserver(programs, chosen, folder) as server:
        for model in chosen:
            with _left_out_if_it_fails("MLServer", model):
                found |= await _of_peer(server, model, seconds)
    return found


async def _of_mlflow(programs: Path, chosen: list[Model], folder: Path, seconds: float) -> dict[Cell, Measured]:
    found: dict[Cell, Measured] = {}
    for model in chosen:
        (folder / model.name).mkdir(parents=True)
        with _left_out_if_it_fails("MLflow", model):
            async with scoring_peers.mlflow(programs, model, folder / model.name) as server:
                found |= await _of_peer(server, model, seconds)
    return found


@contextmanager
def _left_out_if_it_fails(peer: str, model: Model) -> Iterator[None]:
    try:
        yield
    except (NotMeasuredError, aio.AioRpcError, aiohttp.ClientError) as why:
        SHOW.print(f"{peer} is left out for {model.name}: {why}")


async def _of_peer(server: Any, model: Model, seconds: float) -> dict[Cell, Measured]:
    found: dict[Cell, Measured] = {}
    for rows in SIZES:
        ask = await server.asker(model, rows)
        for clients in CLIENTS:
            found[model.name, rows, clients] = await _ask(ask, seconds, clients)
    return found


def _print_rates(server: str, found: dict[Cell, Measured], ours: dict[Cell, Measured]) -> None:
    headings = ["model", "rows", "clients", "p50 ms", "p99 ms", "calls/s", "rows/s", "our rate / its rate"]
    table = Table(*headings, title=server)
    for cell, one in found.items():
        name, rows, clients = cell
        figures = f"{one.p50:,.2f}", f"{one.p99:,.2f}", f"{one.rate:,.0f}", f"{one.rate * rows:,.0f}"
        table.add_row(name, f"{rows:,}", str(clients), *figures, f"{ours[cell].rate / one.rate:.2f}")
    SHOW.print(table, f"load average {os.getloadavg()[0]:.1f}")


def _print_beside(ours: dict[Cell, Measured], raw: dict[tuple[str, int], float], empty: dict[int, Measured]) -> None:
    """Print ours beside what it cannot be faster than."""
    table = Table(
        "model", "raw, 1 row ms", "p50 / (empty + raw)", "32 clients / empty's rate", "raw, 3,000 ms", "/ raw"
    )
    for name in dict.fromkeys(name for name, _ in raw):
        one, many = (1000 * raw[name, rows] for rows in SIZES)
        whole = ours[name, 1, 1].p50 / (empty[1].p50 + one)
        share, large = ours[name, 1, 32].rate / empty[32].rate, ours[name, 3_000, 1].p50 / many
        table.add_row(name, f"{one:.3f}", f"{whole:.2f}", f"{share:.0%}", f"{many:.2f}", f"{large:.2f}")
    figures = (f"{clients} clients {one.p50:.2f} ms, {one.rate:,.0f}/s" for clients, one in empty.items())
    SHOW.print(table, f"an empty call: {'; '.join(figures)}")


def _measure_memory(folder: Path, environments: Path, _seconds: float) -> None:
    table, left_out = memory_table(folder, environments)
    SHOW.print(table, *left_out, sep="\n")


def _measure_promotions(folder: Path, _environments: Path, seconds: float) -> None:
    SHOW.print(*asyncio.run(promotions_table(folder, seconds)))


PARTS = {"rates": _measure_rates, "memory": _measure_memory, "promotions": _measure_promotions}

if __name__ == "__main__":
    main()
