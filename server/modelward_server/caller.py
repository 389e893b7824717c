"""Who asks for a change, and when."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Caller:
    """The author of one change, as the record will name them."""

    actor: str
    at: datetime
    """When the server began to handle the change, in UTC."""
