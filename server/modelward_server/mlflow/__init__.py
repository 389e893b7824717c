"""Everything that imports MLflow: the mirror of the registry, the import from it, and reading its files."""
