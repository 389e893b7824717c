"""MLflow's logged models, which hold the files of versions and their description."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelward.lifecycle import ModelVersion
from modelward_server.mlflow.client import load_mlflow
from modelward_server.mlflow.mlmodel import describe_model, description_digest, has_own_description
from modelward_server.runtime.temporary_folders import temporary_folder
from modelward_server.storage.verification import copy_verified

DIGEST_TAG = "modelward.digest"
DESCRIPTION_TAG = "modelward.description"
"""Keys of the tags that say which files and which description a logged model has."""
DELETED_TAG = "modelward.files_deleted"
"""Key of the tag that says since when a logged model has no files any more."""
SOURCE = "models:/"
"""What begins the source of a registered version that is a logged model."""


class LoggedModels:
    """The logged models of one MLflow.

    Args:
        client: its client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def find(self, experiment_id: str, version: ModelVersion, run_id: str) -> Any:
        """Return the logged model of a run, with all its files; None, and no incomplete one either, without."""
        logged = self._client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")
        complete = next((model for model in logged if _is_complete(model, version)), None)
        if complete is None:
            for incomplete in logged:
                self._client.delete_logged_model(incomplete.model_id)
        return complete

    def create(
        self, experiment_id: str, version: ModelVersion, run_id: str, files: Mapping[str, Path], example: bytes
    ) -> Any:
        """Create the logged model of a run, with all its files and their description, and return it."""
        from mlflow.entities import LoggedModelOutput

        name = f"{version.model}-v{version.version}".replace(".", "-")  # MLflow refuses a dot here.
        params = {key: value for key, value in version.params.items() if len(value) <= 250}
        tags = {DIGEST_TAG: version.digest, DESCRIPTION_TAG: description_digest(version, example)}
        logged = self._client.create_logged_model(experiment_id, name, run_id, tags, params)
        with temporary_folder() as folder:
            for path, blob in files.items():
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                copy_verified(blob, target)
            describe_model(version, Path(folder), run_id, logged.model_id, example)
            self._client.log_model_artifacts(logged.model_id, folder)
        self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        # Last: only with this status the model counts as complete.
        return self._client.finalize_logged_model(logged.model_id, "READY")

    def own(self, model_id: str, version: ModelVersion) -> Any:
        """Return a logged model that was made of a version's files; None if it was made by others, or is gone."""
        try:
            logged = self._client.get_logged_model(model_id) if model_id else None
        except load_mlflow().exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return logged if logged and _is_complete(logged, version) else None

    def describe(self, logged: Any, version: ModelVersion, run_id: str, example: bytes) -> None:
        """Write the description of a logged model of a version, unless it is up to date.

        Args:
            logged: from `own`.
            version: the version.
            run_id: of its run.
            example: rows of its reference as an Arrow stream; empty if there are none.
        """
        wanted = description_digest(version, example)
        if has_own_description(version) or version.artifact_deletion or logged.tags.get(DESCRIPTION_TAG) == wanted:
            return
        with temporary_folder() as folder:
            describe_model(version, Path(folder), run_id, logged.model_id, example)
            self._client.log_model_artifacts(logged.model_id, folder)
        self._client.set_logged_model_tags(logged.model_id, {DESCRIPTION_TAG: wanted})  # Last: with it they are there.

    def delete_files(self, logged: Any, version: ModelVersion) -> None:
        """Delete the files of a logged model that were deleted here, unless they are; its record stays.

        Args:
            logged: from `own`.
            version: the version.
        """
        deletion = version.artifact_deletion
        if deletion is None or DELETED_TAG in logged.tags:
            return
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        there: Any = get_artifact_repository(logged.artifact_location, self._client.tracking_uri)
        there.delete_artifacts()
        # Last: with it they are gone.
        self._client.set_logged_model_tags(logged.model_id, {DELETED_TAG: deletion.deleted_at.isoformat()})


def _is_complete(logged: Any, version: ModelVersion) -> bool:
    """Return whether a logged model has all files of a version."""
    return bool(logged.tags.get(DIGEST_TAG) == version.digest and logged.status == "READY")


def id_of_source(registered: Any) -> str:
    """Return the id of the logged model of a registered version, of which not every registry says more than its source.

    It is empty where the source is none.
    """
    source = str(registered.source)
    return source.removeprefix(SOURCE) if source.startswith(SOURCE) and source.count("/") == 1 else ""
