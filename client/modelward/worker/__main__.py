"""The process that runs a Python function for a job: `python -m modelward.worker module:function`."""

import os
import sys
from pathlib import Path

from modelward.worker.child import ACTOR, SERVER, call, find

sys.path.insert(0, str(Path.cwd()))
if sys.argv[2:] == ["--check"]:
    find(sys.argv[1])
else:
    call(sys.argv[1], sys.stdin.read(), os.environ[SERVER], os.environ[ACTOR])
