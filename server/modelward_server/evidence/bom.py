"""The bill of materials of a version, as a machine-learning component of CycloneDX 1.6.

The model card is written as JSON: the Python library of CycloneDX has none. https://cyclonedx.org/docs/1.6/json/
"""

from collections.abc import Iterator
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import modelward
from modelward.lifecycle import ModelVersion
from modelward.signature import Signature


def bill_of_materials(version: ModelVersion) -> dict[str, Any]:
    """Return the bill of materials of a version as JSON; the same version has the same serial number."""
    reference = f"{version.ref}@{version.digest}"
    component = {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": version.model,
        "version": str(version.version),
        "description": version.description,
        "hashes": [{"alg": "SHA-256", "content": version.digest}],
        "modelCard": _model_card(version),
        "properties": list(_properties(version)),
        "components": [_file(version, file.path, file.sha256) for file in version.files],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'modelward:{reference}')}",
        "version": 1,
        "metadata": {
            "timestamp": version.updated_at.isoformat(),
            "tools": {"components": [_tool()]},
            "component": component,
        },
    }


def _tool() -> dict[str, str]:
    return {"type": "application", "name": "modelward", "version": modelward.__version__}


def _model_card(version: ModelVersion) -> dict[str, Any]:
    signature = version.signature or Signature()
    task = "classification" if signature.classifies else "regression"
    card: dict[str, Any] = {
        "modelParameters": {
            **({"task": task} if version.signature else {}),
            "inputs": [{"format": f"{column.kind}: {column.name}"} for column in signature.inputs],
            "outputs": [{"format": f"{column.kind}: {column.name}"} for column in signature.outputs],
        }
    }
    metrics = [{"type": name, "value": repr(value)} for name, value in sorted(version.metrics.items())]
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return card


def _file(version: ModelVersion, path: str, sha256: str) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": sha256}]
    return {"type": "file", "bom-ref": f"{version.ref}@{version.digest}#{path}", "name": path, "hashes": hashes}


def _properties(version: ModelVersion) -> Iterator[dict[str, str]]:
    """Yield what the format has no field for, by names of our own."""
    facts = {"format": str(version.format), "framework": version.framework, "created_by": version.created_by}
    facts |= {"created_at": version.created_at.isoformat(), "stage": version.stage.value}
    if version.origin:
        facts |= {"origin": str(version.origin.ref), "origin_pack_sha256": version.origin.pack_sha256}
    facts |= {f"tag:{name}": value for name, value in version.tags.items()}
    facts |= {f"param:{name}": value for name, value in version.params.items()}
    yield from ({"name": f"modelward:{name}", "value": value} for name, value in sorted(facts.items()) if value)
