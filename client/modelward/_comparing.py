"""Requests of comparisons: the test set as one table, and predictions made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from modelward._argument_types import as_text
from modelward._coerce import AnyVersion, as_ref
from modelward._columns import as_column
from modelward._row_keys import key_name, with_keys
from modelward.comparison import AnyMetric, CustomMetric, Metric
from modelward.errors import FieldViolation, InvalidField
from modelward.replay import Replay
from modelward.shared.convert.common import ref_from_proto, ref_to_proto
from modelward.shared.convert.comparison import any_metric_to_proto, metric_to_proto
from modelward.shared.convert.replay import replay_to_proto
from modelward.shared.row_ids import id_texts
from modelward.v1 import comparison_pb2 as pb

if TYPE_CHECKING:
    from modelward.data import Columns

_ARGUMENTS = {"label": "y", "id": "ids"}
"""The arguments of the fields of the request that have other names."""


def as_metric(metric: AnyMetric | str, field: str) -> AnyMetric:
    """Return the metric with a name; with a colon, it is one of the user's own.

    Raises:
        InvalidField: there is no such metric.
    """
    try:
        return CustomMetric(metric) if isinstance(metric, str) and ":" in metric else Metric(metric)
    except ValueError as error:
        if ":" in metric:
            raise InvalidField(FieldViolation(field, str(error))) from None
        names = ", ".join(Metric)
        raise InvalidField(FieldViolation(field, f"{metric!r} is not a metric; the metrics are {names}")) from None


def put_metrics(
    request: pb.CompareModelsRequest, metrics: Sequence[AnyMetric | str], primary: AnyMetric | str | None
) -> None:
    """Add the metrics, of which the first decides if no primary one is given.

    Raises:
        InvalidField: there is no such metric.
    """
    named = [as_metric(metric, "metrics") for metric in metrics]
    decides = None if primary is None else as_metric(primary, "primary")
    if decides is None and named and isinstance(named[0], CustomMetric):
        decides = named[0]  # The request lists the user's own metrics after the others.
    request.metrics.extend(metric_to_proto(metric) for metric in named if isinstance(metric, Metric))
    request.custom_metrics.extend(str(metric) for metric in named if isinstance(metric, CustomMetric))
    request.primary_metric, request.custom_primary_metric = any_metric_to_proto(decides)


def put_data(
    request: pb.CompareModelsRequest,
    features: Any,
    truth: Any,
    ids: Any,
    predictions: Mapping[AnyVersion, Any],
    ignore: Sequence[str] = (),
    time: Any = None,
    group: Any = None,
    by: Any = None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Combine features, labels, ids, times and groups in one table; added columns get unused names.

    Args:
        more: further columns such as the returns, by the field of the request that names them; None if absent.

    Of a file at a path only the names of its columns are put; its content is uploaded.

    Raises:
        InvalidField: a column differs from the labels in its number of rows, or a named column does not exist.
    """
    if isinstance(features, str | Path):
        why = f"X is {'a URI' if isinstance(features, str) else 'a path'}"
        _put_columns(request, {"label": truth, "id": ids, **more}, why, ignore, time, group, by)
        if isinstance(features, str):
            request.data.uri = as_text(features, "X")
        _put_predictions(request, predictions, None)
        return
    if truth is None:
        raise InvalidField(FieldViolation("y", "is missing; give the labels, or replay rows of live monitoring"))
    # Imported here, because importing numpy takes as long as the rest of the package.
    from modelward.data import to_dataset

    truth = as_column(truth, "y")
    keys = time, group, len(truth), by
    columns, request.time_column, request.group_column, request.segments.column = _keyed_columns(
        features, ignore, *keys
    )
    rows = len(next(iter(columns.values()))) if columns else len(truth)
    names = list(map(str, range(rows))) if ids is None else id_texts(as_column(ids, "ids"))
    extra = {"label": truth, **more, "id": names if predictions else None}
    for name, values in extra.items():
        if values is not None:
            free = _free_name(name, columns)
            columns[free] = _column(values, _ARGUMENTS.get(name, name), rows, features is not None)
            setattr(request, name, free)
    request.data.CopyFrom(to_dataset(columns))
    _put_predictions(request, predictions, names)


def argument_names(request: pb.CompareModelsRequest) -> dict[str, str]:
    """Return the arguments for the columns and predictions of a request, by the names that its errors have for them."""
    columns = {"y": request.label, "ids": request.id}
    columns |= {name: getattr(request, name) for name in ("returns", "portfolio_weights", "sample_weights")}
    names = {f"data[{column!r}]": argument for argument, column in columns.items() if column}
    sent = (ref_from_proto(one.version) for one in request.predictions)
    return names | {f"predictions[{number}].data": f"predictions[{version}]" for number, version in enumerate(sent)}


def put_replay(
    request: pb.CompareModelsRequest,
    replay: timedelta | Replay,
    features: Any,
    truth: Any,
    ids: Any,
    predictions: Mapping[AnyVersion, Any],
    ignore: Sequence[str] = (),
    time: Any = None,
    group: Any = None,
    by: Any = None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Add the rows that live monitoring saw, with names of their columns; the arguments are those of `put_data`.

    Raises:
        InvalidField: features, labels or ids are given too, or values instead of the name of a column.
    """
    for argument, given in {"X": features, "y": truth, "ids": ids}.items():
        if given is not None:
            raise InvalidField(
                FieldViolation(argument, "is given with replay; the server has the rows, so leave it out")
            )
    request.replay.CopyFrom(replay_to_proto(replay if isinstance(replay, Replay) else Replay(replay)))
    _put_columns(request, more, "rows are replayed", ignore, time, group, by)
    request.id = "id" if predictions else ""
    _put_predictions(request, predictions, None)


def _put_columns(
    request: pb.CompareModelsRequest,
    columns: Mapping[str, Any],
    why: str,
    ignore: Sequence[str],
    time: Any,
    group: Any,
    by: Any,
) -> None:
    """Add names of columns, of data that only the server reads."""
    _put_names(request, columns, why)
    request.ignored_columns.extend(ignore)
    request.time_column, request.group_column = key_name(time, "time"), key_name(group, "group")
    request.segments.column = key_name(by, "by")


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


def _put_names(request: pb.CompareModelsRequest, columns: Mapping[str, Any], why: str) -> None:
    for field, name in columns.items():
        argument = _ARGUMENTS.get(field, field)
        if not isinstance("" if name is None else name, str):
            raise InvalidField(FieldViolation(argument, f"must be the name of a column, because {why}"))
        setattr(request, field, as_text(name or "", argument))


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
