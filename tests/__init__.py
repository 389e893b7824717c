"""Tests, in the order of the packages that they are about; `support` holds what they share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # Before OpenMP looks: the tests themselves keep every core busy.
