# Derived from modelward/_async/inventory_report.py by client/unasync.py: change that one.
"""Client method for the inventory report: every model that was in production in a year."""

from datetime import date
from pathlib import Path
from typing import Literal

from modelward._sync.connection import Connection
from modelward._sync.received_file import write_parts
from modelward.shared.convert.findings import day_to_proto
from modelward.shared.convert.governance import inventory_format_to_proto
from modelward.v1 import governance_pb2 as pb

REPORT_SECONDS = 3600.0


class InventoryReports(Connection):
    """The inventory report."""

    def inventory_report(
        self,
        to: Path | str,
        *,
        as_of: date,
        since: date | None = None,
        format: Literal["html", "csv", "events"] = "html",  # noqa: A002 - the word of the contract
        owner: str = "",
        tier: int | None = None,
        desk: str = "",
        timeout: float = REPORT_SECONDS,
    ) -> Path:
        """Write what is on record about every model that was in production in a year, as of the last day of that year.

        It is a base of the yearly self-assessment and of an inventory, and neither by itself. Days are in UTC. What
        happened after the last day is not in it. A client that is limited to some models gets those.

        Args:
            to: the file; it is replaced when the report is complete.
            as_of: the last day; the report says what was on record at its end, or now, if that is today.
            since: the first day; None for that of the year that ends with `as_of`.
            format: `html` for a self-contained page, `csv` for a row for each model, `events` for CSV with a row for
                each event.
            owner: only models that this person or team owned at the end of the last day; all when empty.
            tier: only models that were of this tier then, from 1 to 4; None for all.
            desk: only models whose scope had this desk then; all when empty.
            timeout: seconds in total.

        Returns:
            The file.

        Raises:
            InvalidField: the last day is in the future or before the first one, the format is unknown, or `to` cannot
                be written.

        Examples:
            >>> from datetime import UTC, datetime
            >>> page = mw.inventory_report(folder / "inventory.html", as_of=datetime.now(UTC).date())
            >>> page.name
            'inventory.html'
        """
        request = pb.RenderInventoryReportRequest(
            as_of=day_to_proto(as_of),
            since=day_to_proto(since),
            format=inventory_format_to_proto(format),
            owner=owner,
            tier=tier or 0,
            desk=desk,
        )
        return write_parts(self._receive(self._governance.RenderInventoryReport, request, timeout), Path(to))
