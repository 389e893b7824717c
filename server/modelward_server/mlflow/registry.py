"""MLflow's registry: compared with the ledger, and read for import."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelward.lifecycle import ModelVersion, Stage
from modelward_server.mlflow.client import MlflowConnection, answering, first_line
from modelward_server.mlflow.mirror import ALIASED, STAGE_TAG
from modelward_server.runtime.retries import log_once

STAGE_OF_MLFLOW = {"Production": Stage.PRODUCTION, "Staging": Stage.STAGING, "Archived": Stage.ARCHIVED}
"""MLflow's own stages, which older registries use in place of aliases."""

SAME_MEANING = {"champion": Stage.PRODUCTION, "challenger": Stage.STAGING}
"""Names in MLflow's own guides for the aliases of stages."""
PAGE_SIZE = 1000
"""Maximum page size of MLflow for models."""


@dataclass(frozen=True)
class ForeignVersion:
    """A version of MLflow's registry."""

    model: str
    mlflow_version: str
    stage: Stage
    description: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    """As stored in MLflow: a run that diverged often has one that is not finite."""
    run_id: str
    uri: str
    """URI of its files, for a download by MLflow."""
    aliases: frozenset[str] = frozenset()
    """The aliases that point to it."""
    problem: str = ""
    """Why MLflow's data of it cannot be read."""


class MlflowRegistry:
    """Reads the registry of one MLflow."""

    def __init__(self, tracking_uri: str) -> None:
        self._connection = MlflowConnection(tracking_uri)

    @property
    def _client(self) -> Any:
        return self._connection.client

    def differences(self, version: ModelVersion, holders: Sequence[ModelVersion]) -> list[str]:
        """Describe where MLflow does not show the current state of a version.

        Args:
            holders: the versions of the model that the stages' aliases point to.

        Raises:
            StoreUnavailable: MLflow does not answer.
        """
        with answering():
            if not version.mlflow_version:
                return ["MLflow has not shown it yet"]
            return [*self._run_differences(version), *self._registry_differences(version, holders)]

    def _run_differences(self, version: ModelVersion) -> Iterator[str]:
        run = self._find_run(version.run_id)
        if run is None:
            yield f"the run {version.run_id} is gone"
            return
        if run.info.lifecycle_stage == "deleted":
            yield f"the run {version.run_id} is deleted"
        yield from _lacking("param", version.params, run.data.params)
        yield from _lacking("metric", version.metrics, run.data.metrics)
        yield from _lacking("tag", version.tags, run.data.tags)

    def _find_run(self, run_id: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _registry_differences(self, version: ModelVersion, holders: Sequence[ModelVersion]) -> Iterator[str]:
        number = version.mlflow_version
        by_number = f"name='{version.model}' and version_number = {number}"
        registered = next(iter(self._client.search_model_versions(by_number)), None)
        if registered is None:
            yield f"version {number} is gone from the registry"
            return
        if registered.tags.get(STAGE_TAG) != version.stage:
            yield f"the registry's tag says {registered.tags.get(STAGE_TAG)}, not {version.stage}"
        aliases = self._client.get_registered_model(version.model).aliases
        for stage in ALIASED:
            holds = str(aliases.get(stage, "")) == number
            should_hold = any(held.ref == version.ref and held.stage is stage for held in holders)
            if should_hold and not holds:
                yield f"the alias {stage} does not point to it"
            elif holds and not should_hold:
                yield f"the alias {stage} points to it"

    def versions(self, model: str) -> Iterator[ForeignVersion]:
        """Yield every version of the registry, or of one registered model, oldest first.

        Raises:
            StoreUnavailable: MLflow does not answer.
        """
        with answering():
            only = f"name={_quoted(model)}" if model else None
            for registered in _all(self._client.search_registered_models, only):
                yield from _one_production(self._versions_of(registered))

    def _versions_of(self, registered: Any) -> list[ForeignVersion]:
        """Read the versions of a model; a failure of one model does not hide the others."""
        try:
            unordered = list(_all(self._client.search_model_versions, f"name={_quoted(registered.name)}"))
        except Exception as error:
            self.check()
            log_once("reading MLflow's model", registered.name, error)
            return [_unreadable(registered.name, "0", error)]
        ordered = sorted(unordered, key=lambda version: int(version.version))
        return [self._readable(version, registered.aliases) for version in ordered]

    def retire_aliases(self, model: str) -> None:
        """Remove the aliases of a model that mean the same as a shown stage's alias.

        Raises:
            StoreUnavailable: MLflow does not answer.
        """
        with answering():
            aliases = self._client.get_registered_model(model).aliases
            for name, stage in SAME_MEANING.items():
                if name in aliases and stage in aliases:
                    self._client.delete_registered_model_alias(model, name)

    def _readable(self, version: Any, aliases: Mapping[str, Any]) -> ForeignVersion:
        """Read a version; a failure of one does not hide the others, but an unavailable MLflow is reported as such."""
        try:
            return self._foreign(version, aliases)
        except Exception as error:
            self.check()
            log_once("reading MLflow's version", f"{version.name}/{version.version}", error)
            return _unreadable(version.name, str(version.version), error)

    def check(self) -> None:
        """Check that MLflow answers, by a minimal request.

        Raises:
            StoreUnavailable: it does not answer.
        """
        with answering():
            self._client.search_registered_models(max_results=1)

    def _foreign(self, version: Any, aliases: Mapping[str, Any]) -> ForeignVersion:
        run = self._find_run(version.run_id) if version.run_id else None
        return ForeignVersion(
            model=version.name,
            mlflow_version=str(version.version),
            stage=_stage(version, aliases),
            description=version.description or "",
            tags={key: value for key, value in version.tags.items() if not key.startswith(("mlflow.", "modelward."))},
            params=dict(run.data.params) if run else {},
            metrics=dict(run.data.metrics) if run else {},
            run_id=version.run_id or "",
            uri=f"models:/{version.name}/{version.version}",
            aliases=_names(version, aliases),
        )


def _stage(version: Any, aliases: Mapping[str, Any]) -> Stage:
    """Return the stage by MLflow's aliases, by the name `champion` of its own guides, or by its older stages."""
    meant = {SAME_MEANING.get(alias, alias) for alias in _names(version, aliases)}
    for stage in (Stage.PRODUCTION, Stage.STAGING):
        if stage in meant:
            return stage
    return STAGE_OF_MLFLOW.get(str(version.current_stage), Stage.TRAINING)


def _names(version: Any, aliases: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(alias for alias, number in aliases.items() if str(number) == str(version.version))


def _unreadable(model: str, number: str, error: Exception) -> ForeignVersion:
    problem = f"MLflow cannot read it: {first_line(error)}"
    return ForeignVersion(model, number, Stage.TRAINING, "", {}, {}, {}, "", "", problem=problem)


def _all(search: Callable[..., Any], query: str | None) -> Iterator[Any]:
    """Yield the results of a search in MLflow, page by page."""
    token: str | None = None
    while token != "":
        page = search(query, max_results=PAGE_SIZE, page_token=token)
        yield from page
        token = page.token or ""


def _quoted(name: str) -> str:
    """Quote a name for a filter, which has two kinds of quotes and no way to escape one."""
    return f'"{name}"' if "'" in name else f"'{name}'"


def _one_production(versions: Sequence[ForeignVersion]) -> Iterator[ForeignVersion]:
    """Keep only the newest version of a model in production; MLflow's older stages allow several."""
    newest = max((i for i, version in enumerate(versions) if version.stage is Stage.PRODUCTION), default=-1)
    for i, version in enumerate(versions):
        superseded = version.stage is Stage.PRODUCTION and i != newest
        yield replace(version, stage=Stage.ARCHIVED) if superseded else version


def _lacking(kind: str, wanted: Mapping[str, Any], shown: Mapping[str, Any]) -> Iterator[str]:
    for key, value in wanted.items():
        if key not in shown:
            yield f"the run lacks the {kind} {key}"
        elif shown[key] != value:
            yield f"the run's {kind} {key} is {shown[key]}, not {value}"
