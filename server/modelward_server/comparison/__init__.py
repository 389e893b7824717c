"""Comparison of versions: their metrics, the significance of differences, and benchmarks."""
