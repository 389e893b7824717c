"""The model card of a version as one self-contained HTML page.

Mitchell et al., Model Cards for Model Reporting, 2019.
"""

from collections.abc import Sequence

from modelward.governance import Approval
from modelward.lifecycle import Model, ModelVersion, Transition
from modelward_server.reports.page import templates

_templates = templates(__package__)


def draw_page(
    model: Model, version: ModelVersion, transitions: Sequence[Transition], approvals: Sequence[Approval]
) -> bytes:
    """Draw a model card as UTF-8 HTML."""
    page = _templates.get_template("model_card.html.jinja").render(
        model=model, version=version, transitions=transitions, approvals=approvals
    )
    return page.encode()
