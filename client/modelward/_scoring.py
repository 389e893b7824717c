"""Requests to score, and their answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, islice, repeat, zip_longest
from typing import TYPE_CHECKING, Any

from modelward._coerce import as_stage, check_one_selector
from modelward._columns import as_column
from modelward.errors import FieldViolation, InvalidField, UnexpectedError
from modelward.lifecycle import Stage
from modelward.scoring import Scores
from modelward.shared.convert.common import ref_from_proto, stage_from_proto, stage_to_proto, time_to_proto
from modelward.shared.convert.scoring import logged_from_proto
from modelward.shared.convert.signature import label_from_proto
from modelward.shared.retry import RequestStream
from modelward.shared.row_ids import id_texts
from modelward.v1 import scoring_pb2 as pb

if TYPE_CHECKING:
    from modelward.data import Columns

MAX_IDS = 10_000
"""Maximum number of ids of one message."""
MAX_NAME = 256
"""Maximum number of characters of the name of a column of a matrix."""


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


def row_ids(ids: Iterable[object]) -> list[str]:
    """Return the ids of rows as text.

    Raises:
        InvalidField: an id is missing or invalid, or they are not one column.
    """
    return id_texts(as_column(ids, "ids"))


def select(options: pb.ScoringOptions, stage: Stage | str | None, version: int | None, alias: str | None) -> None:
    """Add the one version that is selected; none is the one in production.

    Raises:
        InvalidField: more than one is.
    """
    check_one_selector(stage, version, alias)
    if version is not None:
        options.versions.add(version=version)
    if alias is not None:
        options.versions.add(alias=alias)
    if stage is not None:
        options.versions.add(stage=stage_to_proto(as_stage(stage)))


def put_rows(request: pb.ScoreRequest, columns: Columns) -> pb.ScoreRequest:
    """Add the rows to a request, as a matrix if all are floats, and their names are such as it takes."""
    import numpy as np

    from modelward.data import to_dataset

    if all(values.dtype == np.float64 and 0 < len(name) <= MAX_NAME for name, values in columns.items()):
        values = np.column_stack(list(columns.values())).astype("<f8", copy=False)
        request.matrix.CopyFrom(pb.DoubleMatrix(names=list(columns), values=values.tobytes()))
        return request
    data = to_dataset(columns)
    if data.WhichOneof("source") == "arrow_ipc":
        request.arrow_ipc = data.arrow_ipc
    else:
        request.columns.CopyFrom(data.columns)
    return request


class ScoreRequests(RequestStream[pb.ScoreStreamRequest]):
    """The requests of a stream, of which those are kept that were sent and not answered."""

    def __init__(self, start: pb.ScoreStreamStart, parts: Iterable[pb.ScoreStreamRequest]) -> None:
        """Begin with a start, and go on with the parts of tables."""
        self._start = pb.ScoreStreamRequest(start=start)
        self._unanswered = deque[pb.ScoreStreamRequest]()
        super().__init__(chain((self._start,), map(self._kept, parts)))

    def _kept(self, part: pb.ScoreStreamRequest) -> pb.ScoreStreamRequest:
        self._unanswered.append(part)
        return part

    def answered(self) -> None:
        """Note that the first of the parts that wait for an answer has one."""
        if self._unanswered:
            self._unanswered.popleft()

    def repetitions(self) -> Iterator[list[pb.ScoreStreamRequest]]:
        """Yield shorter streams that fail as this one has, none of which sends anything while the server fails."""
        yield [self._start]
        yield [self._start, *islice(self._unanswered, 1)]


def sendable_columns(data: Any, names: Sequence[str] | None, left_out: list[FieldViolation]) -> Columns:
    """Return the columns of a table without those that cannot be sent: the model may not take them.

    Args:
        data, names: as `to_columns` takes them.
        left_out: gets why a column was left out, for the case that the model takes it.

    Raises:
        InvalidField: it is no table, or none of its columns can be sent.
    """
    from modelward.data import named_columns, to_columns, unsendable

    try:
        return to_columns(data, names)
    except InvalidField as error:
        table = named_columns(data, names)
        unsent = unsendable(table, table)
        if not unsent or len(unsent) == len(table):
            raise
        left_out += error.violations
        return to_columns(table, ignore=unsent)


def with_left_out(failure: BaseException, left_out: Sequence[FieldViolation]) -> BaseException:
    """Return an error, with why columns were left out if it is about the rows."""
    if left_out and isinstance(failure, InvalidField):
        return InvalidField(*failure.violations, *left_out)
    return failure


def table_parts(
    tables: Iterable[Any],
    names: Sequence[str] | None,
    ids: Iterable[Iterable[object]] | None,
    left_out: list[FieldViolation],
) -> Iterator[pb.ScoreStreamRequest]:
    """Yield the messages of tables, each small enough to be sent.

    Raises:
        InvalidField: there are not ids for each table, or not one for each row.
    """
    pairs: Iterator[tuple[Any, Any]] = zip(tables, repeat(())) if ids is None else zip_longest(tables, ids)
    for table, of_rows in pairs:
        if table is None or of_rows is None:
            raise InvalidField(FieldViolation("ids", "has more or fewer entries than tables; give one for each"))
        yield from _parts(sendable_columns(table, names, left_out), row_ids(of_rows))


def _parts(columns: Columns, ids: Sequence[str]) -> Iterator[pb.ScoreStreamRequest]:
    import numpy as np

    from modelward.data import INLINE_BYTES, size_of, to_arrow

    rows = len(next(iter(columns.values())))
    if len(ids) not in {0, rows}:
        raise InvalidField(FieldViolation("ids", f"has {len(ids)} for a table of {rows} rows; give one for each row"))
    size = size_of({**columns, "": np.array(ids, object)})
    step = min(max(1, rows * INLINE_BYTES // max(size, 1)), MAX_IDS if ids else rows)
    for start in range(0, rows, step):
        part = {name: values[start : start + step] for name, values in columns.items()}
        yield pb.ScoreStreamRequest(arrow_ipc=b"".join(to_arrow(part)), ids=ids[start : start + step])


def scores_of(answer: pb.ScoreResponse | pb.ScoreStreamResponse, top_k: int = 0) -> tuple[Scores, ...]:
    """Return the predictions of each version.

    Args:
        answer: the answer.
        top_k: how many rows were asked for, which are then numbered; 0 for all.

    Raises:
        UnexpectedError: the parts of an answer do not fit together.
    """
    try:
        return tuple(_scores(one, answer.sequence, answer.request_id, top_k) for one in answer.scores)
    except (ValueError, IndexError) as error:
        raise UnexpectedError(f"the server's predictions do not fit together: {error}") from error


def _scores(message: pb.VersionScores, sequence: int, request_id: str, top_k: int) -> Scores:
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
        rows=np.array(message.rows, np.int64) if top_k else None,
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
