"""The mirror that shows the ledger's state in MLflow for data scientists.

It works from state, not from events: it compares with what MLflow has and adds what is missing. So it is idempotent,
and completes what an interrupted call left unfinished.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from modelward.lifecycle import Model, ModelVersion, Stage
from modelward_server.mlflow.client import MlflowConnection, answering, global_uri, load_mlflow
from modelward_server.mlflow.details import NOTHING, Details
from modelward_server.mlflow.logged_models import LoggedModels, id_of_source
from modelward_server.mlflow.run_data import Facts, show_data_sets, show_facts, verdict_tags
from modelward_server.storage.verification import read_verified

VERSION_TAG = "modelward.version"
STAGE_TAG = "modelward.stage"
CREATOR_TAG = "modelward.created_by"
ORIGIN_TAG = "modelward.origin"
"""The version of another registry that the version was imported from, and the SHA-256 of the evidence pack."""
LOG_TAG = "mlflow.modelward.log"
LOG_FILE = "training.log"
TAGS_TAG = "mlflow.modelward.tags"
"""Keys of our tags. MLflow's pages hide tags that begin with `mlflow.`, as intended for the last two."""
ALIASED = (Stage.STAGING, Stage.PRODUCTION)
"""Stages that are also shown as an alias: an alias points to one version, and clients resolve these stages."""
TEXT_LIMIT = 5000
"""Maximum length of a description in MLflow's database."""


@dataclass(frozen=True)
class Mirrored:
    """Where MLflow shows a version."""

    run_id: str
    mlflow_version: str


class MlflowMirror:
    """Shows versions in one MLflow.

    Args:
        tracking_uri: URI of its tracking server or database, which is also its registry.
        artifact_root: folder for the files of new experiments; None leaves the choice to MLflow.
    """

    def __init__(self, tracking_uri: str, artifact_root: str | None) -> None:
        self._uri = tracking_uri
        self._connection = MlflowConnection(tracking_uri)
        self._artifact_root = artifact_root

    def sync(
        self,
        version: ModelVersion,
        model: Model,
        files: Mapping[str, Path],
        holders: Sequence[ModelVersion],
        log: Path | None = None,
        details: Details = NOTHING,
    ) -> Mirrored:
        """Make MLflow show the current state of a version; idempotent.

        Args:
            files: the path of each file's content, by its path in the artifact.
            holders: the versions of the model that the stages' aliases point to.
            log: output of the retraining job that created the version; shown as the run's `training.log`.
            details: what else is shown.

        Raises:
            StoreUnavailable: MLflow does not answer, or refuses.
            DigestMismatch: a file or the log is missing or damaged; it is not shown.
        """
        with answering():
            models = LoggedModels(self._client)
            experiment_id = self._experiment(model)
            aliases = self._show_model(model)
            known = self._find_run(experiment_id, version)
            run = known or self._create_run(experiment_id, version)
            registered = self._registered(version)
            run_id = run.info.run_id
            if registered:  # It has its files; those of an imported one are where MLflow had them before.
                logged = models.own(id_of_source(registered), version)
            else:
                logged = models.find(experiment_id, version, run_id) if known else None
                logged = logged or models.create(experiment_id, version, run_id, files, details.example)
            if logged:
                models.describe(logged, version, run_id, details.example)
            self._show_run_data(run, version, details, logged.model_id if logged else None)
            if log is not None:
                self._show_log(run, log)
            number = (
                str(registered.version) if registered else self._register(version, details, run_id, logged.model_id)
            )
            self._show_registered(registered, version, details)
            self._show_aliases(version, number, holders, aliases)
            if logged:
                models.delete_files(logged, version)
            return Mirrored(run_id, number)

    @property
    def _client(self) -> Any:
        return self._connection.client

    def _experiment(self, model: Model) -> str:
        """Return the experiment of a model, which has the model's name."""
        experiment = self._client.get_experiment_by_name(model.name)
        if experiment is None:
            location = None if self._artifact_root is None else f"{self._artifact_root}/{model.name}"
            kind = {"mlflow.experimentKind": "custom_model_development"}  # Its pages then show training, not chats.
            return str(self._client.create_experiment(model.name, artifact_location=location, tags=kind))
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _show_model(self, model: Model) -> Mapping[str, str]:
        """Show a model, and return its aliases: the number of a version for each."""
        description = model.description[:TEXT_LIMIT]
        registered = next(iter(self._client.search_registered_models(f"name='{model.name}'")), None)
        if registered is None:
            self._client.create_registered_model(model.name, _owned(model.tags), description)
            return {}
        if (registered.description or "") != description:
            self._client.update_registered_model(model.name, description)
        wanted = _owned(model.tags)
        for key, value in _missing(wanted, registered.tags):
            self._client.set_registered_model_tag(model.name, key, value)
        for key in _dropped(wanted, registered.tags):
            self._client.delete_registered_model_tag(model.name, key)
        return {alias: str(number) for alias, number in registered.aliases.items()}

    def _find_run(self, experiment_id: str, version: ModelVersion) -> Any:
        """Return the run of a version: the known one, or the one with its tag; None without."""
        by_tag = f"tags.`{VERSION_TAG}` = '{version.version}'"
        everything = load_mlflow().entities.ViewType.ALL
        runs = self._known_run(version.run_id) or self._client.search_runs([experiment_id], by_tag, everything, 1)
        if runs and runs[0].info.lifecycle_stage == "deleted":
            self._client.restore_run(runs[0].info.run_id)
        return runs[0] if runs else None

    def _create_run(self, experiment_id: str, version: ModelVersion) -> Any:
        tags = {
            VERSION_TAG: str(version.version),
            "mlflow.user": version.created_by,
            "mlflow.source.name": "modelward",
            "mlflow.source.git.commit": version.lineage.code.commit,
            "mlflow.source.git.repoURL": version.lineage.code.repository,
        }
        name = f"{version.model} v{version.version}"
        told = {key: value for key, value in tags.items() if value}
        return self._client.create_run(experiment_id, _millis(version.created_at), told, name)

    def _known_run(self, run_id: str) -> list[Any]:
        """Return the run with that id in a list, which is empty when it was deleted permanently."""
        try:
            return [self._client.get_run(run_id)] if run_id else []
        except load_mlflow().exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # An outage is no reason for another run.
                raise
            return []

    def _show_run_data(self, run: Any, version: ModelVersion, details: Details, model_id: str | None) -> None:
        """Log the params, tags, metrics and data sets of the version that the run lacks, and end the run."""
        shown, run_id = run.data, run.info.run_id
        tags = _tags(version, details) | {"mlflow.note.content": version.description[:TEXT_LIMIT]}
        facts = Facts(_missing(version.params, shown.params), _missing(tags, shown.tags))
        show_facts(self._client, run, version, details, model_id, facts)
        for key in _dropped(tags, shown.tags):
            self._client.delete_tag(run_id, key)
        show_data_sets(self._client, run, details.references)
        if run.info.status == "RUNNING":
            self._client.set_terminated(run_id, "FINISHED", _millis(version.created_at))

    def _show_log(self, run: Any, log: Path) -> None:
        """Add a log to the run's artifacts, unless it is there."""
        if run.data.tags.get(LOG_TAG) == log.name:
            return
        self._client.log_text(run.info.run_id, read_verified(log).decode(), LOG_FILE)
        self._client.set_tag(run.info.run_id, LOG_TAG, log.name)  # Last: with this tag the log counts as complete.

    def _registered(self, version: ModelVersion) -> Any:
        """Return the version in MLflow's registry, by its number if known, or by its tag; None without."""
        by_tag = f"name='{version.model}' and tags.`{VERSION_TAG}` = '{version.version}'"
        known = self._numbered(version.model, version.mlflow_version)
        return known or next(iter(self._client.search_model_versions(by_tag)), None)

    def _numbered(self, model: str, number: str) -> Any:
        """Return the version with that number in MLflow's registry; None when it is unknown, or gone from there."""
        query = f"name='{model}' and version_number = {number}"
        return next(iter(self._client.search_model_versions(query)), None) if number else None

    def _register(self, version: ModelVersion, details: Details, run_id: str, model_id: str) -> str:
        """Register a version and return its number, which MLflow assigns."""
        description = version.description[:TEXT_LIMIT]
        source = f"models:/{model_id}"
        with global_uri(self._uri):  # A local database resolves the source there, whatever the client's URI is.
            created = self._client.create_model_version(
                version.model, source, run_id, _tags(version, details), description=description, model_id=model_id
            )
        return str(created.version)

    def _show_registered(self, registered: Any, version: ModelVersion, details: Details) -> None:
        """Update the description and tags of a version that was registered before."""
        if registered is None:
            return
        description, tags = version.description[:TEXT_LIMIT], _tags(version, details)
        if (registered.description or "") != description:
            self._client.update_model_version(version.model, registered.version, description)
        for key, value in _missing(tags, registered.tags):
            self._client.set_model_version_tag(version.model, registered.version, key, value)
        for key in _dropped(tags, registered.tags):
            self._client.delete_model_version_tag(version.model, registered.version, key)

    def _show_aliases(
        self, version: ModelVersion, number: str, holders: Sequence[ModelVersion], aliases: Mapping[str, str]
    ) -> None:
        """Point each stage's alias to the version that holds the stage, which need not be this one."""
        numbers = {held.stage: number if held.ref == version.ref else held.mlflow_version for held in holders}
        for stage in ALIASED:
            shown, wanted = aliases.get(stage, ""), numbers.get(stage, "")
            if wanted != shown and self._numbered(version.model, wanted):
                self._client.set_registered_model_alias(version.model, stage, wanted)
            elif shown == number != wanted:
                self._client.delete_registered_model_alias(version.model, stage)


def _tags(version: ModelVersion, details: Details) -> dict[str, str]:
    own = {VERSION_TAG: str(version.version), STAGE_TAG: version.stage, CREATOR_TAG: version.created_by}
    if version.origin:
        own[ORIGIN_TAG] = f"{version.origin.ref} {version.origin.pack_sha256}"
    return _owned(version.tags) | own | verdict_tags(details)


def _owned(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags with a list of their keys, from which a later sync derives removed ones."""
    return {**tags, TAGS_TAG: json.dumps(sorted(tags))}


def _dropped(wanted: Mapping[str, str], shown: Mapping[str, str]) -> list[str]:
    """Return the keys that an earlier sync set and that were removed since; tags set by others are kept."""
    try:
        before = json.loads(shown.get(TAGS_TAG, "[]"))
    except ValueError:
        before = []  # The tag was overwritten in MLflow.
    return [key for key in before if key in shown and key not in wanted] if isinstance(before, list) else []


def _missing(wanted: Mapping[str, str], shown: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(key, str(value)) for key, value in wanted.items() if shown.get(key) != str(value)]


def _millis(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
