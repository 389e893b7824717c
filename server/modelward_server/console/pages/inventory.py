"""The inventory: what was in production of every model at an instant, since when, by whom, and what is stated of it."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from starlette.requests import Request

from modelward import AsyncClient
from modelward.inventory import Inventory, InventoryScope
from modelward.lifecycle import ProductionVersion, Transition
from modelward_server.console.downloads import csv_lines
from modelward_server.console.pages.lists import ROWS
from modelward_server.console.pages.parameters import instant, query_of

TEMPLATE = "inventory"
STATED = [field.name for field in fields(Inventory) if field.name != "scope"]
SCOPE = [field.name for field in fields(InventoryScope)]
COLUMNS = ("as_of", "model", "version", "since", "promoted_by", "reason", *STATED, *SCOPE)


@dataclass(frozen=True)
class View:
    """What the page shows."""

    as_of: datetime
    now: bool
    """Whether the address named no instant."""
    rows: Sequence[ProductionVersion]
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
    page = await client.list_production_versions(as_of=given, name_prefix=prefix).page(token, size=ROWS)
    return View(
        as_of=as_of,
        now=given is None,
        rows=page.items,
        prefix=prefix,
        further=bool(token),
        query=_query(given, prefix),
        next_page=_query(given, prefix, page.next_page_token) if page.next_page_token else "",
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
    async for row in client.list_production_versions(as_of=as_of, name_prefix=prefix):
        yield _row_cells(row, as_of)


def _row_cells(row: ProductionVersion, as_of: datetime) -> Sequence[object]:
    stated = [_stated(getattr(row.inventory, name)) for name in STATED]
    scope = [_stated(getattr(row.inventory.scope, name)) for name in SCOPE]
    return as_of.isoformat(), row.model, *_promotion_cells(row.promotion), *stated, *scope


def _promotion_cells(promotion: Transition | None) -> Sequence[object]:
    if promotion is None:
        return "", "", "", ""
    return promotion.version.version, promotion.moved_at.isoformat(), promotion.actor, promotion.reason


def _stated(value: object) -> object:
    """Return the cell of a field of the inventory: several texts as JSON, as the commands write them."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) and value else value or ""
