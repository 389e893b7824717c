"""One-row calls while promotions and rollbacks go on: a part of `scoring.py`."""

import asyncio
import time
from pathlib import Path
from typing import Any

from grpc import aio
from rich.table import Table
from rpc_rates import Measured, _ask
from scoring_models import frame, small_model
from scoring_ours import scoring

from modelward import AsyncClient
from modelward._scoring import put_rows
from modelward.data import to_columns
from modelward.v1 import scoring_pb2 as pb
from modelward.v1.scoring_pb2_grpc import ScoringServiceStub

MODEL = "spx"
CLIENTS = 8


async def promotions_table(folder: Path, seconds: float) -> tuple[Table, str]:
    """Return how calls are answered with and without, and the ratio."""
    async with scoring(folder, {MODEL: small_model(1)}) as (channel, client):
        version = await client.register(MODEL, small_model(2), reference=frame(200))
        await _promote(client, version)
        calm = await _score_for(channel, seconds)
        done = asyncio.Event()
        moving = asyncio.create_task(_keep_moving(client, version, done))
        moved = await _score_for(channel, seconds)
        done.set()
        moves = await moving
    table = Table("", "calls/s", "p50 ms", "p99 ms", "longest ms", "errors")
    for label, (one, longest, failed) in (("without", calm), (f"with {moves} promotions and rollbacks", moved)):
        figures = f"{one.rate:,.0f}", f"{one.p50:.2f}", f"{one.p99:.2f}", f"{longest:.1f}"
        table.add_row(label, *figures, str(failed))
    return table, f"p99 is {moved[0].p99 / calm[0].p99:.2f} times what it is without"


async def _promote(client: AsyncClient, version: Any) -> None:
    for stage in ("staging", "production"):
        await client.promote(version, to=stage, reason="it passed its tests")


async def _keep_moving(client: AsyncClient, version: Any, done: asyncio.Event) -> int:
    """Take a version out of production and put it back, until it is done; return how often production changed."""
    moves = 0
    while not done.is_set():
        await client.rollback(MODEL, reason="measured")
        await _promote(client, version)
        moves += 2
    return moves


async def _score_for(channel: aio.Channel, seconds: float) -> tuple[Measured, float, int]:
    """Return how one-row calls were answered, the milliseconds of the longest, and how many failed."""
    score, took, failed = ScoringServiceStub(channel).Score, [0.0], [0]
    request = put_rows(pb.ScoreRequest(model=MODEL), to_columns(frame(1)))

    async def ask() -> None:
        begun = time.perf_counter()
        try:
            await score(request)
        except aio.AioRpcError:
            failed[0] += 1
        took.append(time.perf_counter() - begun)

    measured = await _ask(ask, seconds, CLIENTS)
    return measured, 1000 * max(took), failed[0]
