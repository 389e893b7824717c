"""Hashes of numbers: the same on every machine and in every release, and spread evenly."""

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

GAMMA = np.uint64(0x9E37_79B9_7F4A_7C15)
"""The increment of SplitMix64: the fractional part of the golden ratio, times 2 ** 64."""


def finalized(bits: Hashes) -> Hashes:
    """Return the finalizer of SplitMix64 of 64-bit numbers, one to one; that of 0 is 0.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    mixed = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
