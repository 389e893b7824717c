"""MLflow integration, and the only package that imports MLflow: mirror, import, and reading of artifacts."""
