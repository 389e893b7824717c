"""Where a user gives a token."""

from dataclasses import dataclass

TEMPLATE = "login"


@dataclass(frozen=True)
class View:
    """What the page shows."""

    next: str
    """The path to go to then."""
    failure: str = ""
    """Why a token was not accepted."""
