"""Requests of comparisons on rows that live monitoring saw, instead of data that are sent."""

from collections.abc import Collection
from dataclasses import replace

from modelward.errors import FieldViolation, InvalidField, NothingToReplay
from modelward.shared.convert.replay import replay_from_proto
from modelward.v1 import comparison_pb2 as pb
from modelward_server.comparison.compare import DEFAULT_ID, DEFAULT_LABEL
from modelward_server.comparison.replay import ReplayTerms


def check_test_set(request: pb.CompareModelsRequest, *, keeps_rows: bool) -> None:
    """Refuse a request without a test set, or with two.

    Args:
        request: the request of a comparison.
        keeps_rows: whether this server keeps rows of live monitoring.

    Raises:
        InvalidField: it has both data and replay, or none of them.
        NothingToReplay: it has replay, and the server keeps no rows.
    """
    if request.HasField("replay") and request.HasField("data"):
        raise InvalidField(FieldViolation("replay", "is given with data; send one of them"))
    if not request.HasField("replay") and not request.HasField("data"):
        raise InvalidField(FieldViolation("data", "is missing; send the test set, or replay rows of live monitoring"))
    if request.HasField("replay") and not keeps_rows:
        fix = "start it with --keep-rows-days, such as 90 (MODELWARD_KEEP_ROWS_DAYS)"
        raise NothingToReplay(f"this server keeps no rows of live monitoring; {fix}")


def replay_terms(request: pb.CompareModelsRequest, ignored: Collection[str]) -> ReplayTerms:
    """Return which rows a request replays.

    Args:
        request: the request of a comparison with `replay`.
        ignored: columns that are left out.

    Raises:
        InvalidField: no compared version is of the named model, or no model is named and there are several.
    """
    asked = replay_from_proto(request.replay)
    id_column = request.id or (DEFAULT_ID if request.predictions else "")
    return ReplayTerms(replace(asked, model=_model(request)), request.label or DEFAULT_LABEL, id_column, ignored)


def _model(request: pb.CompareModelsRequest) -> str:
    compared = sorted({version.model for version in request.versions})
    named = request.replay.model or request.baseline.model
    if named in compared:
        return named
    if named:
        fix = f"is {named}, but no compared version is of it; name one of {', '.join(compared)}"
        raise InvalidField(FieldViolation("replay.model" if request.replay.model else "baseline", fix))
    if len(compared) > 1:
        fix = f"is missing, but versions are of {', '.join(compared)}; name the one whose rows are replayed"
        raise InvalidField(FieldViolation("replay.model", fix))
    return compared[0]
