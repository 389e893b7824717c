"""Could a history of concurrent calls have happened one after another?

The definition is Herlihy and Wing's ("Linearizability: a correctness condition for concurrent objects", 1990): every
call takes effect at one instant between its invocation and its return. The search is Wing and Gong's ("Testing and
verifying concurrent objects", 1993) in the order of Lowe's "just in time" ("Testing for linearizability", 2017): calls
are put in order only when a return demands it. Configurations that several orders lead to are followed once, as Lowe
does and Porcupine (Athalye, 2017) after him.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

State = TypeVar("State", bound=Hashable)
Event = TypeVar("Event")


@dataclass(frozen=True)
class Timed(Generic[Event]):
    """What one call did, and when; all instants are of one clock, in nanoseconds."""

    invoked: int
    returned: int
    event: Event


Step: TypeAlias = Callable[[State, Event], State | None]
"""Gives the state after a call and its result, or None when that call cannot have that result in that state."""
Configuration: TypeAlias = tuple[State, frozenset[int]]
"""A possible state, and those of the calls under way that have taken effect in it."""


def first_impossible(history: Iterable[Timed[Event]], start: State, step: Step[State, Event]) -> Timed[Event] | None:
    """Return the call whose result no order of the calls explains, the one that returned first; None without.

    Args:
        history: calls that have all returned, in any order.
    """
    calls = list(history)
    under_way: dict[int, Event] = {}
    possible: set[Configuration[State]] = {(start, frozenset())}
    for _, returns, number in sorted(_instants(calls)):
        if not returns:
            under_way[number] = calls[number].event
            continue
        possible = _those_with(number, possible, under_way, step)
        if not possible:
            return calls[number]
        del under_way[number]
    return None


def _instants(calls: list[Timed[Event]]) -> Iterable[tuple[int, bool, int]]:
    """Give each call's beginning and end; of the same instant the beginnings come first, for the calls may overlap."""
    for number, call in enumerate(calls):
        assert call.invoked <= call.returned
        yield call.invoked, False, number
        yield call.returned, True, number


def _those_with(
    number: int, possible: set[Configuration[State]], under_way: dict[int, Event], step: Step[State, Event]
) -> set[Configuration[State]]:
    """Let calls under way take effect in every order until the one that returns has, and forget that one."""
    seen, left = set(possible), list(possible)
    found: set[Configuration[State]] = set()
    while left:
        state, done = left.pop()
        if number in done:
            found.add((state, done - {number}))
            continue
        new = {(after, done | {other}) for other, after in _next(state, done, under_way, step)} - seen
        seen |= new
        left.extend(new)
    return found


def _next(
    state: State, done: frozenset[int], under_way: dict[int, Event], step: Step[State, Event]
) -> Iterable[tuple[int, State]]:
    for number, event in under_way.items():
        if number not in done and (after := step(state, event)) is not None:
            yield number, after
