"""One drill: which engines have proven that they would have stopped, and after how long."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from modelward import AsyncClient
from modelward.drills import Drill

TEMPLATE = "drill"
LOOK_SECONDS = 1.0
"""How often the page of a drill that runs is rendered: the registry tells of its end, and not of each answer."""


@dataclass(frozen=True)
class View:
    """What the page shows."""

    drill: Drill


class Looking:
    """Tells of a change again and again, for as long as somebody looks."""

    @contextmanager
    def telling(self, listener: Callable[[Any], None]) -> Iterator[None]:
        """Tell a listener until the context is left."""
        task = asyncio.create_task(self._tell(listener))
        try:
            yield
        finally:
            task.cancel()

    async def _tell(self, listener: Callable[[Any], None]) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            listener(self)


def changes(request: Request) -> Looking:
    """Return what tells when to render the page again; it does until the drill has ended."""
    return Looking()


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the page of the drill in the address.

    Raises:
        DrillNotFound: there is no such drill.
    """
    return View(await client.get_drill(request.path_params["drill"]))
