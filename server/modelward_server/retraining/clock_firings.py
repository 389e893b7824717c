"""The firings of clock triggers, in the order of their times, jitter included."""

from collections.abc import Iterator
from datetime import UTC, datetime
from heapq import heappop, heappush

from modelward.errors import CalendarEnds
from modelward.retraining import OnDrift, OnPerformance, Schedule, Trigger
from modelward.schedules import Firing
from modelward_server.retraining.clock import firing_times, format_local, grid_start
from modelward_server.retraining.schedule_policy import jittered, skip_reason
from modelward_server.retraining.triggers import ScheduleInputs

BEGINNING = datetime.min.replace(tzinfo=UTC)


def trigger_firings(
    schedule: Schedule, number: int, trigger: Trigger, inputs: ScheduleInputs, after: datetime
) -> Iterator[Firing]:
    """Yield a trigger's firings after `after`, in the order of their times."""
    if isinstance(trigger, OnDrift | OnPerformance):
        return
    jitter, trained = schedule.policy.jitter, inputs.trained_at or schedule.created_at
    earliest = max(after - min(jitter, after - BEGINNING), trained)
    for at, nominal in _with_jitter(schedule, number, firing_times(trigger, grid_start(trigger, trained, earliest))):
        if at > after:
            yield Firing(at, number, format_local(trigger, at), skip_reason(schedule, inputs, at), nominal)


def _with_jitter(schedule: Schedule, number: int, times: Iterator[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """Yield each time with and without its jitter, ordered by the former: a long jitter changes the order."""
    held: list[tuple[datetime, datetime]] = []
    try:
        for nominal in times:
            heappush(held, (jittered(schedule, number, nominal), nominal))
            while held and held[0][0] <= nominal:
                yield heappop(held)
    except CalendarEnds:
        yield from sorted(held)
        raise
    yield from sorted(held)
