"""The false discovery rate over several tests.

Sources: Benjamini and Hochberg, "Controlling the false discovery rate", Journal of the Royal Statistical Society B 57
(1995), for tests that are independent or depend positively; Benjamini and Yekutieli, "The control of the false
discovery rate in multiple testing under dependency", Annals of Statistics 29 (2001), for any dependence.
"""

from collections.abc import Sequence

import numpy as np
import scipy


def false_discovery_adjusted(p_values: Sequence[float], dependent: bool) -> list[float]:
    """Return p-values adjusted for the false discovery rate, in the same order.

    Args:
        p_values: from 0 to 1, without NaN.
        dependent: whether the tests may depend on each other in any way: by Benjamini and Yekutieli, otherwise by
            Benjamini and Hochberg.
    """
    if not p_values:
        return []
    adjusted = scipy.stats.false_discovery_control(np.asarray(p_values, np.float64), method="by" if dependent else "bh")
    return [float(p) for p in adjusted]
