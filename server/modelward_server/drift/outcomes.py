"""Outcomes: predictions and their later labels, joined by prediction id in any order of arrival."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from modelward.drift import Outcome, RecordedOutcomes
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import check_version
from modelward_server.storage.outcome_tables import OutcomeRow

OUTCOME_FIELDS = tuple(field.name for field in fields(Outcome) if field.name != "prediction_id")
KNOWN = select(*(getattr(OutcomeRow, field).label(field) for field in ("prediction_id", *OUTCOME_FIELDS))).where(
    OutcomeRow.model == bindparam("of"),
    OutcomeRow.version == bindparam("number"),
    OutcomeRow.prediction_id.in_(bindparam("ids", expanding=True)),
)
INSERT = insert(OutcomeRow)
REQUIRED_FIELDS = {"probability": "prediction", "predicted_at": "prediction", "group": "prediction"} | {
    "labelled_at": "label"
}
"""Fields that require another field."""
MAX_VALUE = 1e60
"""Largest size of a prediction or label: its fourth power is finite."""
VALUES = {"prediction": (-MAX_VALUE, MAX_VALUE), "probability": (0.0, 1.0), "label": (-MAX_VALUE, MAX_VALUE)}
"""The least and the largest of each value."""
EMPTY = "has neither prediction nor label; send one or both"
MAX_VIOLATIONS = 20
"""Maximum number of violations reported for one call: the trailers have room for a few thousand bytes."""


def record_outcomes(
    session: Session, ref: VersionRef, outcomes: Sequence[Outcome], actor: ActorContext
) -> RecordedOutcomes:
    """Store validated predictions and labels, all of them or none.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
        InvalidField: an outcome contradicts an earlier one of the same id, or has the time and group of another one.
    """
    outcomes = [_without_nan(outcome) for outcome in outcomes]
    check_version(session, ref, lock=any(outcome.group for outcome in outcomes))
    before = known_outcomes(session, ref, {outcome.prediction_id for outcome in outcomes})
    after = _joined(before, outcomes, actor)
    _check_unique(session, ref, outcomes, after)
    _store(session, ref, before, after)
    labelled = {outcome.prediction_id for outcome in outcomes if outcome.label is not None}
    return replace(_counted(before, after, labelled), left_out=sum(map(_is_empty, outcomes)))


def check(outcomes: Iterable[Outcome]) -> None:
    """Validate that outcomes have all required fields and values within their limits, and that not all are empty.

    Raises:
        InvalidField: names at most `MAX_VIOLATIONS` invalid ones.
    """
    outcomes = list(outcomes)
    violations = [violation for i, outcome in enumerate(outcomes) for violation in _defects(i, outcome)]
    if not violations and all(_is_empty(_without_nan(outcome)) for outcome in outcomes):
        field = "label" if outcomes[0].prediction is None else "prediction"
        violations = [FieldViolation(f"outcomes[0].{field}", "is NaN, and there is no other value; send a number")]
    if violations:
        raise InvalidField(*violations[:MAX_VIOLATIONS])


def _without_nan(outcome: Outcome) -> Outcome:
    """Return an outcome with NaN as a value that is missing, with all that needs it."""
    nan = [field for field in VALUES if (value := getattr(outcome, field)) is not None and math.isnan(value)]
    if not nan:
        return outcome
    gone = {*nan, *(field for field, needed in REQUIRED_FIELDS.items() if needed in nan)}
    values: dict[str, Any] = {field: "" if field == "group" else None for field in gone}
    return replace(outcome, **values)


def _is_empty(outcome: Outcome) -> bool:
    return outcome.prediction is None and outcome.label is None


def _defects(i: int, outcome: Outcome) -> Iterator[FieldViolation]:
    if _is_empty(outcome):
        yield FieldViolation(f"outcomes[{i}]", EMPTY)
    for field, (least, most) in VALUES.items():
        value = getattr(outcome, field)
        if value is not None and not math.isnan(value) and not least <= value <= most:
            yield FieldViolation(f"outcomes[{i}].{field}", f"is {value:g}; give a number from {least:g} to {most:g}")
    for field, needed in REQUIRED_FIELDS.items():
        if getattr(outcome, field) not in {None, ""} and getattr(outcome, needed) is None:
            yield FieldViolation(f"outcomes[{i}].{field}", f"requires {needed}; send both")


def _check_unique(session: Session, ref: VersionRef, outcomes: Sequence[Outcome], after: dict[str, Outcome]) -> None:
    """Refuse a pair of time and group that another prediction has.

    Raises:
        InvalidField: names at most `MAX_VIOLATIONS` of them.
    """
    grouped = {outcome.prediction_id: outcome for outcome in after.values() if outcome.group}
    owners = _owners(session, ref, {outcome.predicted_at for outcome in grouped.values()})
    violations: list[FieldViolation] = []
    for i, name in enumerate(outcome.prediction_id for outcome in outcomes if outcome.prediction_id in grouped):
        pair = grouped[name].predicted_at, grouped[name].group
        owner = owners.setdefault(pair, name)
        if owner != name:
            fix = (
                f"{name!r} has the time {pair[0]} and group {pair[1]!r} of {owner!r}; each pair may have one prediction"
            )
            violations.append(FieldViolation(f"outcomes[{i}].group", fix))
    if violations:
        raise InvalidField(*violations[:MAX_VIOLATIONS])


def _owners(session: Session, ref: VersionRef, times: set[datetime | None]) -> dict[tuple[datetime | None, str], str]:
    """Return the prediction of each pair of a time, among the given ones, and a group."""
    if not times:
        return {}
    rows = select(OutcomeRow.predicted_at, OutcomeRow.group, OutcomeRow.prediction_id).where(
        OutcomeRow.model == ref.model,
        OutcomeRow.version == ref.version,
        OutcomeRow.predicted_at.in_(times),
        OutcomeRow.group != "",
    )
    return {(row[0], row[1]): row[2] for row in session.execute(rows)}


def known_outcomes(session: Session, ref: VersionRef, ids: set[str]) -> dict[str, Outcome]:
    """Return what is recorded of predictions, by their ids; those of which nothing is are left out."""
    stored = session.connection().execute(KNOWN, {"of": ref.model, "number": ref.version, "ids": list(ids)})
    return {row.prediction_id: Outcome(**row._mapping) for row in stored}


def _joined(before: dict[str, Outcome], outcomes: Iterable[Outcome], actor: ActorContext) -> dict[str, Outcome]:
    """Return the outcome of each id after the new ones are merged into it.

    Raises:
        InvalidField: names at most `MAX_VIOLATIONS` outcomes that contradict earlier ones.
    """
    after: dict[str, Outcome] = {}
    violations: list[FieldViolation] = []
    for i, outcome in enumerate(outcomes):
        if _is_empty(outcome):
            continue
        known = after.get(outcome.prediction_id) or before.get(outcome.prediction_id) or Outcome(outcome.prediction_id)
        violations += _contradictions(i, known, outcome)
        after[outcome.prediction_id] = _merged(known, outcome, actor)
    if violations:
        raise InvalidField(*violations[:MAX_VIOLATIONS])
    return after


def _contradictions(i: int, known: Outcome, outcome: Outcome) -> Iterator[FieldViolation]:
    """Yield why an outcome contradicts the known one; an omitted time or group contradicts nothing."""
    sides = ((("prediction", "probability"), ("predicted_at", "group")), (("label",), ("labelled_at",)))
    for part, optional in sides:
        if getattr(known, part[0]) is None or getattr(outcome, part[0]) is None:
            continue
        compared_fields = [*part, *(field for field in optional if getattr(outcome, field))]
        other = [field for field in compared_fields if getattr(known, field) != getattr(outcome, field)]
        if other:
            differences = ", ".join(
                f"{field} {_as_text(known, field)}, now {_as_text(outcome, field)}" for field in other
            )
            yield FieldViolation(
                f"outcomes[{i}].prediction_id",
                f"{outcome.prediction_id!r} was recorded with {differences}; use a unique id for each prediction",
            )


def _as_text(outcome: Outcome, field: str) -> str:
    value = getattr(outcome, field)
    return "none" if value is None else f"{value}"


def _merged(known: Outcome, outcome: Outcome, actor: ActorContext) -> Outcome:
    predictions = known if outcome.prediction is None or known.prediction is not None else outcome
    labels = known if outcome.label is None or known.label is not None else outcome
    return Outcome(
        prediction_id=known.prediction_id,
        prediction=predictions.prediction,
        probability=predictions.probability,
        predicted_at=None if predictions.prediction is None else predictions.predicted_at or actor.at,
        label=labels.label,
        labelled_at=None if labels.label is None else labels.labelled_at or actor.at,
        group=predictions.group,
    )


def _store(session: Session, ref: VersionRef, before: dict[str, Outcome], after: dict[str, Outcome]) -> None:
    key = {"model": ref.model, "version": ref.version}
    changed = [outcome for outcome in after.values() if outcome != before.get(outcome.prediction_id)]
    new = [key | vars(outcome) for outcome in changed if outcome.prediction_id not in before]
    joined = [key | vars(outcome) for outcome in changed if outcome.prediction_id in before]
    if new:
        # Without the ORM, which takes most of the time of a small change; so the rows have the names of the columns.
        session.connection().execute(INSERT, [{**row, "group_name": row["group"]} for row in new])
    if joined:
        session.execute(update(OutcomeRow), joined)


def _counted(before: dict[str, Outcome], after: dict[str, Outcome], labelled: set[str]) -> RecordedOutcomes:
    pairs = [(before.get(outcome.prediction_id), outcome) for outcome in after.values()]
    return RecordedOutcomes(
        predictions=sum(_has(new, "prediction") and not _has(old, "prediction") for old, new in pairs),
        labels=sum(_complete(new) and not _complete(old) for old, new in pairs),
        waiting=sum(after[name].prediction is None for name in labelled),
    )


def _complete(outcome: Outcome | None) -> bool:
    return _has(outcome, "prediction") and _has(outcome, "label")


def _has(outcome: Outcome | None, field: str) -> bool:
    return outcome is not None and getattr(outcome, field) is not None
