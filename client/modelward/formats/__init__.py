"""Formats of models: a module for each, behind one protocol that client, server and MLflow's mirror share."""

from modelward.formats.base import Format, MlflowFlavor
from modelward.formats.registry import format_of_file, format_of_object, formats

__all__ = ["Format", "MlflowFlavor", "format_of_file", "format_of_object", "formats"]
