"""What a run in MLflow shows: the values of metrics, the data sets of references, and the newest verdicts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from modelward.drift import FeatureKind, Reference
from modelward.lifecycle import ModelVersion
from modelward.shared.figures import score
from modelward_server.mlflow.details import Details, MetricPoint

METRICS_TAG = "mlflow.modelward.metrics"
"""Key of the tag with the id of the last value that is shown; MLflow's pages hide it."""
DRIFT, COMPARISON = "modelward.drift", "modelward.comparison"
"""Keys of tags."""
DRIFT_SCORE = "modelward.drift_score"
"""Key of a metric."""
TYPES = {FeatureKind.NUMBER: "double", FeatureKind.CATEGORY: "string"}
DIGEST_CHARACTERS = 36
"""Maximum length of a data set's digest in MLflow's database."""
MAX_BATCH = 1000
"""Maximum number of entries that MLflow takes in one call."""
MAX_SCHEMA, MAX_TAG = 65_535, 5000
"""Maximum length of a data set's schema, and of a tag."""


def verdict_tags(details: Details) -> dict[str, str]:
    """Return tags with the newest drift report and the newest comparison of a version, as far as there are any."""
    return dict(_verdict_tags(details))


def _verdict_tags(details: Details) -> Iterator[tuple[str, str]]:
    if drift := details.drift:
        verdict = "drift detected" if drift.drift_detected else "no drift detected"
        yield DRIFT, f"{verdict}, score {score(drift.score)} (report {drift.report_id}, {_minute(drift.created_at)})"
    if found := details.comparison:
        origin = f" ({found.comparison_id}, {_minute(found.created_at)})"
        yield COMPARISON, found.conclusion.summary[: MAX_TAG - len(origin)] + origin


def _minute(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class Facts(NamedTuple):
    """What a run lacks beside values of metrics, as keys and values."""

    params: list[tuple[str, str]]
    tags: list[tuple[str, str]]


def show_facts(
    client: Any, run: Any, version: ModelVersion, details: Details, model_id: str | None, facts: Facts
) -> None:
    """Log the params, tags and values of metrics that a run lacks, and make the version's metrics the latest ones.

    Args:
        client: of MLflow.
        run: as it was before this.
        version: the version.
        details: of the version.
        model_id: of its logged model; None if it has none of ours.
        facts: the params and tags that the run lacks.
    """
    run_id = run.info.run_id
    points = _lacking(run.data, version.metrics, details)
    _log(client, run_id, points, facts, model_id)
    shown = _latest(client, run, points)
    for key, value in version.metrics.items():
        if shown.get(key) != value:
            _make_latest(client, run_id, key, value, model_id)
    if details.drift and shown.get(DRIFT_SCORE) != details.drift.score:
        client.log_batch(run_id, [_metric(DRIFT_SCORE, details.drift.score, details.drift.created_at, 0, model_id)])


def _log(client: Any, run_id: str, points: Sequence[MetricPoint], facts: Facts, model_id: str | None) -> None:
    """Log all in one batch, of which MLflow stores the tags last: with that of the metrics, these are complete."""
    from mlflow.entities import Param, RunTag

    metrics = [_metric(point.key, point.value, point.measured_at, point.step, model_id) for point in points]
    params = [Param(*param) for param in facts.params]
    tags = [RunTag(*tag) for tag in facts.tags]
    if points:
        tags.append(RunTag(METRICS_TAG, str(points[-1].id)))
    if len(metrics) + len(params) + len(tags) > MAX_BATCH:  # The client would split it, and not leave tags for last.
        client.log_batch(run_id, metrics)
        metrics = []
    client.log_batch(run_id, metrics, params, tags)


def _latest(client: Any, run: Any, points: Sequence[MetricPoint]) -> Mapping[str, float]:
    """Return the values that MLflow takes for the latest ones, now that points were logged.

    Of a metric that had values before, only MLflow knows all; of another, it is that of the highest step and time.
    """
    before: Mapping[str, float] = run.data.metrics
    if any(point.key in before for point in points):
        return dict(client.get_run(run.info.run_id).data.metrics)
    ordered = sorted(points, key=lambda point: (point.step, point.measured_at, point.value))
    return {**before, **{point.key: point.value for point in ordered}}


def _lacking(shown: Any, latest: Mapping[str, float], details: Details) -> list[MetricPoint]:
    """Return the values that were recorded since the last sync.

    Before the first one, metrics whose latest value is there already are complete: those of an imported run are.
    """
    if METRICS_TAG in shown.tags:
        return list(details.points_after(_number(shown.tags[METRICS_TAG])))
    points = details.points_after(0)
    return [point for point in points if shown.metrics.get(point.key) != latest.get(point.key)]


def _number(tag: str) -> int:
    return int(tag) if tag.isdecimal() else 0  # Somebody may have changed it in MLflow.


def _make_latest(client: Any, run_id: str, key: str, value: float, model_id: str | None) -> None:
    """Log a value so that MLflow takes it for the latest one: it has the highest step, and the latest time of it."""
    step = max((metric.step for metric in client.get_metric_history(run_id, key)), default=0)
    client.log_batch(run_id, [_metric(key, value, datetime.now(UTC), step, model_id)])


def _metric(key: str, value: float, at: datetime, step: int, model_id: str | None) -> Any:
    from mlflow.entities import Metric

    return Metric(key, value, int(at.timestamp() * 1000), step, model_id=model_id)


def show_data_sets(client: Any, run: Any, references: Sequence[Reference]) -> None:
    """Add references to a run's data sets; those that they replace stay, since MLflow cannot remove any."""
    from mlflow.entities import DatasetInput, InputTag

    shown = {(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs} if run.inputs else set()
    data_sets = {(one.name, one.digest): one for one in map(_data_set, references)}
    context = [InputTag("mlflow.data.context", "reference")]
    missing = [DatasetInput(one, context) for key, one in data_sets.items() if key not in shown]
    if missing:
        client.log_inputs(run.info.run_id, missing)


def _data_set(reference: Reference) -> Any:
    """Return MLflow's description of a reference: its columns, and how many rows it has."""
    from mlflow.entities import Dataset

    columns = [{"name": feature.name, "type": TYPES[feature.kind], "required": True} for feature in reference.features]
    schema = json.dumps({"mlflow_colspec": columns})
    return Dataset(
        name=f"{reference.version.model}-v{reference.version.version}-{reference.name}",
        digest=reference.digest[:DIGEST_CHARACTERS],
        source_type="code",
        source=json.dumps({"tags": {"mlflow.user": reference.created_by, "mlflow.source.name": "modelward"}}),
        schema=schema if len(schema) <= MAX_SCHEMA else None,
        profile=json.dumps({"num_rows": reference.rows, "num_elements": reference.rows * len(columns)}),
    )
