"""Observe the live rows of the version in production, watch for drift alarms, and record how predictions turned out.

While `modelward serve` runs, and the model has a version in production:

    python examples/python/monitor.py spx-trend --windows 6 --shift 1.5

`--shift` moves the simulated market away from that of the training: windows drift, and two of the last three raise an
alarm, which every watcher of the model receives.
"""

import argparse
import asyncio

from market import as_rows, simulated_days

from modelward import AsyncClient, EventKind, ModelVersion

WINDOW_ROWS = 200
ALARM_SECONDS = 10.0
"""How long the alarm that a window raised may take to arrive here."""


async def watch_alarms(mw: AsyncClient, model: str, alarmed: asyncio.Event) -> None:
    """Print each drift alarm of a model as it happens."""
    async for event in mw.watch([model]):
        if event.kind is EventKind.DRIFT_ALARM:
            print(f"drift alarm: {event.subject}", flush=True)
            alarmed.set()


async def observe(mw: AsyncClient, version: ModelVersion, windows: int, shift: float) -> bool:
    """Send live rows and their outcomes, one window after the other, and return whether one raised an alarm."""
    classifier = await mw.load(version)
    observer = await mw.observe(version, sender="monitor-1", rows=WINDOW_ROWS)
    alarm = False
    for number in range(windows):
        features, outcome = simulated_days(WINDOW_ROWS, seed=100 + number, shift=shift)
        seen = await observer.add(features)
        alarm = alarm or seen.alarm
        for report in seen.reports:
            print(f"window {number + 1}: {report.summary}", flush=True)
        probabilities = classifier.predict_proba(as_rows(features))
        await mw.record_outcomes(
            version,
            # Batches are numbered on in the next run, so that an id is never used again.
            [f"{seen.acknowledged}-{row}" for row in range(WINDOW_ROWS)],
            predictions=probabilities.argmax(axis=1),
            probabilities=probabilities.max(axis=1),
            labels=outcome,  # In a market they come later, in a call of their own with the same ids.
        )
    return alarm


async def print_health(mw: AsyncClient, version: ModelVersion) -> None:
    """Print how well a version performs, and which engines run it."""
    async for period in mw.list_performance(version):
        figures = ", ".join(f"{name} {value:.3f}" for name, value in sorted(period.metrics.items()))
        print(f"{period.start:%Y-%m-%d}: {period.labelled} of {period.predictions} rows have a label; {figures}")
    rollout = await mw.get_rollout(version.model)
    for engine in rollout.engines:
        print(f"{engine.engine} runs {version.model}/{engine.version}: {engine.state}")


async def run(server: str, model: str, windows: int, shift: float) -> None:
    async with AsyncClient(server, actor="monitor") as mw:
        version = (await mw.resolve(model)).version
        alarmed = asyncio.Event()
        watching = asyncio.create_task(watch_alarms(mw, model, alarmed))
        if await observe(mw, version, windows, shift):
            await asyncio.wait_for(alarmed.wait(), ALARM_SECONDS)
        watching.cancel()
        await print_health(mw, version)


def main() -> None:
    parser = argparse.ArgumentParser(description="Monitor the version in production.")
    parser.add_argument("model")
    parser.add_argument("--server", default="localhost:50061")
    parser.add_argument("--windows", type=int, default=6, help="number of windows to send")
    parser.add_argument("--shift", type=float, default=0.0, help="of the momentum, in standard deviations")
    given = parser.parse_args()
    asyncio.run(run(given.server, given.model, given.windows, given.shift))


if __name__ == "__main__":
    main()
