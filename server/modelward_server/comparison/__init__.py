"""Which version is better, and is it luck: the metrics, the statistics and the processes that run models."""
