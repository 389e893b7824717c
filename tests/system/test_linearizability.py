"""The checker of histories finds what is impossible, and only that."""

import itertools
import random
from collections.abc import Sequence

import pytest

from modelward import Stage
from tests.support.linearizability import Timed, first_impossible
from tests.support.stage_history import Event, GaveUp, Moved, NothingResolved, Refused, Resolved, Standing, step

STAGING, PRODUCTION, ARCHIVED = Stage.STAGING, Stage.PRODUCTION, Stage.ARCHIVED
START = Standing((STAGING, STAGING, STAGING))


def check(*calls: tuple[int, int, Event], start: Standing = START) -> Event | None:
    """Return the impossible event of calls given as (invoked, returned, event)."""
    found = first_impossible([Timed(*call) for call in calls], start, step)
    return None if found is None else found.event


def test_one_call_after_another() -> None:
    first, second = Moved(1, PRODUCTION, 5, 0), Moved(2, PRODUCTION, 7, 1)
    assert check((0, 1, first), (2, 3, second), (4, 5, Resolved(2, 7))) is None


def test_calls_at_once_may_take_effect_in_either_order() -> None:
    first, second = Moved(1, PRODUCTION, 7, 2), Moved(2, PRODUCTION, 5, 0)
    assert check((0, 9, first), (1, 8, second)) is None


def test_calls_that_do_not_overlap_may_not_change_places() -> None:
    first, second = Moved(1, PRODUCTION, 7, 2), Moved(2, PRODUCTION, 5, 0)
    assert check((0, 4, first), (5, 8, second)) == first


def test_call_may_wait_for_one_that_returns_later() -> None:
    refused, back = Refused(1, PRODUCTION, ARCHIVED), Moved(1, STAGING, 9, 0)
    start = Standing((ARCHIVED, STAGING, STAGING))
    assert check((0, 20, back), (1, 5, refused), (6, 8, Moved(1, PRODUCTION, 11, 0)), start=start) is None


@pytest.mark.parametrize(
    "impossible",
    [
        NothingResolved(),  # A read that forgets a promotion.
        Resolved(2, 7),  # A read of what was never there.
        Resolved(1, 3),  # A read that says it is older than what was known before.
        Moved(2, PRODUCTION, 7, 0),  # A promotion that leaves two versions in production.
        Moved(2, PRODUCTION, 7, 3),  # A promotion that archives another one.
        Moved(2, PRODUCTION, 5, 1),  # A promotion with the number of the one before.
        Moved(1, PRODUCTION, 7, 1),  # A promotion of what is there.
        Refused(2, PRODUCTION, STAGING),  # A refusal of what is allowed.
        Refused(1, STAGING, ARCHIVED),  # A refusal for a reason that does not hold.
    ],
)
def test_what_cannot_follow_a_promotion_is_found(impossible: Event) -> None:
    promoted = Moved(1, PRODUCTION, 5, 0)
    assert check((0, 1, promoted), (2, 3, impossible)) == impossible


def test_reads_may_not_see_a_change_come_and_go() -> None:
    """Two readers while a promotion is under way: once one of them has seen it, the next one must see it too."""
    promotion = (0, 9, Moved(1, PRODUCTION, 5, 0))
    assert check(promotion, (1, 2, NothingResolved()), (3, 4, Resolved(1, 5))) is None
    assert check(promotion, (1, 2, Resolved(1, 5)), (3, 4, NothingResolved())) is not None


def test_what_had_no_effect_is_always_possible() -> None:
    assert check((0, 1, GaveUp(1, PRODUCTION)), (2, 3, NothingResolved())) is None
    assert check((0, 1, GaveUp(1, PRODUCTION)), (2, 3, Resolved(1, 1))) is not None


def test_it_agrees_with_trying_every_order() -> None:
    chosen, possible = random.Random(11), 0
    for _ in range(400):
        calls = _some_history(chosen)
        assert (first_impossible(calls, START, step) is None) == _some_order_explains(calls)
        possible += _some_order_explains(calls)
    assert 50 < possible < 350


def _some_history(chosen: random.Random) -> list[Timed[Event]]:
    """Make a history of five calls that is possible, and then spoil most by swapping the results of two."""
    standing, events = START, list[Event]()
    while len(events) < 5:
        event = _some_event(chosen)
        if after := step(standing, event):
            standing, events = after, [*events, event]
    if chosen.random() < 0.8:
        one, other = chosen.sample(range(5), 2)
        events[one], events[other] = events[other], events[one]
    return [Timed(10 * i - chosen.randrange(8), 10 * i + chosen.randrange(8), event) for i, event in enumerate(events)]


def _some_event(chosen: random.Random) -> Event:
    version, other, sequence = chosen.randint(1, 2), chosen.randrange(3), chosen.randint(1, 9)
    events: list[Event] = [
        Moved(version, PRODUCTION, sequence, other),
        Moved(version, STAGING, sequence, 0),
        Refused(version, PRODUCTION, chosen.choice([PRODUCTION, ARCHIVED])),
        Resolved(other, sequence),
        GaveUp(version, PRODUCTION),
    ]
    return chosen.choice(events)


def _some_order_explains(calls: Sequence[Timed[Event]]) -> bool:
    return any(_keeps_to_the_clock(order) and _explains(order) for order in itertools.permutations(calls))


def _keeps_to_the_clock(order: Sequence[Timed[Event]]) -> bool:
    return all(later.returned >= earlier.invoked for earlier, later in itertools.combinations(order, 2))


def _explains(order: Sequence[Timed[Event]]) -> bool:
    standing = START
    for call in order:
        after = step(standing, call.event)
        if after is None:
            return False
        standing = after
    return True
