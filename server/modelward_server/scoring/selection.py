"""Which versions answer a request to score: resolved in one read, with what loading them needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from modelward.drift import DEFAULT_REFERENCE
from modelward.lifecycle import ModelVersion, Stage
from modelward_server.comparison.compare import main_file
from modelward_server.lifecycle.resolve import Selector, resolve
from modelward_server.sandbox.warm_model import LoadedModel
from modelward_server.storage.drift_tables import ReferenceRow


@dataclass(frozen=True)
class ChosenVersions:
    """The versions that answer, and the last change that the choice includes."""

    models: tuple[LoadedModel, ...]
    sequence: int

    @property
    def in_production(self) -> LoadedModel | None:
        """The one that is in production, if it is among them."""
        return next((one for one in self.models if one.version.stage is Stage.PRODUCTION), None)


def choose(
    session: Session, model: str, selectors: Sequence[Selector], as_of: datetime | None, *, allow_pickle: bool
) -> ChosenVersions:
    """Resolve the versions of a request.

    Args:
        session: the transaction.
        model: the name of the model.
        selectors: stages, numbers or aliases; empty for the version in production.
        as_of: the past instant at which to resolve; None means now.
        allow_pickle: whether formats that run their author's code may be loaded.

    Raises:
        ModelNotFound, VersionNotFound, NothingResolved, ModelHalted: see `resolve`.
        ArtifactDeleted, FormatNotExecutable: the server cannot run one of them.
    """
    resolved = [resolve(session, model, selector, as_of) for selector in selectors or [Stage.PRODUCTION]]
    models = tuple(_loaded(session, one.version, allow_pickle) for one in resolved)
    return ChosenVersions(models, resolved[0].sequence)


def _loaded(session: Session, version: ModelVersion, allow_pickle: bool) -> LoadedModel:
    row = session.get(ReferenceRow, (version.model, version.version, DEFAULT_REFERENCE))
    names = tuple(str(feature["name"]) for feature in row.features) if row else ()
    return LoadedModel(version, main_file(version, allow_pickle).sha256, names, (row.example if row else None) or b"")
