"""The rules of the registry: models, versions, stages, history."""
