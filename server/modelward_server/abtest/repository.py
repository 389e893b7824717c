"""A/B tests in the ledger: create, read, list."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sqlalchemy import not_, select
from sqlalchemy.orm import Session

from modelward.abtest import AbTest, AbTestState
from modelward.errors import AbTestConcluded, AbTestExists, AbTestNotFound, FieldViolation, InvalidField
from modelward.lifecycle import Page, VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import model_row, version_row
from modelward_server.storage import audit
from modelward_server.storage.ab_tables import AbTestModelRow, AbTestRow
from modelward_server.storage.audit import Kind
from modelward_server.storage.documents import AB_TEST
from modelward_server.storage.paging import Key, fetch_page, is_visible, visible_prefixes

DEFAULT_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Started:
    """The audit record of a started test."""

    test: str
    variants: tuple[tuple[str, VersionRef], ...]
    shadow: bool


def create_ab_test(session: Session, test_spec: AbTest, actor: ActorContext) -> AbTest:
    """Create and start a test.

    Raises:
        AbTestExists: a test of that name exists.
        ModelNotFound, VersionNotFound: a variant's version does not exist.
        InvalidField: a metric occurs twice.
    """
    _check_metrics(test_spec)
    for variant in test_spec.variants:
        version_row(session, variant.version)
    if _row(session, test_spec.test) is not None:
        raise AbTestExists(f"the A/B test {test_spec.test!r} exists; choose another name", test=test_spec.test)
    test = _started(test_spec, actor)
    row = AbTestRow(test=test.test, state=test.state, created_at=actor.at, found=_json(test), revision=1)
    session.add(row)
    session.flush()
    models = sorted({variant.version.model for variant in test.variants})
    session.add_all(AbTestModelRow(sequence=row.sequence, model=model) for model in models)
    variants = tuple((variant.name, variant.version) for variant in test.variants)
    audit.append(session, Kind.AB_TEST, test.control.version.model, Started(test.test, variants, test.shadow), actor)
    return _to_test(row)


def _started(test_spec: AbTest, actor: ActorContext) -> AbTest:
    """Return the test with the defaults of the contract and the fields that the server sets."""
    return replace(
        test_spec,
        variants=tuple(replace(variant, weight=variant.weight or 1.0) for variant in test_spec.variants),
        salt=test_spec.salt or test_spec.test,
        confidence_level=test_spec.confidence_level or DEFAULT_CONFIDENCE,
        state=AbTestState.RUNNING,
        conclusion=None,
        created_by=actor.name,
        created_at=actor.at,
        etag="",
    )


def _check_metrics(test_spec: AbTest) -> None:
    """Validate that each key names one metric.

    Raises:
        InvalidField: a key is repeated.
    """
    if violations := list(_repeated_metrics(test_spec)):
        raise InvalidField(*violations)


def _repeated_metrics(test_spec: AbTest) -> Iterator[FieldViolation]:
    keys = [metric.key for metric in test_spec.metrics]
    for number, key in enumerate(keys[1:]):
        if key in keys[: number + 1]:
            yield FieldViolation(f"ab_test.guardrails[{number}].key", f"{key!r} is a metric of the test already")


def get_ab_test(session: Session, name: str) -> AbTest:
    """Return a test.

    Raises:
        AbTestNotFound: no test has that name.
    """
    return _to_test(ab_test_row(session, name))


def list_ab_tests(
    session: Session, model: str, state: AbTestState | None, page_size: int, page_token: str
) -> Page[AbTest]:
    """Return a page of tests, the newest first: all, or those that include a version of `model`.

    Raises:
        ModelNotFound: the model does not exist.
    """
    foreign = select(AbTestModelRow.sequence).where(not_(is_visible(AbTestModelRow.model)))
    rows = select(AbTestRow).where(AbTestRow.sequence.not_in(foreign)) if visible_prefixes() else select(AbTestRow)
    if model:
        model_row(session, model)
        rows = rows.where(AbTestRow.sequence.in_(select(AbTestModelRow.sequence).where(AbTestModelRow.model == model)))
    if state is not None:
        rows = rows.where(AbTestRow.state == state)
    newest_first = [Key(AbTestRow.sequence, descending=True)]
    page = fetch_page(session, rows, newest_first, page_size, page_token, ("ab_tests", model, state))
    return Page(tuple(map(_to_test, page.items)), page.next_page_token)


def ab_test_row(session: Session, name: str) -> AbTestRow:
    """Fetch a test.

    Raises:
        AbTestNotFound: no test has that name.
    """
    row = _row(session, name)
    if row is None:
        raise AbTestNotFound(f"there is no A/B test {name!r}; ListAbTests lists the existing ones", test=name)
    return row


def running_test(session: Session, name: str) -> tuple[AbTestRow, AbTest]:
    """Fetch a running test.

    Raises:
        AbTestNotFound: no test has that name.
        AbTestConcluded: it has been concluded.
    """
    row = ab_test_row(session, name)
    test = _to_test(row)
    if test.conclusion is not None:
        raise AbTestConcluded(
            f"the A/B test {name!r} was concluded at {test.conclusion.concluded_at:%Y-%m-%d %H:%M} UTC in favour of "
            f"{test.conclusion.winner}; start another one",
            test=name,
            winner=test.conclusion.winner,
        )
    return row, test


def update(row: AbTestRow, test: AbTest) -> AbTest:
    """Store a changed test."""
    row.state, row.found, row.revision = test.state, _json(test), row.revision + 1
    return _to_test(row)


def _row(session: Session, name: str) -> AbTestRow | None:
    return session.scalar(select(AbTestRow).where(AbTestRow.test == name))


def _json(test: AbTest) -> dict[str, object]:
    return AB_TEST.dump(test)


def _to_test(row: AbTestRow) -> AbTest:
    test = AB_TEST.load(row.found)
    return replace(test, etag=f"r{row.revision}")
