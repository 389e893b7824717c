"""Live performance of a version over time as a page."""
