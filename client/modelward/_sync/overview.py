# Derived from modelward/_async/overview.py by client/unasync.py: change that one.
"""Client method for the overview of all models."""

from modelward._sync.connection import Connection
from modelward.overview import Overview
from modelward.shared.convert.overview import overview_from_proto
from modelward.v1 import lifecycle_pb2 as pb


class Overviews(Connection):
    """The overview of all models."""

    def get_overview(self, *, name_prefix: str = "", page_size: int = 50, page_token: str = "") -> Overview:
        """Return what needs attention first, counts over all models, and a page of the models in production.

        Args:
            name_prefix: only models whose names have this prefix; the totals too.
            page_size: maximum number of models in production, 50 at most.
            page_token: the `next_page_token` of the previous page; empty for the first one.

        Returns:
            The overview; the models and what needs attention are sorted, the worst first.

        Raises:
            InvalidField: the page is too large, or the token is not one of this list.

        Examples:
            >>> overview = mw.get_overview(name_prefix="spx-trend")
            >>> overview.models[0].version
            1
        """
        request = pb.GetOverviewRequest(name_prefix=name_prefix, page_size=page_size, page_token=page_token)
        return overview_from_proto(self._call(self._lifecycle.GetOverview, request))
