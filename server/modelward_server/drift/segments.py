"""Drift of segments: each is compared with the reference, with the false discovery rate controlled over them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from modelward.data import Columns
from modelward.drift import DriftThresholds, SegmentDrift
from modelward.errors import FieldViolation, InvalidField
from modelward.segments import SegmentAdjustment, Segments
from modelward_server.drift.compare import compare
from modelward_server.drift.decision import decide, with_defaults
from modelward_server.drift.profile import Profile
from modelward_server.drift.row_order import MAX_SORTED_BYTES, RowKeys, panel_of
from modelward_server.drift.row_segments import RowSegment, RowSegments, column_names, divide
from modelward_server.drift.sample import LiveSample
from modelward_server.statistics.false_discovery import false_discovery_adjusted
from modelward_server.statistics.panel import Panel
from modelward_server.storage.columns import joined, select_rows, without
from modelward_server.storage.table_memory import MIB, bytes_of

ProfileOf = Callable[[RowSegment], Profile | None]
"""Returns the profile of the reference's rows of a segment; None if the reference is not divided by it."""


@dataclass(frozen=True)
class DividedRows:
    """Live rows and their segments.

    Attributes:
        columns: the columns that may be features, sorted.
        segments: the segments of the rows.
        field: the name of the data in errors.
        panel: the times of the rows; None without a time.
    """

    columns: Columns
    segments: RowSegments
    field: str
    panel: Panel | None

    def sample(self, segment: RowSegment, profile: Profile) -> LiveSample:
        """Return the rows of a segment as a sample relative to a profile."""
        live = LiveSample({segment.name: profile}, self.field)
        times = None if self.panel is None else self.panel.part(segment.rows).times
        live.add(select_rows(self.columns, segment.rows), times)
        live.window = segment.window
        return live


def divide_rows(columns: Columns, keys: RowKeys, segments: Segments, field: str) -> DividedRows:
    """Divide sorted rows into segments.

    Raises:
        InvalidField: as `divide`.
    """
    names = column_names(columns, keys.within(columns), segments)
    return DividedRows(without(columns, names), divide(columns, keys, segments), field, panel_of(columns, keys))


def joined_rows(batches: Iterable[Columns], field: str) -> Columns:
    """Return all rows as one table.

    Raises:
        InvalidField: there are none, or they are larger than what is divided at once.
    """
    held, size = [], 0
    for batch in batches:
        held.append(batch)
        size += bytes_of(batch)
        if size > MAX_SORTED_BYTES:
            fix = f"is larger than {MAX_SORTED_BYTES // MIB} MiB, the most with segments; send a call for each segment"
            raise InvalidField(FieldViolation(field, fix))
    if not held:
        raise InvalidField(FieldViolation(field, "has no rows; send at least one"))
    return joined(held)


def compare_segments(
    rows: DividedRows, whole: Profile, profile_of: ProfileOf, thresholds: DriftThresholds
) -> tuple[tuple[SegmentDrift, ...], SegmentAdjustment | None]:
    """Compare each segment with the reference.

    Args:
        rows: the live rows and their segments.
        whole: the profile of all rows of the reference.
        profile_of: the profile of a segment's own rows of the reference.
        thresholds: the thresholds of the model.

    Returns:
        The segments, those that drifted first, and how their p-values were adjusted; None if none was tested.
    """
    found = [_compared(rows, segment, whole, profile_of(segment), thresholds) for segment in rows.segments.found]
    tested = [one for one in found if one.p_value is not None]
    if not tested:
        return tuple(found), None
    dependent = rows.segments.dependent
    adjusted = false_discovery_adjusted([one.p_value for one in tested if one.p_value is not None], dependent)
    level = with_defaults(thresholds).significance or 0.0
    decided = [
        replace(one, adjusted_p_value=p_value, drift_detected=one.drift_detected and p_value <= level)
        for one, p_value in zip(tested, adjusted, strict=True)
    ]
    decided.sort(key=lambda one: (not one.drift_detected, -one.score))
    method = SegmentAdjustment.BENJAMINI_YEKUTIELI if dependent else SegmentAdjustment.BENJAMINI_HOCHBERG
    return (*decided, *(one for one in found if one.p_value is None)), method


def _compared(
    rows: DividedRows, segment: RowSegment, whole: Profile, own: Profile | None, thresholds: DriftThresholds
) -> SegmentDrift:
    profile = own or whole
    empty = SegmentDrift(segment.column, segment.name, len(segment.rows), segment.window, segment.note)
    if segment.note:
        return empty
    live = rows.sample(segment, profile)
    live.of_segment = own is None
    ignored = [name for name, one in thresholds.features.items() if one.ignored]
    decision = decide(compare(profile, live, segment.name, ignored), thresholds)
    return replace(
        empty,
        drift_detected=decision.drift_detected,
        score=decision.score,
        p_value=1.0 - decision.confidence,
        drivers=decision.drivers,
        summary=decision.summary,
        reference_rows=profile.rows,
        own_reference=own is not None,
    )


def caveats(rows: DividedRows, segments: Iterable[SegmentDrift]) -> Iterator[str]:
    """Yield what limits the results of segments."""
    left_out, column = rows.segments.left_out, next((one.column for one in segments if one.column), "")
    if left_out:
        yield f"{left_out:,} rows have no {column!r} and are in no segment of it"
    if any(one.column and one.p_value is not None and not one.own_reference for one in segments):
        differ = "were compared with all rows of the reference, from which they may always differ"
        yield f"segments of {column!r} {differ}; set the reference by {column!r} to compare each with its own rows"
