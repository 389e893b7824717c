"""Inventory reports of one ledger, in pieces, so that the number of models does not matter."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path

from modelward_server.lifecycle.model_years.listing import InventoryFilter, pages
from modelward_server.lifecycle.model_years.report_period import ReportPeriod, report_period
from modelward_server.reports.inventory.csv_files import write_events, write_models
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.paging import visible_prefixes

PIECE = 1 << 20
"""The size of the pieces in which a report is returned."""


class ReportForm(StrEnum):
    """The form of a report."""

    HTML = "html"
    CSV = "csv"
    EVENTS = "events"


@dataclass(frozen=True)
class WantedReport:
    """What a report is to contain.

    Args:
        as_of: its last day.
        since: its first day; None for that of the year that ends with `as_of`.
        form: its form.
        only: the models; all by default.
    """

    as_of: date
    since: date | None = None
    form: ReportForm = ReportForm.HTML
    only: InventoryFilter = field(default_factory=InventoryFilter)


@dataclass(frozen=True)
class InventoryReports:
    """Renders reports.

    Args:
        ledger: the ledger.
        folder: where a page is kept while it is drawn.
    """

    ledger: Ledger
    folder: Path

    def pieces(self, wanted: WantedReport, now: datetime) -> Iterator[bytes]:
        """Yield a report in pieces, and an empty one whenever a page of models was read.

        Raises:
            InvalidField: the last day is in the future, or before the first one.
        """
        with self.ledger.reading() as session:
            period = report_period(session, wanted.as_of, wanted.since, now)
        yield from _in_pieces(self._texts(wanted, period))

    def _texts(self, wanted: WantedReport, period: ReportPeriod) -> Iterator[str | None]:
        years = pages(self.ledger, period, wanted.only)
        if wanted.form is ReportForm.CSV:
            return write_models(period, years)
        if wanted.form is ReportForm.EVENTS:
            return write_events(years)
        # Imported here: jinja would delay the server's first response.
        from modelward_server.reports.inventory.page import draw_page

        return draw_page(period, years, list(_limits(wanted.only)), self.folder)


def _limits(only: InventoryFilter) -> Iterator[str]:
    """Yield what a report is limited to: without it, a reader would take a part for the whole."""
    if prefixes := visible_prefixes():
        yield f"models whose names begin with {' or '.join(prefixes)}, which are all that its reader may see"
    stated = {"owner": only.owner, "tier": only.tier, "desk": only.desk}
    yield from (f"models of the {name} {value}" for name, value in stated.items() if value)


def _in_pieces(texts: Iterable[str | None]) -> Iterator[bytes]:
    held = bytearray()
    for text in texts:
        if text is None:
            yield b""
        else:
            held += text.encode()
        while len(held) >= PIECE:
            yield bytes(held[:PIECE])
            del held[:PIECE]
    yield bytes(held)
