"""Requests to score, and their answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from modelward._coerce import as_stage
from modelward.errors import FieldViolation, InvalidField, UnexpectedError
from modelward.lifecycle import Stage
from modelward.scoring import Scores
from modelward.shared.convert.common import ref_from_proto, stage_from_proto, stage_to_proto, time_to_proto
from modelward.shared.convert.scoring import logged_from_proto
from modelward.shared.convert.signature import label_from_proto
from modelward.v1 import scoring_pb2 as pb

if TYPE_CHECKING:
    from modelward.data import Columns


def options_of(
    versions: Sequence[int | str],
    as_of: datetime | None,
    top_k: int,
    row_errors: bool,
    ab_test: str = "",
    unit: str = "",
    observe: bool = False,
) -> pb.ScoringOptions:
    """Return the options of a request.

    Args:
        versions: numbers, or aliases.
        as_of, top_k, row_errors, ab_test, unit, observe: as `score` takes them.
    """
    selectors = [
        pb.VersionSelector(version=one) if isinstance(one, int) else pb.VersionSelector(alias=one) for one in versions
    ]
    options = pb.ScoringOptions(versions=selectors, as_of=time_to_proto(as_of), top_k=top_k, row_errors=row_errors)
    options.MergeFrom(pb.ScoringOptions(ab_test=ab_test, unit=unit, observe=observe))
    return options


def as_iterable(tables: object, field: str) -> Iterable[object]:
    """Return tables that can be iterated over.

    Raises:
        InvalidField: they cannot.
    """
    if not isinstance(tables, Iterable):
        raise InvalidField(FieldViolation(field, f"is a {type(tables).__name__}; give a sequence of tables"))
    return tables


def select(options: pb.ScoringOptions, stage: Stage | str | None, version: int | None, alias: str | None) -> None:
    """Add the one version that is selected; none is the one in production."""
    if version is not None:
        options.versions.add(version=version)
    if alias is not None:
        options.versions.add(alias=alias)
    if stage is not None:
        options.versions.add(stage=stage_to_proto(as_stage(stage)))


def put_rows(request: pb.ScoreRequest, columns: Columns) -> pb.ScoreRequest:
    """Add the rows to a request, as a matrix if all are floats."""
    import numpy as np

    from modelward.data import to_dataset

    if all(values.dtype == np.float64 for values in columns.values()):
        values = np.column_stack(list(columns.values())).astype("<f8", copy=False)
        request.matrix.CopyFrom(pb.DoubleMatrix(names=list(columns), values=values.tobytes()))
        return request
    data = to_dataset(columns)
    if data.WhichOneof("source") == "arrow_ipc":
        request.arrow_ipc = data.arrow_ipc
    else:
        request.columns.CopyFrom(data.columns)
    return request


def stream_parts(columns: Columns) -> Iterator[pb.ScoreStreamRequest]:
    """Yield the messages of one table of a stream, each small enough to be sent."""
    from modelward.data import INLINE_BYTES, size_of, to_arrow

    rows = len(next(iter(columns.values())))
    step = max(1, rows * INLINE_BYTES // max(size_of(columns), 1))
    for start in range(0, rows, step):
        part = {name: values[start : start + step] for name, values in columns.items()}
        yield pb.ScoreStreamRequest(arrow_ipc=b"".join(to_arrow(part)))


def scores_of(answer: pb.ScoreResponse | pb.ScoreStreamResponse) -> tuple[Scores, ...]:
    """Return the predictions of each version.

    Raises:
        UnexpectedError: the parts of an answer do not fit together.
    """
    try:
        return tuple(_scores(one, answer.sequence, answer.request_id) for one in answer.scores)
    except (ValueError, IndexError) as error:
        raise UnexpectedError(f"the server's predictions do not fit together: {error}") from error


def _scores(message: pb.VersionScores, sequence: int, request_id: str) -> Scores:
    import numpy as np

    classes = tuple(map(label_from_proto, message.classes))
    probabilities = np.array(message.probabilities, np.float64).reshape(-1, len(classes)) if classes else None
    return Scores(
        version=ref_from_proto(message.version),
        digest=message.digest,
        stage=stage_from_proto(message.stage) or Stage.TRAINING,
        predictions=_predictions(message, classes),
        probabilities=probabilities if probabilities is not None and len(probabilities) else None,
        classes=classes,
        rows=np.array(message.rows, np.int64) if len(message.rows) else None,
        ties=message.ties,
        failed={one.row: one.reason for one in message.failed_rows},
        no_probabilities=message.no_probabilities,
        model_seconds=message.model_seconds,
        variant=message.variant,
        in_test=message.in_test,
        sequence=sequence,
        request_id=request_id,
        logged=logged_from_proto(message.logged) if message.HasField("logged") else None,
    )


def _predictions(message: pb.VersionScores, classes: Sequence[Any]) -> Any:
    """Return the numbers, or the classes themselves with None for rows without an answer."""
    import numpy as np

    from modelward.formats.outputs import label_array

    if not classes:
        return np.array(message.numbers, np.float64)
    indices = np.array(message.class_indices, np.int64)
    if (indices >= 0).all():
        return label_array(classes)[indices]
    return np.array([*classes, None], object)[indices]
