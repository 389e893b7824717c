"""Confine this process and say what took hold: `python -m modelward_server.sandbox.probe QUESTION`."""

import importlib
import json
import sys
from pathlib import Path

from modelward_server.sandbox.confinement import Budget, confine


def main() -> None:
    asked = json.loads(sys.argv[1])
    budget = Budget(memory_bytes=256 << 20, mapped_bytes=0, cpu_seconds=60)
    layers = confine(budget, list(map(Path, asked["readable"])), asked["user"])
    importlib.import_module("numpy")  # A user who cannot read Python's files is of no use.
    print(json.dumps(layers.as_dict()))


if __name__ == "__main__":
    main()
