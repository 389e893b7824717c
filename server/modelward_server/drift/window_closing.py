"""Close windows of live data: prepare a window's report outside of any transaction, and store it in one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from sqlalchemy.orm import Session

from modelward.data import Columns
from modelward.drift import DriftReport, Reference
from modelward.errors import ConcurrentChange
from modelward_server.actor_context import ActorContext
from modelward_server.drift import live_monitoring, policies, references, reports
from modelward_server.drift.live_monitoring import Window, WindowRows
from modelward_server.drift.profile import Profile
from modelward_server.drift.row_order import NO_KEYS, RowKeys, without_repeated
from modelward_server.drift.windows import Observer, ObserverState
from modelward_server.storage.arrow_tables import arrow_columns, read_arrow
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.columns import joined
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.unit_of_work import UnitOfWork

FIELD = "batch.data"
"""The position of rows in the request, for errors."""


@dataclass(frozen=True)
class ClosedWindow:
    """The prepared report of a window, and the state of its sender."""

    window: Window
    state: ObserverState


@dataclass(frozen=True)
class WindowClosers:
    """Opens what closes the windows of senders.

    Attributes:
        blobs: the profiles of references.
        keeps_rows: whether the rows of compared windows are kept for comparisons.
    """

    blobs: BlobStore
    keeps_rows: bool = False

    async def open(self, unit_of_work: UnitOfWork, observer: Observer) -> "WindowCloser":
        """Return what closes the windows of a sender, with the reference as it is now.

        Raises:
            ReferenceNotFound: it does not exist.
            InvalidField: as `WindowCloser`.
        """
        reference = await unit_of_work.read(
            lambda session: references.get_reference(session, observer.version, observer.reference)
        )
        profile = await unit_of_work.executors.compute.run(references.load_profile, self.blobs, reference.digest)
        return WindowCloser(observer, reference, profile, keeps_rows=self.keeps_rows)


class WindowCloser:
    """Closes the windows of one sender.

    Args:
        observer: the sender.
        reference: the reference that its rows are compared with.
        profile: the profile of that reference.
        keeps_rows: whether the rows of compared windows are kept for comparisons.

    Attributes:
        keys: the columns with the times and groups of rows.
        regime: the regime of which the rows of the reference are; None for no particular one.

    Raises:
        InvalidField: the columns of times, groups and ids do not fit the reference.
    """

    def __init__(self, observer: Observer, reference: Reference, profile: Profile, *, keeps_rows: bool) -> None:
        self.observer, self.profile, self._digest = observer, profile, reference.digest
        self._keeps_rows = keeps_rows
        self.regime = reference.regime
        self.keys = references.live_keys(reference, observer.time_column, observer.group_column)
        references.check_id_column(reference, self.keys, observer.id_column)

    def prepare(self, session: Session, closes_after: int | None = None) -> ClosedWindow | None:
        """Prepare the report of the oldest closed window; None when all are compared.

        Args:
            closes_after: the open window counts as closed too if this is the number of the last batch.
        """
        observer, state = self.observer, self.state(session)
        closes = closes_after is not None and state.acknowledged == closes_after
        number = live_monitoring.closed_window(session, observer, state.window + closes)
        if number is None:
            return None
        kept = live_monitoring.kept_rows(session, observer, number)
        reference = references.get_reference(session, observer.version, observer.reference)
        thresholds = policies.get_drift_policy(session, observer.version.model).thresholds
        batches, keys, repeated = self._rows(kept)
        label = _label(observer, min(kept.seen_at), max(kept.seen_at))
        taken = reports.from_batches(batches, keys)
        report = reports.make_report(reference, self.profile, taken, FIELD, thresholds, label)
        report = reports.with_left_out(report, state.late_rows - state.late_reported, repeated)
        is_open = number == state.window
        return ClosedWindow(Window(number, len(kept.tables), report, closes_after if is_open else None), state)

    def store(
        self, session: Session, actor: ActorContext, closed: ClosedWindow | None
    ) -> tuple[DriftReport, bool] | None:
        """Store the report of a window, and return it and whether it raised an alarm; None if there is no window.

        Raises:
            Outdated: the ledger has other rows of the window than were compared.
            ConcurrentChange: the reference was replaced since the rows were read.
        """
        if closed is None:
            return None
        self.check_reference(session)
        row = live_monitoring.open_observer(session, self.observer)
        return live_monitoring.close_window(
            session, self.observer, row, closed.window, actor, keeps_rows=self._keeps_rows
        )

    def check_reference(self, session: Session) -> None:
        """Refuse rows that were read under another reference than is stored: its columns may be of other kinds."""
        if references.get_reference(session, self.observer.version, self.observer.reference).digest != self._digest:
            raise ConcurrentChange("the reference was replaced while live data were received; observe again")

    def state(self, session: Session) -> ObserverState:
        """Return the sender's state."""
        state = live_monitoring.observer_state(session, self.observer)
        if state is None:  # It was created at the beginning of the call.
            raise Outdated
        return state

    def _rows(self, kept: WindowRows) -> tuple[list[Columns], RowKeys, int]:
        """Return the rows of a window, the columns to sort them by, and the number of rows that repeat a pair.

        Where a batch has no times, the rows are in the order of arrival.
        """
        batches = list(_unpacked(kept.tables))
        if not self.keys.time or any(not self.keys.names <= batch.keys() for batch in batches):
            features = [feature.name for feature in self.profile.features]
            return [{name: batch[name] for name in features} for batch in batches], NO_KEYS, 0
        columns, repeated = without_repeated(joined(batches), self.keys)
        return [columns], self.keys, repeated


def _label(observer: Observer, first: datetime, last: datetime) -> str:
    end = "%H:%M" if first.date() == last.date() else "%Y-%m-%d %H:%M"
    return f"{observer.sender}, {first:%Y-%m-%d %H:%M} to {last:{end}}"[:256]


def _unpacked(tables: Iterable[bytes]) -> Iterator[Columns]:
    for table in tables:
        for batch in read_arrow(pa.BufferReader(table), FIELD):
            yield arrow_columns(batch, FIELD)
