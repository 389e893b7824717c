"""Which calls to score are logged, what of them, and how an answer about the past compares with the log."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from modelward.data import Columns
from modelward.errors import ModelwardError
from modelward.lifecycle import ModelVersion
from modelward.scoring import LoggedAnswer, ScoreRecord
from modelward.shared.table_digest import table_digest
from modelward_server import identity
from modelward_server.rpc.idempotency import Context, actor_of
from modelward_server.rpc.scoring_records import ScoringRecords
from modelward_server.runtime.executors import Executors
from modelward_server.sandbox.sandbox import Run
from modelward_server.sandbox.score_request import Rows
from modelward_server.scoring.score_log import answer_digest, compared_with_log
from modelward_server.scoring.selection import ChosenVersions
from modelward_server.storage.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class ScoredCall:
    """A call to score, with what the log says of it."""

    request_id: str
    method: str
    rows: Rows
    chosen: ChosenVersions
    as_of: datetime | None
    context: Context
    at: datetime
    """When the versions were chosen; of a table of a stream, when it came."""

    @classmethod
    def begin(
        cls,
        request_id: str,
        method: str,
        rows: Rows,
        chosen: ChosenVersions,
        as_of: datetime | None,
        context: Context,
        at: datetime,
    ) -> ScoredCall:
        """Note a call whose versions have been chosen; it gets a request id if it has none."""
        return cls(request_id or str(uuid4()), method, rows, chosen, as_of, context, at)

    def record(self, version: ModelVersion, rows_sha256: str, **answer: Any) -> ScoreRecord:
        """Return what is logged of a version.

        Args:
            version: the version, with its stage at the requested time.
            rows_sha256: the SHA-256 of the rows.
            answer: further fields of the record: the answer, or the error.
        """
        exposure = self.chosen.exposure
        return ScoreRecord(
            request_id=self.request_id,
            scored_at=self.at,
            actor=actor_of(self.context),
            authenticated=identity.current.get() is not None,
            version=version.ref,
            digest=version.digest,
            stage=version.stage,
            method=self.method,
            rows=self.rows.count,
            rows_sha256=rows_sha256,
            as_of=self.as_of,
            ab_test=exposure.test if exposure else "",
            unit=exposure.unit if exposure else "",
            variant=self.chosen.variant,
            **answer,
        )


class ScoreLog:
    """Logs calls, each as a whole or not at all.

    Args:
        share: the share of the calls that are logged.
        records: writes the records after the answer.
        unit_of_work: the transactions of the ledger.
        executors: hash large tables.
    """

    def __init__(self, share: float, records: ScoringRecords, unit_of_work: UnitOfWork, executors: Executors) -> None:
        self._share = share
        self._records = records
        self._unit_of_work = unit_of_work
        self._executors = executors

    def takes(self, request_id: str) -> bool:
        """Return whether a call is logged: by its request id, so that a retry is treated alike."""
        if self._share in {0.0, 1.0}:
            return self._share == 1.0
        digest = hashlib.sha256(request_id.encode()).digest()
        return int.from_bytes(digest[:8]) < self._share * 2**64

    async def answered(
        self, call: ScoredCall, answers: Sequence[tuple[ModelVersion, Run]]
    ) -> Sequence[LoggedAnswer | None]:
        """Log the answers of a call, and return how those about the past compare with the log; otherwise None."""
        taken = self.takes(call.request_id)
        if not taken and call.as_of is None:
            return [None] * len(answers)
        runs = [run for _, run in answers]
        rows, *digests = await self._digests(call.rows, runs)
        records = [
            call.record(version, rows, answer_sha256=digest, libraries=run.libraries)
            for (version, run), digest in zip(answers, digests, strict=True)
        ]
        if taken:
            self._records.log(records)
        return await asyncio.gather(*(self._compared(record) for record in records))

    async def failed(self, call: ScoredCall, version: ModelVersion, error: ModelwardError) -> None:
        """Log that a version has failed for a call."""
        if self.takes(call.request_id):
            [rows] = await self._digests(call.rows, [])
            self._records.log([call.record(version, rows, answer_sha256="", error=error.reason)])

    async def _compared(self, now: ScoreRecord) -> LoggedAnswer | None:
        if (at := now.as_of) is None:
            return None
        return await self._unit_of_work.read(lambda session: compared_with_log(session, now, at))

    async def _digests(self, scored: Rows, runs: Sequence[Run]) -> list[str]:
        columns = scored.columns
        if not scored.is_large:
            return _digests(columns, runs)
        return await self._executors.compute.run(_digests, columns, runs)


def _digests(columns: Columns, runs: Sequence[Run]) -> list[str]:
    """Return the SHA-256 of the rows, and of each answer."""
    return [table_digest(columns), *map(answer_digest, runs)]
