"""Client methods that send live data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from modelward._arguments import checks_arguments
from modelward._async.connection import AsyncConnection
from modelward._async.drift import live_columns
from modelward._async.observe_queue import AsyncObserveQueue
from modelward._coerce import AnyVersion, as_names, as_ref
from modelward._observed_batches import QueuedBatch, to_requests
from modelward._row_keys import KeyedTable, with_ids, with_keys
from modelward.drift import Observed
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.convert.common import ref_from_proto, ref_to_proto
from modelward.shared.convert.drift import observed_from_proto
from modelward.v1 import drift_pb2 as pb


class AsyncObserving(AsyncConnection):
    """Live monitoring."""

    async def observe(
        self,
        version: AnyVersion,
        *,
        sender: str,
        rows: int = 0,
        span: timedelta | None = None,
        reference: str = "",
        alarm_after: int = 0,
        alarm_of: int = 0,
        time: str = "",
        group: str = "",
        id: str = "",  # noqa: A002 - as the other arguments that name columns
        unacknowledged: int = 0,
    ) -> AsyncObserver:
        """Start or continue to send the live data of a version; each window is compared when it closes.

        Args:
            version: the version, such as `"spx-trend/3"`.
            sender: the sender's name, such as "engine-ny4-07"; each sender has its own windows, and one process at a
                time.
            rows: a window closes after this number of rows; or
            span: after this duration, at multiples of it since 1970 in UTC. The server closes a window also when no
                more rows come, shortly after its end.
            reference: the reference's name; "default" when empty.
            alarm_after: number of the last `alarm_of` windows that must drift for an alarm; 2 when 0.
            alarm_of: number of windows that are looked at for an alarm; 3 when 0.
            time: the column with the time of each row, as for `set_reference`; the reference's by default. Rows belong
                to the window of their time. A row that is older than a closed window is late: it is left out, and
                counted.
            group: the column with the group of each row; the reference's by default.
            id: the column with the id of each row's prediction, by which labels join rows that the server keeps, so
                that versions can be compared on them (`replay` of `compare`). It is not a feature.
            unacknowledged: the number of batches that may wait to be stored: up to it, `add` returns when rows are
                queued, and they are sent in the background. `flush` waits until they are stored. With 0, each `add`
                waits.

        Returns:
            An observer, whose `add` sends rows.

        Raises:
            ModelNotFound, VersionNotFound, ReferenceNotFound: a resource does not exist.
            InvalidField: neither or both of `rows` and `span` are given, or another argument is invalid.

        Examples:
            >>> observer = await mw.observe("spx-trend/1", sender="engine-ny4-07", rows=200)
            >>> seen = await observer.add({"momentum": X["momentum"][:200] + 2.0, "volume": X["volume"][:200]})
            >>> print(seen.acknowledged, [report.drift_detected for report in seen.reports], seen.alarm)
            1 [True] False
        """
        if unacknowledged < 0:
            raise InvalidField(FieldViolation("unacknowledged", f"is {unacknowledged}; give 0 or more"))
        if (rows > 0) == (span is not None):
            raise InvalidField(FieldViolation("rows", "give either rows or span, so that windows close"))
        header = pb.ObserveHeader(
            version=ref_to_proto(as_ref(version)),
            sender=sender,
            reference=reference,
            alarm_after=alarm_after,
            alarm_of=alarm_of,
            time_column=time,
            group_column=group,
            id_column=id,
        )
        if span is not None:
            header.span.FromTimedelta(span)
        else:
            header.rows = rows
        observer = AsyncObserver(self, header)
        await observer._send([], 1)
        if unacknowledged:
            observer._queue = AsyncObserveQueue(observer._send, unacknowledged, observer.acknowledged)
        return observer


@checks_arguments
class AsyncObserver:
    """Sends one sender's live data.

    Attributes:
        acknowledged: the number of the last batch that the server has stored durably.
    """

    def __init__(self, connection: AsyncConnection, header: pb.ObserveHeader) -> None:
        self._connection = connection
        self._header = header
        self.acknowledged: int = 0
        self._ignored: Sequence[str] = ()
        self._queue: AsyncObserveQueue | None = None

    async def add(
        self,
        data: Any,
        *,
        seen_at: datetime | None = None,
        names: Sequence[str] | None = None,
        ignore: Collection[str] = (),
        time: Any = None,
        group: Any = None,
        id: Any = None,  # noqa: A002 - as the other arguments that name columns
        timeout: float | None = None,
    ) -> Observed:
        """Send the next rows; on return they are stored, and the windows that they closed are compared.

        With `unacknowledged`, they are queued on return, unless so many are: then it waits for one to be stored. What
        it returns is what the server has answered since the last call.

        Args:
            data: a table of shape (rows, features) with every feature of the reference, as for `detect_drift`.
            seen_at: time of the observation, with its time zone; now by default.
            names: the columns of an array; `x0`, `x1`, ... by default.
            ignore: columns of the data that are not features, in addition to those stored with the reference.
            time: the time of each row, a column or values, as for `set_reference`; that of `observe` by default.
            group: the group of each row, a column or values; that of `observe` by default.
            id: the id of each row's prediction, a column or values; that of `observe` by default. Text, whole numbers
                (7, 7.0 and "7" are the same), UUIDs, dates or times; none missing.
            timeout: seconds for the call with all its attempts; those of the client by default.

        Returns:
            The number of the last batch that is stored, the reports of the windows that closed, and the number of late
            rows so far.

        Raises:
            InvalidField: a feature is missing, unknown or of another type, there is no row, or a time or group is
                missing, of another kind or repeated, or an id is missing or invalid.
        """
        from modelward.data import named_columns

        header = self._header
        given = (header.time_column if time is None else time, header.group_column if group is None else group)
        table = with_ids(with_keys(named_columns(data, names), *given), header.id_column if id is None else id)
        ignored, version = table.not_ignored(as_names(ignore, "ignore")), ref_from_proto(header.version)
        columns, self._ignored = await live_columns(
            self._connection, version, header.reference, table.columns, ignored, self._ignored
        )
        at = Timestamp()
        if seen_at is None:
            at.GetCurrentTime()
        else:
            at.FromDatetime(seen_at)
        batch = QueuedBatch(self._header_with(table), columns, at)
        if self._queue:
            own = {name: values.copy() for name, values in columns.items()}  # The caller may change its arrays.
            return await self._queue.put(batch._replace(columns=own), self._connection._seconds(timeout))
        return await self._send([batch], self.acknowledged + 1, timeout)

    def _header_with(self, table: KeyedTable) -> pb.ObserveHeader:
        """Return the header with the columns of time, group and id of some rows."""
        header = self._header
        names = table.time, table.group, table.id
        if (header.time_column, header.group_column, header.id_column) != names:
            header = pb.ObserveHeader()
            header.CopyFrom(self._header)
            header.time_column, header.group_column, header.id_column = names
        return header

    async def flush(self, *, timeout: float | None = None) -> Observed:
        """Wait until all rows that were added are stored, and the windows that they closed are compared.

        Args:
            timeout: seconds to wait; those of the client by default.

        Returns:
            What the server has answered since the last call.

        Raises:
            InvalidField: rows were refused as `add` says; they are left out, and those after them are sent.
            Unavailable, DeadlineExceeded: they are not stored in that time; they stay queued, and are sent on.
        """
        if self._queue is None:
            return Observed(self.acknowledged)
        return await self._queue.flush(self._connection._seconds(timeout))

    async def _send(self, batches: Sequence[QueuedBatch], first: int, timeout: float | None = None) -> Observed:
        """Send batches of one header, of which the first has the number `first`; the server ignores those that it
        already has."""
        header = batches[0].header if batches else self._header
        parts = [pb.ObserveRequest(header=header), *to_requests(batches, first)]
        observed = observed_from_proto(
            await self._connection._exchange(self._connection._drift.Observe, parts, timeout)
        )
        self.acknowledged = observed.acknowledged
        return observed
