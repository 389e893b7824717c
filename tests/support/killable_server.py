"""The ordinary server, that dies at a step which a test names.

The step is found by wrapping the function that does it; the server's own code knows nothing of this.
"""

import itertools
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from alembic.ddl.sqlite import SQLiteImpl
from sqlalchemy.orm import Session

from modelward_server import app
from modelward_server.lifecycle import promotion, versions
from modelward_server.mlflow.client import load_mlflow
from modelward_server.mlflow.mirror_task import MirrorTask
from modelward_server.rpc import idempotency, registry
from modelward_server.storage import audit, unit_of_work
from modelward_server.storage.incoming_blob import IncomingBlob
from tests.support.forked_server import ForkedServer, nothing

MLFLOW = load_mlflow().MlflowClient


@dataclass(frozen=True)
class Step:
    """A moment in the server's work: before or after a call of one of its functions, the first one or a later one."""

    owner: Any
    function: str
    before: bool = False
    nth: int = 1


_COMMIT = {
    "request remembered": Step(idempotency, "_run_once"),
    "committed": Step(unit_of_work.UnitOfWork, "_write"),
    "mirror and followers told": Step(app.App, "_wake"),
}
REGISTER = {
    "blob complete": Step(IncomingBlob, "finish", before=True),
    "blob kept": Step(IncomingBlob, "finish"),
    "model added": Step(versions, "add_model"),
    "version added": Step(versions, "_record_metrics", before=True),
    "registration audited": Step(audit, "append"),
    "reference set": Step(registry, "set_reference"),
    **_COMMIT,
}
"""The steps of registering the first version of a model, with its reference."""
PROMOTE = {
    "archiving audited": Step(audit, "append"),
    "predecessor archived": Step(promotion, "move"),
    "promotion audited": Step(audit, "append", nth=2),
    "promoted": Step(promotion, "move", nth=2),
    **_COMMIT,
}
"""The steps of a promotion into production that displaces another version."""
TABLES_HALF_MADE = "MLflow's tables half made"
MIRROR_REGISTRATION = {
    "experiment created": Step(MLFLOW, "create_experiment"),
    "registered model created": Step(MLFLOW, "create_registered_model"),
    "run created": Step(MLFLOW, "create_run"),
    "logged model created": Step(MLFLOW, "create_logged_model"),
    "files logged": Step(MLFLOW, "log_model_artifacts"),
    "logged model ready": Step(MLFLOW, "finalize_logged_model"),
    "logged model complete": Step(MLFLOW, "set_logged_model_tags"),
    "metrics logged": Step(MLFLOW, "log_batch"),
    "run ended": Step(MLFLOW, "set_terminated"),
    "model version created": Step(MLFLOW, "create_model_version"),
    "registration shown": Step(MirrorTask, "_note", before=True),
    "registration noted": Step(MirrorTask, "_note"),
}
"""The steps by which MLflow is made to show the first version of a model."""
MIRROR_PROMOTION = {
    "stage tag set": Step(MLFLOW, "set_model_version_tag"),
    "alias set": Step(MLFLOW, "set_registered_model_alias"),
    "alias taken": Step(MLFLOW, "delete_registered_model_alias"),
    "first version shown": Step(MirrorTask, "_note", before=True),
    "second version shown": Step(MirrorTask, "_note", before=True, nth=2),
    "promotion noted": Step(MirrorTask, "_note", nth=2),
}
"""The steps by which MLflow is made to show a promotion."""
DRILL = {"drill committed": Step(unit_of_work.UnitOfWork, "_write_urgently")}
"""The step of a drill, which is urgent as a halt is, before its watchers are told."""
STEPS = (
    {TABLES_HALF_MADE: Step(SQLiteImpl, "rename_table", before=True)}
    | REGISTER
    | PROMOTE
    | MIRROR_REGISTRATION
    | MIRROR_PROMOTION
    | DRILL
)


class KillableServer(ForkedServer):
    """A server that kills itself when it comes to a step of `STEPS`."""

    has_mlflow_tables = False

    def __init__(self, data_dir: Path, log: Path, *flags: str, step: str = "") -> None:
        super().__init__(data_dir, log, *flags, prepare=partial(_kill_at, step) if step else nothing)

    def wait_until_killed(self) -> None:
        """Wait until it has killed itself."""
        assert self.wait() == -signal.SIGKILL, self.log.read_text()


def _kill_at(step: str) -> None:
    deadly = STEPS[step]
    setattr(deadly.owner, deadly.function, _deadly(getattr(deadly.owner, deadly.function), deadly))


def _deadly(function: Callable[..., Any], step: Step) -> Callable[..., Any]:
    numbers = itertools.count(1)

    def call(*args: Any, **kwargs: Any) -> Any:
        last = next(numbers) == step.nth
        if last and step.before:
            _die(args)
        result = function(*args, **kwargs)
        if last:
            _die(args)
        return result

    return call


def _die(args: Sequence[Any]) -> None:
    """End this process at once, when the database has heard all that was to be said to it."""
    for session in args:
        if isinstance(session, Session):
            session.flush()
    os.kill(os.getpid(), signal.SIGKILL)
