"""The process that runs a Python function for a job: `python -m modelward.worker module:function`."""

import os
import sys
from pathlib import Path

from modelward.worker.child import ACTOR, SERVER, call

sys.path.insert(0, str(Path.cwd()))
call(sys.argv[1], sys.stdin.read(), os.environ[SERVER], os.environ[ACTOR])
