"""Import of versions from another registry: registered here with the stage that they had there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress, islice
from math import isfinite
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.lifecycle import AdoptedVersion, ArtifactFile, Stage, VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.approvals import required_functions
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.promotion import in_production, move
from modelward_server.lifecycle.repository import version_row
from modelward_server.lifecycle.versions import NewVersion, register
from modelward_server.mlflow.registry import SAME_MEANING, ForeignVersion
from modelward_server.storage.tables import ModelRow, VersionRow

Value = TypeVar("Value")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/ -]{0,127}")
MAX_TAGS, MAX_VALUES, MAX_TEXT, MAX_DESCRIPTION = 100, 1000, 5000, 10_000
"""The contract's limits for a version that is registered by a call."""
MAX_NAMED = 10
"""Maximum number of omitted items that are named."""


def is_known(session: Session, foreign: ForeignVersion) -> bool:
    """Return whether a version of MLflow's registry is registered here already."""
    known = select(VersionRow.version).where(
        VersionRow.model == foreign.model, VersionRow.mlflow_version == foreign.mlflow_version
    )
    return session.scalar(known) is not None


def problem_of(foreign: ForeignVersion) -> str:
    """Return why a version cannot be imported; empty when it can."""
    if foreign.problem or NAME.fullmatch(foreign.model):
        return foreign.problem
    return "its model's name has characters that are not allowed here; rename it in MLflow"


def fitting(foreign: ForeignVersion) -> tuple[ForeignVersion, tuple[str, ...]]:
    """Return a version reduced to what the contract allows, and name what was left out."""
    metrics = {key: value for key, value in foreign.metrics.items() if KEY.fullmatch(key) and isfinite(value)}
    kept = replace(
        foreign,
        description=foreign.description.replace("\0", "")[:MAX_DESCRIPTION],
        tags=_first(_texts(foreign.tags), MAX_TAGS),
        params=_first(_texts(foreign.params), MAX_VALUES),
        metrics=_first(metrics, MAX_VALUES),
    )
    lost = [*_lost("metric", foreign.metrics, kept.metrics), *_lost("param", foreign.params, kept.params)]
    lost += _lost("tag", foreign.tags, kept.tags)
    lost += [
        f"alias {name}, which {SAME_MEANING[name]} replaces" for name in sorted(foreign.aliases & set(SAME_MEANING))
    ]
    lost += ["a part of the description"] if foreign.description != kept.description else []
    more = [f"{len(lost) - MAX_NAMED} more"] if len(lost) > MAX_NAMED else []
    return kept, (*lost[:MAX_NAMED], *more)


def _texts(given: Mapping[str, str]) -> dict[str, str]:
    fits = (KEY.fullmatch(key) and len(value) <= MAX_TEXT and "\0" not in value for key, value in given.items())
    return dict(compress(given.items(), fits))


def _first(given: Mapping[str, Value], max_items: int) -> dict[str, Value]:
    return dict(islice(given.items(), max_items))


def _lost(kind: str, given: Mapping[str, object], kept: Mapping[str, object]) -> list[str]:
    return [f"{kind} {key!s:.128} ({value!s:.40})" for key, value in given.items() if key not in kept]


def new_version(foreign: ForeignVersion, files: Sequence[ArtifactFile]) -> NewVersion:
    """Return what is registered for a version of MLflow's registry; its format is recognised by its files."""
    return NewVersion(
        model=foreign.model,
        files=files,
        format=None,
        framework="",
        description=foreign.description,
        tags=foreign.tags,
        params=foreign.params,
        metrics=foreign.metrics,
    )


def stage_here(session: Session, foreign: ForeignVersion) -> Stage:
    """Return the stage that an import gives a version: its own, or training where it may not enter that one.

    It may not replace the version in production here, nor enter a stage for which the model's policy asks for
    approvals, which nobody has given here.
    """
    if session.get(ModelRow, foreign.model) is None:  # The import creates it, without a policy.
        return foreign.stage
    if foreign.stage is Stage.PRODUCTION and in_production(session, foreign.model) is not None:
        return Stage.TRAINING
    asked = required_functions(session, get_policy(session, foreign.model), foreign.stage)
    return Stage.TRAINING if asked else foreign.stage


def adopt(session: Session, foreign: ForeignVersion, new: NewVersion, actor: ActorContext) -> AdoptedVersion:
    """Register a version whose files are stored, and move it to its stage, as far as `stage_here` allows.

    Args:
        session: the transaction.
        foreign: the version in MLflow.
        new: from `new_version`, prepared for the registration.
        actor: who imports it.
    """
    version = register(session, new, actor)
    row = version_row(session, VersionRef(version.model, version.version))
    row.run_id, row.mlflow_version = foreign.run_id, foreign.mlflow_version
    stage = stage_here(session, foreign)
    if stage is not Stage.TRAINING:
        move(session, row, stage, f"adopted from MLflow's version {foreign.mlflow_version}", actor)
    reason = new.trial.reason if new.trial else ""
    return AdoptedVersion(foreign.model, foreign.mlflow_version, version.version, Stage(row.stage), not_tried=reason)
