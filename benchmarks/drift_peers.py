"""What other libraries need for the same drift: run by `drift.py` in an interpreter that has them, a process each.

    PYTHON benchmarks/drift_peers.py CONTESTANT FEATURES ROWS

Prints seconds and the growth of resident memory in MiB as JSON. Imports nothing of Modelward.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

LONG_SECONDS = 5.0
REPEATS = 3
BINS = 10


def tables(features: int, rows: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return reference and live columns; a tenth of the live ones is shifted a little."""
    random = np.random.default_rng(0)
    reference = {f"x{i}": random.normal(size=rows) for i in range(features)}
    live = {f"x{i}": random.normal(0.1 * (i % 10 == 0), 1.0, rows) for i in range(features)}
    return reference, live


def scipy_loop(reference: dict[str, Any], live: dict[str, Any]) -> Callable[[], object]:
    from scipy import stats
    from scipy.spatial.distance import jensenshannon

    def one(x: Any, y: Any) -> tuple[float, ...]:
        edges = np.quantile(x, np.linspace(0, 1, BINS + 1)[1:-1])
        p, q = (np.bincount(np.searchsorted(edges, side), minlength=BINS) / len(side) for side in (y, x))
        ks = stats.ks_2samp(x, y, method="asymp")
        kl, reverse = stats.entropy(p, q), stats.entropy(q, p)
        return ks.statistic, kl, jensenshannon(p, q) ** 2, kl + reverse, stats.wasserstein_distance(x, y)

    return lambda: [one(reference[name], live[name]) for name in reference]


def numpy_sort(_: dict[str, Any], live: dict[str, Any]) -> Callable[[], object]:
    return lambda: [np.sort(values) for values in live.values()]


def evidently_default(reference: dict[str, Any], live: dict[str, Any]) -> Callable[[], object]:
    return _evidently(reference, live, {})


def evidently_ks(reference: dict[str, Any], live: dict[str, Any]) -> Callable[[], object]:
    return _evidently(reference, live, {"method": "ks"})


def _evidently(reference: dict[str, Any], live: dict[str, Any], options: dict[str, Any]) -> Callable[[], object]:
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    before, now = pd.DataFrame(reference), pd.DataFrame(live)
    return lambda: Report([DataDriftPreset(**options)]).run(now, before).dict()


def nannyml(reference: dict[str, Any], live: dict[str, Any]) -> Callable[[], object]:
    return _nannyml(reference, live, ["kolmogorov_smirnov", "jensen_shannon"])


def nannyml_wasserstein(reference: dict[str, Any], live: dict[str, Any]) -> Callable[[], object]:
    return _nannyml(reference, live, ["wasserstein"])


def _nannyml(reference: dict[str, Any], live: dict[str, Any], methods: list[str]) -> Callable[[], object]:
    import nannyml as nml
    import pandas as pd

    names, rows = list(reference), len(next(iter(live.values())))
    calculator = nml.UnivariateDriftCalculator(column_names=names, continuous_methods=methods, chunk_size=rows)
    calculator.fit(pd.DataFrame(reference))
    now = pd.DataFrame(live)
    return lambda: calculator.calculate(now)


def alibi_detect(reference: dict[str, Any], live: dict[str, Any]) -> Callable[[], object]:
    from alibi_detect.cd import KSDrift

    detector, now = KSDrift(np.column_stack(list(reference.values()))), np.column_stack(list(live.values()))
    return lambda: detector.predict(now)


def frouros(reference: dict[str, Any], live: dict[str, Any]) -> Callable[[], object]:
    from frouros.detectors.data_drift import KSTest

    detectors = {name: KSTest() for name in reference}
    for name, detector in detectors.items():
        detector.fit(X=reference[name])
    return lambda: [detector.compare(X=live[name]) for name, detector in detectors.items()]


CONTESTANTS = {
    contestant.__name__: contestant
    for contestant in (
        numpy_sort,
        scipy_loop,
        evidently_default,
        evidently_ks,
        nannyml,
        nannyml_wasserstein,
        alibi_detect,
        frouros,
    )
}


def measure(prepare: Callable[[dict[str, Any], dict[str, Any]], Callable[[], object]], features: int, rows: int) -> str:
    """Run a contestant on one core and return what it took, as JSON; what it prepares beforehand is not timed."""
    os.sched_setaffinity(0, {0})
    work = prepare(*tables(features, rows))
    before = _peak_mib()
    seconds = [_seconds(work)]
    while len(seconds) < REPEATS and seconds[0] < LONG_SECONDS:
        seconds.append(_seconds(work))
    return json.dumps({"seconds": min(seconds), "mib": _peak_mib() - before})


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(measure(CONTESTANTS[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])))
