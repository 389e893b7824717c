"""Converters shared by all services: timestamps, durations, version references, stages and files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from modelward.drift import TimeWindow
from modelward.errors import FieldViolation, InvalidField, UnexpectedError
from modelward.lifecycle import ArtifactFile, Stage, VersionRef
from modelward.v1 import common_pb2 as pb

STAGES = {
    Stage.TRAINING: pb.STAGE_TRAINING,
    Stage.STAGING: pb.STAGE_STAGING,
    Stage.PRODUCTION: pb.STAGE_PRODUCTION,
    Stage.ARCHIVED: pb.STAGE_ARCHIVED,
}

FORMATS = {"html": pb.REPORT_FORMAT_HTML, "png": pb.REPORT_FORMAT_PNG}
"""The formats in which a report can be rendered."""


def report_format_to_proto(name: str) -> pb.ReportFormat.ValueType:
    """Convert the name of a report format.

    Raises:
        InvalidField: the name is not a report format.
    """
    if name not in FORMATS:
        raise InvalidField(FieldViolation("format", f"{name!r} is not a format; use one of {', '.join(FORMATS)}"))
    return FORMATS[name]


def time_to_proto(value: datetime | None) -> Timestamp | None:
    """Convert a datetime.

    Raises:
        InvalidField: it has no time zone, which makes it ambiguous.
    """
    if value is None:
        return None
    if value.tzinfo is None:
        fix = f"{value} has no time zone; add one, for example datetime(..., tzinfo=UTC)"
        raise InvalidField(FieldViolation("time", fix))
    message = Timestamp()
    message.FromDatetime(value)
    return message


def time_from_proto(message: Timestamp) -> datetime:
    """Convert a timestamp.

    Raises:
        UnexpectedError: it is out of the range of `datetime`; the server rejects such requests before conversion.
    """
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise UnexpectedError(f"{message.seconds} s since 1970 is outside the years 1 to 9999") from None


def span_to_proto(value: timedelta | None) -> Duration | None:
    if value is None:
        return None
    message = Duration()
    message.FromTimedelta(value)
    return message


def seconds_to_proto(value: float, field: str) -> Duration:
    """Convert a number of seconds.

    Raises:
        InvalidField: it is out of the range of a duration.
    """
    try:
        message = Duration()
        message.FromTimedelta(timedelta(seconds=value))
        return message
    except (ValueError, OverflowError):
        raise InvalidField(
            FieldViolation(field, f"is {value}; give a number of seconds in the range of a duration")
        ) from None


def span_from_proto(message: Duration) -> timedelta:
    """Convert a duration.

    Raises:
        UnexpectedError: it is out of the range of `timedelta`; the server rejects such requests before conversion.
    """
    try:
        return message.ToTimedelta()
    except (ValueError, OverflowError):
        raise UnexpectedError(f"{message.seconds} s is outside the range of a timedelta") from None


def stage_to_proto(stage: Stage | None) -> pb.Stage.ValueType:
    return pb.STAGE_UNSPECIFIED if stage is None else STAGES[stage]


def stage_from_proto(value: pb.Stage.ValueType) -> Stage | None:
    """Convert a stage; return None for unspecified and for a stage that only newer servers know."""
    return next((stage for stage, known in STAGES.items() if known == value), None)


def window_to_proto(window: TimeWindow | None) -> pb.TimeWindow | None:
    return None if window is None else pb.TimeWindow(**vars(window))


def window_from_proto(message: pb.TimeWindow) -> TimeWindow | None:
    """Convert a window; None if the rows had no time."""
    if not message.time_column:
        return None
    return TimeWindow(
        time_column=message.time_column,
        group_column=message.group_column,
        first=message.first,
        last=message.last,
        times=message.times,
        groups=message.groups,
    )


def ref_to_proto(ref: VersionRef) -> pb.ModelVersionRef:
    return pb.ModelVersionRef(model=ref.model, version=ref.version)


def ref_from_proto(message: pb.ModelVersionRef) -> VersionRef:
    return VersionRef(message.model, message.version)


def file_to_proto(file: ArtifactFile) -> pb.ArtifactFile:
    return pb.ArtifactFile(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)


def file_from_proto(message: pb.ArtifactFile) -> ArtifactFile:
    return ArtifactFile(message.path, message.size_bytes, message.sha256)
