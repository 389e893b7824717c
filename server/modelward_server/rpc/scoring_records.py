"""What calls that score leave behind in the ledger, written after their answers."""

from collections.abc import Iterable, Sequence
from typing import Any

from cachetools import LRUCache
from sqlalchemy.orm import Session

from modelward.scoring import ScoreRecord
from modelward_server.abtest.exposures import MAX_EXPOSED_UNITS, Exposure, ExposureCounts, record_exposures
from modelward_server.actor_context import ActorContext
from modelward_server.rpc.scored_rows import ScoredRows, ScoredRowsMonitor
from modelward_server.runtime.background import Background
from modelward_server.scoring.background_writer import BackgroundWriter
from modelward_server.scoring.score_log import record_scores
from modelward_server.scoring.selection import ChosenVersions
from modelward_server.storage.table_memory import MIB, bytes_of
from modelward_server.storage.unit_of_work import UnitOfWork

ACTOR = "modelward"
"""The actor of transactions that only store such records."""
MAX_BATCH, MAX_WAITING = 500, 100_000
"""Number of small records in a transaction, and of those that may wait for one."""
MAX_BATCH_BYTES, MAX_WAITING_BYTES = 16 * MIB, 256 * MIB
"""The same of scored rows, in bytes."""
ID_BYTES = 1 << 10
"""Memory of a row's id and prediction."""
KNOWN_UNITS = 100_000
"""Units whose exposure is not written again, because this process has written it."""


class ScoringRecords:
    """Collects the records, and writes them in background tasks.

    Args:
        unit_of_work: the transactions of the ledger, for the server's own work.
        monitor: writes scored rows that are observed.
    """

    def __init__(self, unit_of_work: UnitOfWork, monitor: ScoredRowsMonitor) -> None:
        self._unit_of_work = unit_of_work
        self._known: LRUCache[tuple[str, str], bool] = LRUCache(KNOWN_UNITS)
        self._exposure_counts = ExposureCounts()
        self._exposures = BackgroundWriter("exposures", self._write_exposures, MAX_BATCH, MAX_WAITING)
        self._observed = BackgroundWriter("observations", monitor.write, MAX_BATCH_BYTES, MAX_WAITING_BYTES)
        self._scores = BackgroundWriter("scores", self._write_scores, MAX_BATCH, MAX_WAITING)
        self.writers: tuple[BackgroundWriter[Any], ...] = (self._exposures, self._observed, self._scores)

    def begin(self, background: Background) -> None:
        """Start the tasks that write."""
        for writer in self.writers:
            background.start(f"scoring-{writer.kind}", writer.run)

    async def finish(self, background: Background, seconds: float) -> None:
        """Write what waits, as far as the time allows."""
        for writer in self.writers:
            writer.finish()
        for writer in self.writers:
            await background.finish(f"scoring-{writer.kind}", seconds / len(self.writers))

    def expose(self, chosen: ChosenVersions) -> None:
        """Record that a unit was given its variant, if it takes part in the test."""
        exposure = chosen.exposure
        if exposure and chosen.in_test and (exposure.test, exposure.unit) not in self._known:
            self._exposures.add(exposure)

    def observe(self, scored: ScoredRows) -> None:
        """Record rows as live data, and their predictions."""
        self._observed.add(scored, bytes_of(scored.columns) + len(scored.ids) * ID_BYTES)

    def log(self, scores: Iterable[ScoreRecord]) -> None:
        """Record which versions answered a call."""
        for score in scores:
            self._scores.add(score)

    async def _write_scores(self, scores: Sequence[ScoreRecord]) -> None:
        await self._unit_of_work.run_as_system(ACTOR, lambda session, _: record_scores(session, scores))

    async def _write_exposures(self, exposures: Sequence[Exposure]) -> None:
        def record(session: Session, _: ActorContext) -> list[Exposure]:
            recorded = self._exposure_counts.with_room(session, exposures)
            record_exposures(session, recorded)
            return recorded

        recorded = await self._unit_of_work.run_as_system(ACTOR, record)
        self._exposure_counts.add(recorded)
        self._exposures.lose(len(exposures) - len(recorded), f"a test has {MAX_EXPOSED_UNITS:,} units on record")
        self._known.update({(one.test, one.unit): True for one in exposures})
