"""How much is tried: `MODELWARD_TEST_SCALE=full` tries everything, and much more of what is drawn at random."""

import os

from hypothesis import settings

FULL = os.environ.get("MODELWARD_TEST_SCALE") == "full"

settings.register_profile(
    "modelward",
    deadline=None,  # A busy machine makes no example wrong.
    max_examples=100 if FULL else 25,  # Where a test says nothing else.
)
settings.load_profile("modelward")


def examples(count: int) -> int:
    """Return how many examples to try of a property: usually half of a number, and else twenty times as many."""
    return 20 * count if FULL else (count + 1) // 2
