"""Conversion of predictions into the messages of the scoring service."""

from collections.abc import Mapping

from modelward.comparison import ModelKind
from modelward.lifecycle import ModelVersion
from modelward.shared.convert.common import ref_to_proto, stage_to_proto
from modelward.shared.convert.signature import label_to_proto
from modelward.v1 import scoring_pb2 as pb
from modelward_server.sandbox.sandbox import Run
from modelward_server.scoring.ranking import highest


def scores_to_proto(
    version: ModelVersion, run: Run, failed: Mapping[int, str], seconds: float, top_k: int
) -> pb.VersionScores:
    """Convert what a version predicts.

    Args:
        version: the version, with its stage at the requested time.
        run: the predictions.
        failed: why the version fails for which row.
        seconds: the time in which it predicted.
        top_k: only so many rows; 0: all of them.

    Raises:
        InvalidField: there is nothing to rank the rows by.
    """
    answer = pb.VersionScores(
        version=ref_to_proto(version.ref),
        digest=version.digest,
        stage=stage_to_proto(version.stage),
        classes=map(label_to_proto, run.classes),
        no_probabilities=run.no_probabilities,
        failed_rows=[pb.FailedRow(row=row, reason=reason) for row, reason in sorted(failed.items())],
        model_seconds=seconds,
    )
    if top_k:
        ranking = highest(run, top_k)
        answer.rows.extend(ranking.rows.tolist())
        answer.ties, run = ranking.ties, run.in_order(ranking.rows)
    _put_predictions(answer, run)
    return answer


def _put_predictions(answer: pb.VersionScores, run: Run) -> None:
    if run.kind is ModelKind.REGRESSION:
        answer.numbers.extend(run.predicted.tolist())
    else:
        answer.class_indices.extend(run.class_indices.tolist())
    if run.probabilities is not None:
        answer.probabilities.extend(run.probabilities.reshape(-1).tolist())
