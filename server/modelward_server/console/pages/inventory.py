"""The inventory: what was in production of every model at an instant, since when, and by whom."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request

from modelward import AsyncClient
from modelward.lifecycle import Model, Stage, Transition
from modelward.shared.convert.lifecycle import model_from_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.console.downloads import csv_lines
from modelward_server.console.pages.lists import ROWS
from modelward_server.console.pages.parameters import MOMENT, instant, query_of

TEMPLATE = "inventory"
COLUMNS = ("as_of", "model", "version", "since", "promoted_by", "reason")


@dataclass(frozen=True)
class Row:
    """A model, and the promotion by which it was in production; None if nothing was."""

    model: Model
    promotion: Transition | None


@dataclass(frozen=True)
class View:
    """What the page shows."""

    as_of: datetime
    now: bool
    """Whether the address named no instant."""
    rows: Sequence[Row]
    """By name; without models that did not exist then."""
    prefix: str
    further: bool
    """Whether this is not the first page."""
    query: str
    """The query of the first page's address; may be empty."""
    next_page: str
    """The query of the next page's; empty if there is none."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch a page of models; `as_of` in the query is an instant, `prefix` the beginning of the models' names.

    Raises:
        InvalidField: `as_of` is not an instant, or `page` is not the token of a page.
    """
    query = request.query_params
    given, prefix, token = instant(request, "as_of"), query.get("prefix", "").strip(), query.get("page", "")
    as_of = given or datetime.now(UTC)
    asked = pb.ListModelsRequest(name_prefix=prefix, page_size=ROWS, page_token=token)
    answer = await client._call(client._lifecycle.ListModels, asked)
    rows = await _rows(client, map(model_from_proto, answer.models), as_of)
    return View(
        as_of=as_of,
        now=given is None,
        rows=rows,
        prefix=prefix,
        further=bool(token),
        query=_query(given, prefix),
        next_page=_query(given, prefix, answer.next_page_token) if answer.next_page_token else "",
    )


def _query(as_of: datetime | None, prefix: str, page: str = "") -> str:
    return query_of({"as_of": as_of.isoformat() if as_of else "", "prefix": prefix, "page": page})


async def as_csv(client: AsyncClient, request: Request) -> AsyncIterator[str]:
    """Yield the whole inventory as CSV, with the query of the page.

    Raises:
        InvalidField: `as_of` is not an instant.
    """
    query = request.query_params
    as_of = instant(request, "as_of") or datetime.now(UTC)
    async for part in csv_lines(COLUMNS, _cells(client, query.get("prefix", "").strip(), as_of)):
        yield part


async def _cells(client: AsyncClient, prefix: str, as_of: datetime) -> AsyncIterator[Sequence[object]]:
    batch: list[Model] = []
    async for model in client.list_models(name_prefix=prefix):
        batch.append(model)
        if len(batch) == ROWS:
            for row in await _rows(client, batch, as_of):
                yield _row_cells(row, as_of)
            batch = []
    for row in await _rows(client, batch, as_of):
        yield _row_cells(row, as_of)


def _row_cells(row: Row, as_of: datetime) -> Sequence[object]:
    if (promotion := row.promotion) is None:
        return as_of.isoformat(), row.model.name, "", "", "", ""
    since = promotion.moved_at.isoformat()
    return as_of.isoformat(), row.model.name, promotion.version.version, since, promotion.actor, promotion.reason


async def _rows(client: AsyncClient, models: Iterable[Model], as_of: datetime) -> list[Row]:
    existing = [model for model in models if model.created_at <= as_of]
    promotions = await asyncio.gather(*(_promotion(client, model.name, as_of) for model in existing))
    return [Row(model, promotion) for model, promotion in zip(existing, promotions, strict=True)]


async def _promotion(client: AsyncClient, model: str, as_of: datetime) -> Transition | None:
    """Return the promotion of the version that was in production; `resolve` would not tell who made it."""
    async for move in client.list_transitions(model, moved_before=as_of + MOMENT):
        if move.to_stage is Stage.PRODUCTION:
            return move
        if move.from_stage is Stage.PRODUCTION and not move.displaced_by:
            return None
    return None
