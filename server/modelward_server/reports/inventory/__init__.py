"""The inventory report: every model that was in production in a year, as a page and as CSV."""
