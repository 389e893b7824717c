"""Versions that come from another registry: registered here with the stage that they had there."""

import re
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.lifecycle import AdoptedVersion, ArtifactFile, Stage, VersionRef
from modelward_server.caller import Caller
from modelward_server.lifecycle.promotion import in_production, move
from modelward_server.lifecycle.rows import version_row
from modelward_server.lifecycle.versions import NewVersion, register
from modelward_server.store.mlflow_registry import ForeignVersion
from modelward_server.store.tables import VersionRow

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_known(session: Session, foreign: ForeignVersion) -> bool:
    """Tell whether a version of MLflow's registry is one of ours already."""
    known = select(VersionRow.version).where(
        VersionRow.model == foreign.model, VersionRow.mlflow_version == foreign.mlflow_version
    )
    return session.scalar(known) is not None


def problem_of(foreign: ForeignVersion) -> str:
    """Say why a version cannot be adopted; empty when it can."""
    if NAME.fullmatch(foreign.model):
        return ""
    return "its model's name has characters that a name here may not have; rename it in MLflow"


def adopt(session: Session, foreign: ForeignVersion, files: Sequence[ArtifactFile], caller: Caller) -> AdoptedVersion:
    """Register a version, whose files are here, and put it where it was; not where another one is in production."""
    new = NewVersion(
        model=foreign.model,
        files=files,
        format=None,
        framework="",
        description=foreign.description,
        tags=foreign.tags,
        params=foreign.params,
        metrics=foreign.metrics,
    )
    version = register(session, new, caller)
    row = version_row(session, VersionRef(version.model, version.version))
    row.run_id, row.mlflow_version = foreign.run_id, foreign.mlflow_version
    # An adoption must not change what trades here already.
    taken = foreign.stage is Stage.PRODUCTION and in_production(session, row.model) is not None
    if foreign.stage is not Stage.TRAINING and not taken:
        move(session, row, foreign.stage, f"adopted from MLflow's version {foreign.mlflow_version}", caller)
    return AdoptedVersion(foreign.model, foreign.mlflow_version, version.version, Stage(row.stage))
