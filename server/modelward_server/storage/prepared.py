"""Work that is done before a change, while no other writer waits for it."""


class Outdated(Exception):  # noqa: N818 - what happened
    """What was prepared no longer holds when the change is made; it is prepared again."""
