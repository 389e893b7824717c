"""The lifecycle rules of the registry: models, versions, stages and their history."""
