# Derived from modelward/_async/drift.py by client/unasync.py: change that one.
"""Client methods for drift detection."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from modelward._coerce import AnyVersion, as_names, as_ref
from modelward._request_ids import new_request_id
from modelward._row_keys import with_keys
from modelward._segments import as_regime, as_segments
from modelward._sync.connection import Connection
from modelward.drift import DriftPolicy, DriftReport, DriftThresholds, Reference
from modelward.errors import InvalidField
from modelward.lifecycle import VersionRef
from modelward.paging import Pager
from modelward.shared.convert.common import ref_to_proto, report_format_to_proto, time_to_proto
from modelward.shared.convert.drift import (
    drift_policy_from_proto,
    drift_policy_to_proto,
    reference_from_proto,
    report_from_proto,
    thresholds_to_proto,
)
from modelward.shared.convert.segments import regime_to_proto, segments_to_proto
from modelward.v1 import drift_pb2 as pb

PAGE_SIZE = 50


class Drift(Connection):
    """Drift detection: compare live data with the training data.

    Where a method takes a table, it may be a pandas or polars frame, an Arrow table, a mapping of names to columns or a
    two-dimensional array whose columns are named by `names`. Missing values are None, NaN, NaT or NA.
    """

    def set_reference(
        self,
        version: AnyVersion,
        data: Any,
        *,
        name: str = "",
        names: Sequence[str] | None = None,
        ignore: Collection[str] = (),
        time: Any = None,
        group: Any = None,
        by: Any = None,
        regime: Any = None,
        timeout: float | None = None,
    ) -> Reference:
        """Store reference data of a version as a profile, with which later data are compared.

        Args:
            version: the version, such as `"spx-trend/3"`.
            data: a table of shape (rows, features) with at least one row; without `time` in time order. Missing values
                are None, NaN, NaT or NA; their share is a part of the profile.
            name: the reference's name, such as "calm" or "crisis"; "default" when empty. An existing one is replaced.
            names: the columns of an array; `x0`, `x1`, ... by default.
            ignore: columns of the data that are not features, such as "symbol", whatever their values. The reference
                stores their names: live data may contain them or not. Times are never features.
            time: the time of each row, by which rows are sorted: the name of a column of the data, or values of shape
                (rows,). Dates, datetimes (without a zone in UTC), ISO 8601 text or integers; none missing. The column
                is not a feature.
            group: the group of each row where several rows have the same time, such as its symbol: the name of a
                column, or values. Text or integers; none missing. A pair of time and group must not repeat. The column
                is not a feature; give its values where it is one.
            by: the rows of each value of this, such as the sector of each row, get a profile of their own, with which
                `detect_drift` with the same `by` compares the segments of live data; as there. Values with fewer than
                10 times get none.
            regime: only rows of this regime become the reference: a pair (first, last) of dates, times or integers,
                both included and None for no limit, or `ClosureSessions`. Of live data that are compared with a
                reference of such sessions, other sessions are left out.
            timeout: seconds for the call with all its attempts; those of the client by default.

        Returns:
            The profile of the data; the rows themselves are not stored.

        Raises:
            ModelNotFound, VersionNotFound: the version does not exist.
            InvalidField: the data are not a table of numbers, text, booleans and times, have no row, or lack an ignored
                column; or a time or group is missing, of another kind or repeated.

        Examples:
            >>> table = {"vix": [12.0, 13.5, None], "up": [True, False, True]}
            >>> calm = mw.set_reference("spx-trend/1", table, name="calm")
            >>> [(feature.name, feature.kind.value, round(feature.missing_share, 2)) for feature in calm.features]
            [('vix', 'number', 0.33), ('up', 'category', 0.0)]
        """
        from modelward.data import INLINE_BYTES, named_columns, size_of, to_arrow, to_dataset, to_reference_columns

        table = with_keys(named_columns(data, names), time, group, by=by)
        ignored = table.not_ignored(as_names(ignore, "ignore"))
        columns = to_reference_columns(table.columns, ignore=ignored)
        header = pb.ReferenceHeader(
            version=ref_to_proto(as_ref(version)),
            name=name,
            request_id=new_request_id(),
            ignored_columns=ignored,
            time_column=table.time,
            group_column=table.group,
            segment_column=table.by,
            regime=None if regime is None else regime_to_proto(as_regime(regime)),
        )
        inline = size_of(columns) <= INLINE_BYTES
        if inline:
            header.data.CopyFrom(to_dataset(columns))

        def parts() -> Iterator[pb.SetReferenceRequest]:
            yield pb.SetReferenceRequest(header=header)
            if not inline:
                yield from (pb.SetReferenceRequest(arrow_ipc=part) for part in to_arrow(columns))

        return reference_from_proto((self._send(self._drift.SetReference, parts, timeout)).reference)

    def get_reference(self, version: AnyVersion, *, name: str = "") -> Reference:
        """Return the profile of a version's reference.

        Args:
            version: the version, such as `"spx-trend/3"`.
            name: the reference's name; "default" when empty.

        Returns:
            The profile.

        Raises:
            ModelNotFound, VersionNotFound: the version does not exist.
            ReferenceNotFound: it has no reference with this name.
        """
        request = pb.GetReferenceRequest(version=ref_to_proto(as_ref(version)), name=name)
        return reference_from_proto((self._call(self._drift.GetReference, request)).reference)

    def detect_drift(
        self,
        version: AnyVersion,
        data: Any,
        *,
        reference: str = "",
        names: Sequence[str] | None = None,
        thresholds: DriftThresholds | None = None,
        label: str = "",
        ignore: Collection[str] = (),
        time: Any = None,
        group: Any = None,
        by: Any = None,
        regimes: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> DriftReport:
        """Compare a table with a version's reference, feature by feature; the server stores the report.

        A small table is sent in one message, a large one as a stream.

        Args:
            version: the version, such as `"spx-trend/3"`.
            data: a table of shape (rows, features) with every feature of the reference, by name; other columns only if
                they are times or ignored. Missing values are None, NaN, NaT or NA: they count for the missing share
                only.
            reference: the reference's name; "default" when empty.
            names: the columns of an array; `x0`, `x1`, ... by default.
            thresholds: for this call, in place of the model's policy.
            label: what the data are, such as "2008Q4", for people who read the report.
            ignore: columns of the data that are not features, in addition to those stored with the reference.
            time: the time of each row, as for `set_reference`; the reference's column by default, if the data have it.
            group: the group of each row, as for `set_reference`; the reference's column by default.
            by: a segment for each value of this, such as the sector of each row, with a result of its own: the name of
                a column, or values of shape (rows,). Text, booleans or integers, 100 values at most; rows in which it
                is missing are in no segment. The column is not a feature; give its values where it is one.
            regimes: a segment for each of these, by name: a pair (first, last) of dates, times or integers, both
                included and None for no limit, or `ClosureSessions`, sessions beside closures of an exchange.
            timeout: seconds for the call with all its attempts; those of the client by default.

        Returns:
            The report, with the strongest feature first.

        Raises:
            ModelNotFound, VersionNotFound, ReferenceNotFound: a resource does not exist.
            InvalidField: a feature is missing, unknown or of another type, there is no row, or a time or group is
                missing, of another kind or repeated.

        Examples:
            >>> shifted = {"momentum": X["momentum"] + 1.5, "volume": X["volume"]}
            >>> report = mw.detect_drift("spx-trend/1", shifted, label="2008Q4")
            >>> print(report.drift_detected, report.drivers)
            True ('momentum',)
        """
        from modelward.data import INLINE_BYTES, named_columns, size_of, to_arrow, to_dataset

        table = with_keys(named_columns(data, names), time, group, by=by)
        ignored = table.not_ignored(as_names(ignore, "ignore"))
        segments = segments_to_proto(as_segments(table.by, regimes))
        columns, _ = live_columns(self, as_ref(version), reference, table.columns, ignored)
        header = pb.DetectDriftHeader(
            version=ref_to_proto(as_ref(version)),
            reference=reference,
            thresholds=thresholds_to_proto(thresholds),
            label=label,
            request_id=new_request_id(),
            time_column=table.time,
            group_column=table.group,
            segments=segments,
        )
        if size_of(columns) <= INLINE_BYTES:
            request = pb.DetectDriftRequest(
                version=header.version,
                data=to_dataset(columns),
                reference=reference,
                thresholds=header.thresholds if header.HasField("thresholds") else None,
                label=label,
                time_column=table.time,
                group_column=table.group,
                segments=segments,
            )
            return report_from_proto((self._call(self._drift.DetectDrift, request, timeout)).report)

        def parts() -> Iterator[pb.DetectDriftStreamRequest]:
            yield pb.DetectDriftStreamRequest(header=header)
            yield from (pb.DetectDriftStreamRequest(arrow_ipc=part) for part in to_arrow(columns))

        return report_from_proto((self._send(self._drift.DetectDriftStream, parts, timeout)).report)

    def detect_drift_uri(
        self,
        version: AnyVersion,
        uri: str,
        *,
        reference: str = "",
        thresholds: DriftThresholds | None = None,
        label: str = "",
        ignore: Collection[str] = (),
        time: str = "",
        group: str = "",
        by: str = "",
        regimes: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> DriftReport:
        """Compare a Parquet file or folder that the server itself reads with a version's reference.

        Args:
            version: the version, such as `"spx-trend/3"`.
            uri: a location that the server's operator allows, such as `file:///data/q3.parquet` or
                `s3://bucket/ticks/`.
            reference: the reference's name; "default" when empty.
            thresholds: for this call, in place of the model's policy.
            label: what the data are, for people who read the report.
            ignore: columns of the data that are not features, in addition to those stored with the reference.
            time: the column with the time of each row; the reference's by default, if the data have it. Data larger
                than 96 MiB must already be sorted by time and group.
            group: the column with the group of each row; the reference's by default.
            by: a segment for each value of this column, as for `detect_drift`.
            regimes: a segment for each of these, as for `detect_drift`.
            timeout: seconds for the call with all its attempts; those of the client by default.

        Returns:
            The report, with the strongest feature first.

        Raises:
            ModelNotFound, VersionNotFound, ReferenceNotFound: a resource does not exist.
            SourceNotAllowed: the operator does not allow the server to read there.
            InvalidField: a feature is missing, unknown or of another type, or there is no row.
        """
        request = pb.DetectDriftRequest(
            version=ref_to_proto(as_ref(version)),
            reference=reference,
            thresholds=thresholds_to_proto(thresholds),
            label=label,
            ignored_columns=as_names(ignore, "ignore"),
            time_column=time,
            group_column=group,
            segments=segments_to_proto(as_segments(by, regimes)),
        )
        request.data.uri = uri
        return report_from_proto((self._call(self._drift.DetectDrift, request, timeout)).report)

    def get_drift_report(self, report_id: str) -> DriftReport:
        """Return a stored report.

        Args:
            report_id: the id of the report, as in `DriftReport.report_id` and in drift alarms.

        Returns:
            The report.

        Raises:
            ReportNotFound: there is no report with this id.
        """
        request = pb.GetDriftReportRequest(report_id=report_id)
        return report_from_proto((self._call(self._drift.GetDriftReport, request)).report)

    def list_drift_reports(
        self,
        model: str,
        *,
        version: int = 0,
        drift_detected_only: bool = False,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Pager[DriftReport]:
        """List the reports of a model, the newest first.

        Args:
            model: the model's name.
            version: only reports of the model's version with this number; of all when 0.
            drift_detected_only: leave out reports without drift.
            created_after: only reports made at this time or later.
            created_before: only reports made before this time.

        Returns:
            The reports; their pages are fetched as they are needed.

        Raises:
            ModelNotFound, VersionNotFound: the model or version does not exist.
        """
        request = pb.ListDriftReportsRequest(
            model=model,
            version=version,
            drift_detected_only=drift_detected_only,
            created_after=time_to_proto(created_after),
            created_before=time_to_proto(created_before),
            page_size=PAGE_SIZE,
        )
        return self._list(self._drift.ListDriftReports, request, "reports", report_from_proto)

    def render_drift_report(
        self,
        report_id: str,
        format: Literal["html", "png"] = "html",  # noqa: A002 - the word of the contract
    ) -> bytes:
        """Render a stored report.

        Args:
            report_id: the id of the report.
            format: `html` for a self-contained page with every number, in the reader's light or dark theme; `png` for
                an image, 2400 pixels wide, with the result, its strongest features and the scores over time.

        Returns:
            The file's content.

        Raises:
            ReportNotFound: there is no report with this id.
            InvalidField: the format is unknown.
        """
        request = pb.RenderDriftReportRequest(report_id=report_id, format=report_format_to_proto(format))
        return (self._call(self._drift.RenderDriftReport, request)).content

    def get_drift_policy(self, model: str) -> DriftPolicy:
        """Return a model's drift policy, with the defaults where nothing was set.

        Args:
            model: the model's name.

        Returns:
            The policy; each of its thresholds has a value.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.GetDriftPolicyRequest(model=model)
        return drift_policy_from_proto((self._call(self._drift.GetDriftPolicy, request)).policy)

    def set_drift_policy(self, policy: DriftPolicy) -> DriftPolicy:
        """Replace a model's drift policy.

        Args:
            policy: the whole policy; an empty `etag` replaces whatever is there, and thresholds that are None are the
                defaults.

        Returns:
            The policy, with its new etag.

        Raises:
            ModelNotFound: there is no such model.
            EtagMismatch: the policy changed since its etag was read.
            InvalidField: a threshold is NaN, infinite or out of its range.

        Examples:
            >>> thresholds = DriftThresholds(ks=0.3, features={"volume": FeatureThresholds(ignored=True)})
            >>> (mw.set_drift_policy(DriftPolicy("spx-trend", thresholds))).thresholds.ks
            0.3
        """
        request = pb.SetDriftPolicyRequest(policy=drift_policy_to_proto(policy))
        return drift_policy_from_proto((self._call(self._drift.SetDriftPolicy, request)).policy)


def live_columns(
    connection: Connection,
    version: VersionRef,
    reference: str,
    table: Mapping[str, Any],
    ignore: Sequence[str],
    known: Sequence[str] = (),
) -> tuple[dict[str, Any], Sequence[str]]:
    """Convert live data to columns, without unsendable columns that the reference lists as ignored.

    Args:
        known: ignored columns of the reference, as read before; read again only when these do not suffice.

    Returns:
        the columns, and the ignored columns of the reference as known now.

    Raises:
        ModelNotFound, VersionNotFound, ReferenceNotFound: a resource does not exist.
        InvalidField: the data are not a table of numbers, text, booleans and times, or have no row.
    """
    from modelward.data import to_columns, unsendable

    try:
        return to_columns(table, ignore=[*ignore, *unsendable(table, known)]), known
    except InvalidField:
        request = pb.GetReferenceRequest(version=ref_to_proto(version), name=reference)
        stored = (connection._call(connection._drift.GetReference, request)).reference.ignored_columns
        if set(stored) <= {*ignore, *known}:
            raise
        return to_columns(table, ignore=[*ignore, *unsendable(table, stored)]), list(stored)
