"""Storage: the SQL ledger and its tables, blobs, and the reading of data sources."""
