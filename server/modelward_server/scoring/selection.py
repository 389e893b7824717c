"""Which versions answer a request to score: resolved in one read, with what loading them needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from modelward.abtest import AbTest
from modelward.assignment import assign, check_unit
from modelward.drift import DEFAULT_REFERENCE
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import ModelVersion, Stage
from modelward_server.abtest.exposures import Exposure
from modelward_server.abtest.repository import get_ab_test
from modelward_server.comparison.compare import main_file
from modelward_server.lifecycle.resolve import Selector, resolve
from modelward_server.sandbox.warm_model import LoadedModel
from modelward_server.storage.drift_tables import ReferenceRow


@dataclass(frozen=True)
class ChosenVersions:
    """The versions that answer, and the last change that the choice includes."""

    models: tuple[LoadedModel, ...]
    sequence: int
    exposure: Exposure | None = None
    """With an A/B test: the variant of the unit."""
    in_test: bool = False
    """Whether that unit takes part in the test."""
    variant: str = ""
    """The name of its variant."""

    @property
    def in_production(self) -> LoadedModel | None:
        """The one that is in production, if it is among them."""
        return next((one for one in self.models if one.version.stage is Stage.PRODUCTION), None)


@dataclass(frozen=True)
class TestedVersions:
    """The versions of an A/B test, in the order of its variants, and the last change that they include."""

    test: AbTest
    models: tuple[LoadedModel, ...]
    sequence: int

    def of_unit(self, unit: str, field: str) -> ChosenVersions:
        """Return the version of the variant of a unit.

        Args:
            unit: the unit.
            field: its field in the request, for errors.

        Raises:
            InvalidField: the unit has not 1 to 256 characters.
        """
        check_unit(unit, field)
        found = assign(self.test, unit)
        arm = self.test.variants.index(found.variant)
        ref = found.variant.version
        exposure = Exposure(self.test.test, unit, arm, ref.model, ref.version, datetime.now(UTC))
        return ChosenVersions((self.models[arm],), self.sequence, exposure, found.in_test, found.variant.name)


def choose_tested(session: Session, model: str, name: str, field: str, *, allow_pickle: bool) -> TestedVersions:
    """Resolve the versions of an A/B test.

    Args:
        session: the transaction.
        model: the name of the model.
        name: the name of the test.
        field: its field in the request, for errors.
        allow_pickle: as for `choose`.

    Raises:
        AbTestNotFound: there is no such test.
        InvalidField: a variant is a version of another model.
        ModelNotFound, ModelHalted, ArtifactDeleted, FormatNotExecutable: as `choose`.
    """
    test = get_ab_test(session, name)
    if others := sorted({variant.version.model for variant in test.variants} - {model}):
        fix = f"is about {others[0]}, and the rows are for {model}; name a test of its versions only"
        raise InvalidField(FieldViolation(field, fix))
    numbers = [variant.version.version for variant in test.variants]
    chosen = choose(session, model, numbers, None, allow_pickle=allow_pickle)
    return TestedVersions(test, chosen.models, chosen.sequence)


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
