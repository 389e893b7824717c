"""Confine this process and report what took effect: `python -m modelward_server.sandbox.probe REQUEST`."""

import importlib
import json
import sys
from pathlib import Path

from modelward_server.sandbox.confinement import Budget, confine


def main() -> None:
    request = json.loads(sys.argv[1])
    budget = Budget(memory_bytes=256 << 20, mapped_bytes=0, cpu_seconds=60)
    layers = confine(budget, list(map(Path, request["readable"])), request["user"])
    importlib.import_module("numpy")  # Fails for a user who cannot read Python's files.
    print(json.dumps(layers.as_dict()))


if __name__ == "__main__":
    main()
