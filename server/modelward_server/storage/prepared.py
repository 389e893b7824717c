"""Preparation of a change outside its write transaction, so that no other writer waits for it."""


class Outdated(Exception):  # noqa: N818 - named for the event
    """Raised in a change when its preparation is no longer valid; it is then prepared again."""
