"""Where things are kept: the SQL ledger, the blobs, MLflow."""
