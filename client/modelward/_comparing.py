"""Requests of comparisons: the test set as one table, and predictions made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelward._coerce import AnyVersion, as_ref
from modelward._columns import as_column
from modelward._row_keys import key_name, with_keys
from modelward.comparison import Metric
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.convert.common import ref_to_proto
from modelward.shared.row_ids import id_texts
from modelward.v1 import comparison_pb2 as pb

if TYPE_CHECKING:
    from modelward.data import Columns


def as_metric(metric: Metric | str, field: str) -> Metric:
    """Return the metric with a name.

    Raises:
        InvalidField: there is no such metric.
    """
    try:
        return Metric(metric)
    except ValueError:
        names = ", ".join(Metric)
        raise InvalidField(FieldViolation(field, f"{metric!r} is not a metric; the metrics are {names}")) from None


def put_data(
    request: pb.CompareModelsRequest,
    features: Any,
    truth: Any,
    returns: Any,
    ids: Any,
    predictions: Mapping[AnyVersion, Any],
    ignore: Sequence[str] = (),
    time: Any = None,
    group: Any = None,
    by: Any = None,
) -> None:
    """Combine features, labels, returns, ids, times and groups in one table; added columns get unused names.

    Of a file at a path only the names of its columns are put; its content is uploaded.

    Raises:
        InvalidField: a column differs from the labels in its number of rows, or a named column does not exist.
    """
    if isinstance(features, str | Path):
        _put_names(request, truth, returns, ids, "a URI" if isinstance(features, str) else "a path")
        if isinstance(features, str):
            request.data.uri = features
        request.ignored_columns.extend(ignore)
        request.time_column, request.group_column = key_name(time, "time"), key_name(group, "group")
        request.segments.column = key_name(by, "by")
        _put_predictions(request, predictions, None)
        return
    # Imported here, because importing numpy takes as long as the rest of the package.
    from modelward.data import to_dataset

    truth = as_column(truth, "y")
    keys = time, group, len(truth), by
    columns, request.time_column, request.group_column, request.segments.column = _keyed_columns(
        features, ignore, *keys
    )
    rows = len(next(iter(columns.values()))) if columns else len(truth)
    names = list(map(str, range(rows))) if ids is None else id_texts(as_column(ids, "ids"))
    extra = {"label": ("y", truth)} | ({} if returns is None else {"returns": ("returns", returns)})
    if predictions:
        extra["id"] = ("ids", names)
    for name, (field, values) in extra.items():
        free = _free_name(name, columns)
        columns[free] = _column(values, field, rows, features is not None)
        setattr(request, name, free)
    request.data.CopyFrom(to_dataset(columns))
    _put_predictions(request, predictions, names)


def _keyed_columns(
    features: Any, ignore: Sequence[str], time: Any, group: Any, rows: int, by: Any
) -> tuple[Columns, str, str, str]:
    """Return the features with times, groups and segments, and the names of the columns with these."""
    from modelward.data import checked_ignore, named_columns, to_columns

    given = {} if features is None else named_columns(features, field="X")
    table = with_keys(given, time, group, rows, by)
    ignored = [] if features is None else table.not_ignored(checked_ignore(ignore, given))
    columns = to_columns(table.columns, field="X", ignore=ignored) if table.columns else {}
    return columns, table.time, table.group, table.by


def feature_columns(features: Any, ignore: Sequence[str]) -> Columns:
    """Return the feature columns of a test set.

    Raises:
        InvalidField: they are not a table, or an ignored column does not exist.
    """
    from modelward.data import checked_ignore, named_columns, to_columns

    table = named_columns(features, field="X")
    return to_columns(table, field="X", ignore=checked_ignore(ignore, table))


def _put_names(request: pb.CompareModelsRequest, label: Any, returns: Any, ids: Any, data: str) -> None:
    for field, name in (("y", label), ("returns", returns or ""), ("ids", ids or "")):
        if not isinstance(name, str):
            raise InvalidField(FieldViolation(field, f"must be the name of a column, because X is {data}"))
    request.label, request.returns, request.id = label, returns or "", ids or ""


def _free_name(name: str, columns: Columns) -> str:
    while name in columns:
        name = f"_{name}"
    return name


def _column(values: Any, field: str, rows: int, has_features: bool) -> Any:
    from modelward.data import to_columns

    [named] = to_columns({field: as_column(values, field)}, field=field).values()
    if len(named) != rows:
        expected = f"X has {rows:,} rows" if has_features else f"y has {rows:,} values"
        raise InvalidField(FieldViolation(field, f"has {len(named):,} values, but {expected}"))
    return named


def _put_predictions(
    request: pb.CompareModelsRequest, predictions: Mapping[AnyVersion, Any], ids: list[str] | None
) -> None:
    """Add predictions with the ids of their rows.

    Args:
        ids: of the rows of the test set; None when only the server reads the test set.
    """
    from modelward.data import to_dataset

    if predictions and not request.id:
        raise InvalidField(FieldViolation("ids", "is missing; name the column of ids, by which predictions are joined"))
    for version, sent in predictions.items():
        table = _prediction_table(sent, request.id, ids, f"predictions[{as_ref(version)}]")
        request.predictions.add(version=ref_to_proto(as_ref(version)), data=to_dataset(table))


def _prediction_table(sent: Any, id_name: str, ids: list[str] | None, field: str) -> Columns:
    """Return predictions as a table with ids; a sequence has one for each row of the test set, in its order."""
    from modelward.data import named_columns, to_columns

    if isinstance(sent, Mapping) or hasattr(sent, "columns") or hasattr(sent, "column_names"):
        table = named_columns(sent, field=field)
        name = id_name if id_name in table else "id"
        if name in table:
            table[id_name] = id_texts(as_column(table.pop(name), f"{field}[{name!r}]"), f"{field}[{name!r}]")
        return to_columns(table, field=field)
    if ids is None:
        fix = "is not a table; give one with a column 'id', because the test set is read by the server"
        raise InvalidField(FieldViolation(field, fix))
    values = _column(sent, field, len(ids), has_features=False)
    return to_columns({"prediction": values, id_name: ids}, field=field)
