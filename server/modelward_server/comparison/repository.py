"""Comparisons in the ledger: store, read and list them."""

from datetime import datetime
from uuid import uuid4

from sqlalchemy import not_, select
from sqlalchemy.orm import Session

from modelward.comparison import Comparison
from modelward.errors import ComparisonNotFound
from modelward.lifecycle import Page
from modelward_server.actor_context import ActorContext
from modelward_server.comparison.compare import ComparisonResult
from modelward_server.lifecycle.repository import model_row, request_mirroring
from modelward_server.storage.comparison_tables import ComparedModelRow, ComparisonRow
from modelward_server.storage.documents import COMPARISON
from modelward_server.storage.paging import Key, fetch_page, is_visible, visible_prefixes


def save_comparison(session: Session, answer: ComparisonResult, actor: ActorContext) -> Comparison:
    """Store a comparison under a new id."""
    comparison = Comparison(
        comparison_id=f"comparison-{uuid4().hex[:16]}",
        kind=answer.kind,
        rows=answer.rows,
        label=answer.label,
        primary_metric=answer.primary,
        baseline=answer.baseline,
        results=answer.results,
        best=answer.results[0].version,
        conclusion=answer.evaluation.conclusion,
        resampling=answer.evaluation.resampling,
        notes=answer.notes,
        created_by=actor.name,
        created_at=actor.at,
        confidence_set=answer.evaluation.confidence_set,
        spa_p_value=answer.evaluation.spa_p_value,
        window=answer.window,
        overfitting=answer.overfitting,
        segments=answer.segments,
        segment_adjustment=answer.segment_adjustment,
        replay=answer.replay,
    )
    row = ComparisonRow(comparison_id=comparison.comparison_id, created_at=actor.at, found=COMPARISON.dump(comparison))
    session.add(row)
    session.flush()
    models = sorted({result.version.model for result in answer.results})
    session.add_all(ComparedModelRow(sequence=row.sequence, model=model) for model in models)
    request_mirroring(session, [result.version for result in answer.results])
    return comparison


def get_comparison(session: Session, comparison_id: str) -> Comparison:
    """Return a comparison.

    Raises:
        ComparisonNotFound: no comparison has that id.
    """
    row = session.scalar(select(ComparisonRow).where(ComparisonRow.comparison_id == comparison_id))
    if row is None:
        raise ComparisonNotFound(
            f"there is no comparison {comparison_id!r}; ListComparisons lists the existing ones",
            comparison_id=comparison_id,
        )
    return _to_comparison(row)


def list_comparisons(
    session: Session, model: str, page_size: int, page_token: str, created_before: datetime | None = None
) -> Page[Comparison]:
    """Return a page of comparisons, the newest first: all, or those that include a version of `model`.

    Args:
        session: the transaction.
        model: the model; empty for all.
        page_size: the number of comparisons per page.
        page_token: the token of the page.
        created_before: the latest time, exclusive.

    Raises:
        ModelNotFound: the model does not exist.
    """
    foreign = select(ComparedModelRow.sequence).where(not_(is_visible(ComparedModelRow.model)))
    rows = (
        select(ComparisonRow).where(ComparisonRow.sequence.not_in(foreign))
        if visible_prefixes()
        else select(ComparisonRow)
    )
    if model:
        model_row(session, model)
        matching = select(ComparedModelRow.sequence).where(ComparedModelRow.model == model)
        rows = rows.where(ComparisonRow.sequence.in_(matching))
    if created_before is not None:
        rows = rows.where(ComparisonRow.created_at < created_before)
    newest_first = [Key(ComparisonRow.sequence, descending=True)]
    page = fetch_page(session, rows, newest_first, page_size, page_token, ("comparisons", model, created_before))
    return Page(tuple(map(_to_comparison, page.items)), page.next_page_token)


def _to_comparison(row: ComparisonRow) -> Comparison:
    return COMPARISON.load(row.found)
