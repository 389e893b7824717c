"""A pickled model that does what the first value of its rows tells it to, as a defective one may."""

import pickle
from pathlib import Path

ANSWER, RAISE, EXIT, HANG, ALLOCATE, NONSENSE, HUGE, FORGE, FLOOD, SLOW, GROW, PRIORITY = range(12)
"""What the first value of the first row means: 0 is to answer with the sum of each row."""

SOURCE = """
import os, time
import numpy as np

def predict(self, rows):
    rows = np.asarray(rows)
    told = int(rows[0, 0])
    if told == 1:
        raise ValueError("as it was told")
    if told == 2:
        os._exit(7)
    if told == 3:
        time.sleep(600)
    if told == 4:
        return np.ones(1 << 40)
    if told == 5:
        return np.zeros(len(rows) + 1)
    if told == 6:
        return np.full(len(rows), 1e300)
    if told == 7:
        os.write(0, bytes(32))  # The header of an answer without content, before the true one.
    if told == 8:
        os.write(0, bytes([255]) * (16 << 20))
    if told == 9:
        time.sleep(len(rows) / 100)
    if told == 10:
        self.kept = np.ones(48 << 20)  # 384 MiB
    if told == 11:
        return np.full(len(rows), float(os.getpriority(os.PRIO_PROCESS, 0)))
    return rows.sum(axis=1)

made = type("Obedient", (), {"predict": predict})()
"""


class _Made:
    def __init__(self, load_seconds: float) -> None:
        self._source = f"{SOURCE}\ntime.sleep({load_seconds})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (f"(lambda names: (exec({self._source!r}, names), names['made'])[1])(dict())",)


def obedient_model(folder: Path, load_seconds: float = 0.0) -> Path:
    """Return the file of the pickled model, which takes so long to load."""
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(_Made(load_seconds)))
    return path
