"""Many processes promote the same models at once: one version in production, always, and a history that holds.

`MODELWARD_TEST_SCALE=full` races 8 processes on 50 models with 200 promotions each.
"""

import multiprocessing
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text

from modelward import Client, Stage, Transition
from modelward.errors import Aborted, FailedPrecondition
from tests.conftest import new_database
from tests.system.served import Served


@dataclass(frozen=True)
class Scale:
    """How hard it is raced."""

    processes: int
    models: int
    promotions: int


SCALE = Scale(8, 50, 200) if os.environ.get("MODELWARD_TEST_SCALE") == "full" else Scale(3, 2, 15)
VERSIONS = 4


@pytest.fixture(params=["sqlite", "postgresql", "two servers on postgresql"])
def targets(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[list[str], str]]:
    """The servers to call, and the URL of their database."""
    data, count = tmp_path / "data", 2 if request.param.startswith("two") else 1
    url = f"sqlite:///{data}/ledger.db"
    if request.param != "sqlite":
        url = new_database(request.getfixturevalue("postgres"))
    with ExitStack() as stack:
        servers = [Served(data, tmp_path / f"log{i}", "--database-url", url) for i in range(count)]
        for server in servers:
            stack.callback(server.stop)
        yield [server.target for server in servers], url


def _race(target: str, seed: int, scale: Scale) -> dict[str, int]:
    """Promote at random, as one process among many, and count how the calls ended."""
    chosen, ended = random.Random(seed), {"promoted": 0, "refused": 0}
    with Client(target, actor=f"racer-{seed}", timeout=120) as client:
        for _ in range(scale.models * scale.promotions // scale.processes):
            version = f"m{chosen.randrange(scale.models)}/{chosen.randint(1, VERSIONS)}"
            to = chosen.choice(["staging", "production", "production"])
            try:
                ended["promoted"] += client.promote(version, to=to).version.stage is Stage.PRODUCTION
            except (Aborted, FailedPrecondition):
                ended["refused"] += 1
    return ended


def test_one_version_is_in_production_however_many_promote_at_once(
    targets: tuple[list[str], str], tmp_path: Path
) -> None:
    servers, url = targets
    (tmp_path / "model.bin").write_bytes(b"model")
    with Client(servers[0], timeout=120) as client:
        for model in range(SCALE.models):
            for _ in range(VERSIONS):
                client.promote(client.register(f"m{model}", tmp_path / "model.bin"), to="staging")
        promoted = _run_all(servers)
        assert promoted > SCALE.models
        with create_engine(url, poolclass=NullPool).connect() as connection:
            counted = connection.execute(
                text("SELECT model, count(*) FROM ledger_versions WHERE stage = 'production' GROUP BY model")
            ).all()
        assert all(count == 1 for _, count in counted)
        moves = 0
        for model in range(SCALE.models):
            history = list(client.list_transitions(f"m{model}"))[::-1]
            moves += _check_history(history)
            assert client.get_model(f"m{model}").production_version == _holder(history)
        assert moves == promoted
        assert client.verify_audit_log().intact


def _run_all(servers: list[str]) -> int:
    with multiprocessing.get_context("spawn").Pool(SCALE.processes) as pool:
        arguments = [(servers[i % len(servers)], i, SCALE) for i in range(SCALE.processes)]
        return sum(ended["promoted"] for ended in pool.starmap(_race, arguments))


def _check_history(history: list[Transition]) -> int:
    """Replay the record: every move starts where the one before ended, and production is never held twice.

    Returns:
        how many promotions into production it has.
    """
    stages: dict[int, Stage | None] = {}
    promotions, last = 0, 0
    for move in history:
        assert move.sequence > last
        assert stages.get(move.version.version) == move.from_stage
        stages[move.version.version], last = move.to_stage, move.sequence
        assert list(stages.values()).count(Stage.PRODUCTION) <= 1
        promotions += move.to_stage is Stage.PRODUCTION
    return promotions


def _holder(history: list[Transition]) -> int:
    """Return the version that the record leaves in production; 0 when none."""
    stages = {move.version.version: move.to_stage for move in history}
    return next((version for version, stage in stages.items() if stage is Stage.PRODUCTION), 0)
