"""The report as one self-contained HTML page, of any length: what it says of a model is drawn model by model."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import SpooledTemporaryFile

from markupsafe import Markup

from modelward_server.lifecycle.model_years.model_year import ModelYear
from modelward_server.lifecycle.model_years.report_period import ReportPeriod
from modelward_server.reports.inventory.summary import Summary
from modelward_server.reports.page import templates

HELD_BYTES = 4 << 20
"""Memory for what was drawn of models; more is kept in an unnamed file until the summary above it is known."""

_templates = templates(__package__)


def draw_page(
    period: ReportPeriod, pages: Iterable[Sequence[ModelYear]], limits: Sequence[str], folder: Path
) -> Iterator[str | None]:
    """Yield the page in parts, and None after each page of models that was read.

    Args:
        period: its period.
        pages: the models, in pages.
        limits: what the report is limited to, in words; empty for all models.
        folder: where models are kept that do not fit into memory.
    """
    with SpooledTemporaryFile(HELD_BYTES, dir=str(folder)) as spool:
        summary, sizes = Summary(), list[int]()
        for years in pages:
            for year in years:
                summary.add(year, period)
                sizes.append(spool.write(_draw_model(year, period)))
            yield None
        spool.seek(0)
        sections = (Markup(spool.read(size).decode()) for size in sizes)  # noqa: S704 - the template has escaped it
        template = _templates.get_template("inventory_report.html.jinja")
        yield from template.generate(period=period, summary=summary, limits=limits, sections=sections)


def _draw_model(year: ModelYear, period: ReportPeriod) -> bytes:
    return _templates.get_template("model_year.html.jinja").render(year=year, period=period).encode()
