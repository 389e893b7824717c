"""The field in which requests, findings and reviews name their evidence."""

from collections.abc import AsyncIterator

from modelward import AsyncClient
from modelward.lifecycle import Model
from modelward_server.console.acts.act import Form, Input
from modelward_server.console.pages.lists import first
from modelward_server.console.pages.parameters import whole_number_of

LABEL = "Evidence: ids of comparisons and drift reports, names of A/B tests, one a line"
NEWEST = 20
"""Of so many comparisons of the model, the newest with the version is offered."""


async def evidence_input(client: AsyncClient, model: Model, form: Form) -> Input:
    """Return the field; the newest comparison and drift report of a version in the form are in it at first."""
    number = whole_number_of(form, "version")
    newest = [one async for one in _newest(client, model.name, number)] if number else []
    return Input("evidence", LABEL, "lines", value="\n".join(newest), longest=6_500)


async def _newest(client: AsyncClient, model: str, number: int) -> AsyncIterator[str]:
    for comparison in await first(client.list_comparisons(model), NEWEST):
        if (model, number) in {(one.version.model, one.version.version) for one in comparison.results}:
            yield comparison.comparison_id
            break
    for report in await first(client.list_drift_reports(model, version=number), 1):
        yield report.report_id
