"""Predict with the version in production, and switch when another one is promoted.

While `modelward serve` runs, and the model has a version in production:

    python examples/python/engine.py spx-trend --name ny4-07 --seconds 60

A prediction makes no call: the version is in memory. While the server is absent the engine goes on with the last
version, also when it is started then, because the files are in its cache. While the model is halted it makes none.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import suppress

from market import as_rows, simulated_days

from modelward import Client
from modelward.errors import DeadlineExceeded, ModelHalted, NothingResolved, Unavailable

TICK_SECONDS = 0.1
REPORT_SECONDS = 1.0
"""How often the server is told which version runs; it counts an engine as gone after a minute without a report."""


def ticks(seconds: float) -> Iterator[int]:
    """Count the ticks until the time is over."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        yield number
        number += 1
        time.sleep(TICK_SECONDS)


def run(mw: Client, model: str, name: str, cache: str | None, seconds: float) -> int:
    """Predict once a tick, and return the number of predictions."""
    predictions, running, next_report = 0, "", 0.0
    with mw.follow(model, cache=cache) as live:
        for tick in ticks(seconds):
            try:
                current = live.current
            except (ModelHalted, NothingResolved) as error:
                running = announced(running, f"standing aside: {error}")
                continue
            features, _ = simulated_days(1, seed=tick)
            current.model.predict(as_rows(features))
            predictions += 1
            running = announced(running, f"running {current.version}")
            if time.monotonic() >= next_report:
                with suppress(Unavailable, DeadlineExceeded):  # The engine goes on without a server.
                    mw.report_active(current.version, engine=name)
                next_report = time.monotonic() + REPORT_SECONDS
    return predictions


def announced(before: str, now: str) -> str:
    """Print what the engine does where that changed, and return it."""
    if now != before:
        print(now, flush=True)
    return now


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict with the version in production.")
    parser.add_argument("model")
    parser.add_argument("--server", default="localhost:50061")
    parser.add_argument("--name", default="engine-1", help="under which the engine reports its version")
    parser.add_argument("--cache", help="folder for files; that of the user by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it runs")
    given = parser.parse_args()
    # A short timeout, so that a report to an absent server does not hold up the predictions.
    with Client(given.server, actor=given.name, timeout=1.0) as mw:
        predictions = run(mw, given.model, given.name, given.cache, given.seconds)
    print(f"made {predictions} predictions")


if __name__ == "__main__":
    main()
