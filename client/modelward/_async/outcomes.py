"""Client methods for predictions and their labels, which arrive later."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from modelward._async.connection import AsyncConnection
from modelward._coerce import AnyVersion, as_ref
from modelward._outcomes import answered, batches, times, to_outcomes, total
from modelward.drift import Performance, RecordedOutcomes
from modelward.paging import AsyncPager
from modelward.shared.convert.common import ref_to_proto, span_to_proto
from modelward.shared.convert.outcomes import outcome_to_proto, performance_from_proto, recorded_from_proto
from modelward.v1 import drift_pb2 as pb

PAGE_SIZE = 50


class AsyncOutcomes(AsyncConnection):
    """Performance monitoring: predictions joined with labels that arrive later."""

    async def record_outcomes(
        self,
        version: AnyVersion,
        ids: Iterable[object],
        *,
        predictions: Any = None,
        probabilities: Any = None,
        labels: Any = None,
        predicted_at: datetime | Iterable[datetime | None] | None = None,
        labelled_at: datetime | Iterable[datetime | None] | None = None,
        time: Any = None,
        group: Any = None,
        period: timedelta | None = None,
        horizon: timedelta | None = None,
        timeout: float | None = None,
    ) -> RecordedOutcomes:
        """Record predictions, labels, or both; they are joined by id in any order of arrival.

        They may be sent repeatedly. The newest period with labels is compared with the earlier ones, once; if the
        performance has declined, watchers receive a `PERFORMANCE_ALARM`. Up to 10,000 rows are recorded atomically;
        more are sent in several calls.

        Args:
            version: the version that predicted, such as `"spx-trend/3"`.
            ids: an id for each prediction, shape (rows,), unique in the version: text, whole numbers (7, 7.0 and "7"
                are the same), UUIDs, dates or times; none missing.
            predictions: one value for each id, or a class as a whole number; None, NaN, `pd.NA` or masked where the
                model did not answer. A list, an array of shape (rows,) or (rows, 1), a pandas or polars Series, an
                Arrow array.
            probabilities: the predicted probability of each predicted class, from 0 to 1, for example
                `predict_proba(X).max(axis=1)`; missing as for `predictions`.
            labels: the actual outcomes, where known; missing as for `predictions`.
            predicted_at: one time with its time zone for all, or one for each; now by default.
            labelled_at: likewise for the labels.
            time: the time of each prediction as a column of shape (rows,), instead of `predicted_at`: dates, datetimes
                or ISO 8601 text, without a zone in UTC; none missing.
            group: the group of each prediction, such as its symbol, shape (rows,): text or integers; none missing. A
                pair of time and group must not repeat.
            period: the length of the periods that are monitored for a decline; a day by default.
            horizon: the time from a prediction until its label is known; zero by default.
            timeout: seconds for each of the calls involved; those of the client by default.

        Returns:
            The numbers of new predictions, of labels joined to one, of labels that wait for theirs, and of rows that
            were left out because they have neither a prediction nor a label.

        Raises:
            ModelNotFound, VersionNotFound: the version does not exist.
            InvalidField: an id is missing, an array has another length than `ids`, a class is text, a time has no zone,
                no row has a value, or one contradicts an earlier one; or a time and group are repeated.

        Examples:
            >>> ids = ["order-1", "order-2"]
            >>> (await mw.record_outcomes("spx-trend/1", ids, predictions=[1, 0], probabilities=[0.7, 0.6])).predictions
            2
            >>> (await mw.record_outcomes("spx-trend/1", ids[:1], labels=[1])).labels  # the other is not yet known
            1
        """
        rows = to_outcomes(
            ids,
            prediction=predictions,
            probability=probabilities,
            label=labels,
            predicted_at=times(predicted_at, time),
            labelled_at=labelled_at,
            group=group,
        )
        known, recorded = answered(rows), []
        for batch in batches(known):
            request = pb.RecordOutcomesRequest(
                version=ref_to_proto(as_ref(version)),
                outcomes=map(outcome_to_proto, batch),
                period=span_to_proto(period),
                horizon=span_to_proto(horizon),
            )
            recorded.append(recorded_from_proto(await self._call(self._drift.RecordOutcomes, request, timeout)))
        return total(recorded, len(rows) - len(known))

    def list_performance(
        self, version: AnyVersion, *, period: timedelta | None = None, horizon: timedelta | None = None
    ) -> AsyncPager[Performance]:
        """List the performance of a version, the newest period first, without periods that have no prediction.

        Args:
            version: the version, such as `"spx-trend/3"`.
            period: the length of one period, counted from 1970 in UTC; a day by default.
            horizon: the time from a prediction until its label is known, younger rows do not count; zero by default.

        Returns:
            The periods; their pages are fetched as they are needed.

        Raises:
            ModelNotFound, VersionNotFound: the version does not exist.
        """
        request = pb.ListPerformanceRequest(
            version=ref_to_proto(as_ref(version)),
            period=span_to_proto(period),
            horizon=span_to_proto(horizon),
            page_size=PAGE_SIZE,
        )
        return self._list(self._drift.ListPerformance, request, "periods", performance_from_proto)
