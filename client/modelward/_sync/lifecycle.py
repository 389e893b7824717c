# Derived from modelward/_async/lifecycle.py by client/unasync.py: change that one.
"""Client methods of the registry: register, read, list, download and load."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask

from modelward._coerce import AnyVersion, as_ref, as_stage
from modelward._inventory import changed_fields
from modelward._sync.uploading import Uploading
from modelward._transfers import IncomingFile, check_room, holds, inside
from modelward.errors import ModelwardError
from modelward.inventory import Inventory, Lineage
from modelward.lifecycle import (
    ArtifactFile,
    MetricRange,
    Model,
    ModelVersion,
    Stage,
)
from modelward.paging import Pager
from modelward.shared import model_files
from modelward.shared.convert.common import ref_to_proto, stage_to_proto, time_to_proto
from modelward.shared.convert.inventory import inventory_to_proto, lineage_to_proto
from modelward.shared.convert.lifecycle import (
    metric_range_to_proto,
    model_from_proto,
    version_from_proto,
)
from modelward.shared.manifest import check_manifest
from modelward.shared.retry import Attempts
from modelward.v1 import common_pb2
from modelward.v1 import lifecycle_pb2 as pb

if TYPE_CHECKING:  # It imports numpy, which takes as long as the rest of the package.
    from modelward.formats.predictor import Predictor

PAGE_SIZE = 200


class Lifecycle(Uploading):
    """Models, versions and their files."""

    def create_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        inventory: Inventory | None = None,
    ) -> Model:
        """Create a model without versions; `register` also does this for a new model.

        Args:
            name: the model's name, of at most 128 letters, digits, dots, hyphens and underscores; it is unique.
            description: its purpose.
            tags: free labels, as text.
            inventory: what the inventory states of it: owners, purpose, tier, scope and more.

        Returns:
            The model.

        Raises:
            ModelExists: the name is taken.
            InvalidField: the name is empty, too long or contains a character that is not allowed; or the inventory
                names a model that does not exist.
        """
        stated = inventory_to_proto(inventory) if inventory else None
        request = pb.CreateModelRequest(model=name, description=description, tags=tags or {}, inventory=stated)
        return model_from_proto((self._call(self._lifecycle.CreateModel, request)).model)

    def get_model(self, name: str) -> Model:
        """Return a model.

        Args:
            name: the model's name.

        Returns:
            The model as it is now.

        Raises:
            ModelNotFound: there is no model with this name.
        """
        return model_from_proto((self._call(self._lifecycle.GetModel, pb.GetModelRequest(model=name))).model)

    def list_models(
        self,
        *,
        name_prefix: str = "",
        stages: Sequence[Stage | str] = (),
        tags: Mapping[str, str] | None = None,
        owner: str = "",
        tier: int | None = None,
        desk: str = "",
    ) -> Pager[Model]:
        """List the models that meet every condition, by name.

        Args:
            name_prefix: only models whose name begins with this; all when empty.
            stages: only models with a version in one of these; all when empty.
            tags: only models with all of these tags.
            owner: only models that this person or team owns; all when empty.
            tier: only models of this tier, from 1 to 4; None for all.
            desk: only models whose scope has this desk; all when empty.

        Returns:
            The models; their pages are fetched as they are needed.

        Raises:
            InvalidField: there is no stage with this name, or the prefix cannot begin a name.
        """
        request = pb.ListModelsRequest(
            name_prefix=name_prefix,
            stages=_stages(stages),
            tags=tags or {},
            owner=owner,
            tier=tier or 0,
            desk=desk,
            page_size=PAGE_SIZE,
        )
        return self._list(self._lifecycle.ListModels, request, "models", model_from_proto)

    def update_model(
        self,
        name: str,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        inventory: Inventory | Mapping[str, Any] | None = None,
        etag: str = "",
    ) -> Model:
        """Replace a model's description, tags or inventory; None leaves them unchanged.

        Args:
            name: the model's name.
            description: the new description.
            tags: the new tags, in place of all former ones.
            inventory: the new inventory, in place of the former one; or a mapping of the fields to change to their new
                values, such as `{"tier": 2, "scope": {"desks": ["index"]}}`, which leaves the others unchanged.
            etag: the model's expected etag; empty accepts any.

        Returns:
            The changed model, with its new etag.

        Raises:
            ModelNotFound: there is no model with this name.
            EtagMismatch: it changed since `etag` was read.
            InvalidField: nothing is to be changed, or a tag or a field of the inventory is invalid; or a model on which
                it is to depend does not exist, or depends on it.

        Examples:
            >>> model = mw.update_model("spx-trend", inventory={"tier": 1, "owners": ["index desk"]})
            >>> model.inventory.tier
            1
        """
        stated, changed = changed_fields(Inventory, inventory, "inventory")
        request = pb.UpdateModelRequest(
            model=name,
            description=description or "",
            tags=tags or {},
            inventory=inventory_to_proto(stated) if changed else None,
            update_mask=_mask(description, tags, changed),
            etag=etag,
        )
        return model_from_proto((self._call(self._lifecycle.UpdateModel, request)).model)

    def get_version(self, version: AnyVersion) -> ModelVersion:
        """Return a version.

        Args:
            version: the version, such as `"spx-trend/3"`.

        Returns:
            The version as it is now.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
        """
        request = pb.GetModelVersionRequest(version=ref_to_proto(as_ref(version)))
        return version_from_proto((self._call(self._lifecycle.GetModelVersion, request)).version)

    def list_versions(
        self,
        model: str = "",
        *,
        name_prefix: str = "",
        stages: Sequence[Stage | str] = (),
        tags: Mapping[str, str] | None = None,
        metrics: Sequence[MetricRange] = (),
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Pager[ModelVersion]:
        """List the versions that meet every condition: by model, the highest number first.

        Args:
            model: only versions of this model; of all models when empty.
            name_prefix: only versions of models whose name begins with this.
            stages: only versions in one of these; all when empty.
            tags: only versions with all of these tags.
            metrics: only versions whose metrics are in all of these ranges.
            created_after: only versions registered at this time or later.
            created_before: only versions registered before this time.

        Returns:
            The versions; their pages are fetched as they are needed.

        Raises:
            ModelNotFound: there is no such model.
            InvalidField: a range or a time is invalid.

        Examples:
            >>> good = mw.list_versions("spx-trend", metrics=[MetricRange("accuracy", at_least=0.55)])
            >>> [str(version) for version in good]
            ['spx-trend/2']
        """
        request = pb.ListModelVersionsRequest(
            model=model,
            name_prefix=name_prefix,
            stages=_stages(stages),
            tags=tags or {},
            metrics=map(metric_range_to_proto, metrics),
            created_after=time_to_proto(created_after),
            created_before=time_to_proto(created_before),
            page_size=PAGE_SIZE,
        )
        return self._list(self._lifecycle.ListModelVersions, request, "versions", version_from_proto)

    def update_version(
        self,
        version: AnyVersion,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        lineage: Lineage | Mapping[str, Any] | None = None,
        etag: str = "",
    ) -> ModelVersion:
        """Replace a version's description, tags or lineage; None leaves them unchanged.

        Args:
            version: the version, such as `"spx-trend/3"`.
            description: the new description.
            tags: the new tags, in place of all former ones.
            lineage: the new lineage, in place of the former one; or a mapping of the fields to change to their new
                values, such as `{"weaknesses": ["not tried in a crisis"]}`, which leaves the others unchanged.
            etag: the version's expected etag; empty accepts any.

        Returns:
            The changed version, with its new etag.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            EtagMismatch: it changed since `etag` was read.
            InvalidField: nothing is to be changed, or a tag or a field of the lineage is invalid.
        """
        known, changed = changed_fields(Lineage, lineage, "lineage")
        request = pb.UpdateModelVersionRequest(
            version=ref_to_proto(as_ref(version)),
            description=description or "",
            tags=tags or {},
            lineage=lineage_to_proto(known) if changed else None,
            update_mask=_mask(description, tags, changed),
            etag=etag,
        )
        return version_from_proto((self._call(self._lifecycle.UpdateModelVersion, request)).version)

    def log_metrics(
        self, version: AnyVersion, metrics: Mapping[str, float], *, measured_at: datetime | None = None
    ) -> ModelVersion:
        """Log metrics measured after training; for each key the value measured last is the version's.

        Args:
            version: the version, such as `"spx-trend/3"`.
            metrics: values by metric name, each finite.
            measured_at: time of the measurement, with its time zone; now by default.

        Returns:
            The version with its current metrics.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            InvalidField: a value is NaN or infinite.
        """
        request = pb.LogMetricsRequest(
            version=ref_to_proto(as_ref(version)), metrics=metrics, measured_at=time_to_proto(measured_at)
        )
        return version_from_proto((self._call(self._lifecycle.LogMetrics, request)).version)

    def download(self, version: AnyVersion, to: Path | str, *, timeout: float | None = None) -> Path:
        """Download a version's files to a folder, and verify each by its SHA-256.

        Existing files are not downloaded again, and partial ones, as `<path>.part`, are resumed.

        Args:
            version: the version, such as `"spx-trend/3"`.
            to: the folder; it is created when it does not exist.
            timeout: seconds for all files together; those of the client by default. It ends earlier when no byte
                arrives for as long as the client's timeout.

        Returns:
            The folder.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            InvalidField: a file's name, or a link in the folder, leads out of the folder.
            DigestMismatch: the downloaded bytes, or the manifest, do not match the registered digests.
            ArtifactDeleted: the files were deleted.
            ResourceExhausted: the disk has no room for the files.
        """
        resolved = version if isinstance(version, ModelVersion) else self.get_version(version)
        attempts = Attempts(self._timeout if timeout is None else timeout, patience=self._timeout)
        self._download(resolved, Path(to), attempts)
        return Path(to)

    def _download(self, version: ModelVersion, to: Path, attempts: Attempts, *, private: bool = False) -> None:
        check_manifest(version)
        check_room(to, version.files)
        # Sorted, so that `x` comes before an `x.part` that is not its partial file.
        for file in sorted(version.files, key=lambda file: file.path):
            path = inside(to, file.path)
            if not holds(path, file):
                with IncomingFile(path, file, private=private) as incoming:
                    self._fetch(version, file, incoming, attempts)

    def _fetch(self, version: ModelVersion, file: ArtifactFile, incoming: IncomingFile, attempts: Attempts) -> None:
        """Receive the rest of a file; resume after an interruption."""
        incoming.take_held()
        request = pb.DownloadArtifactRequest(version=ref_to_proto(version.ref), path=file.path)
        while not incoming.done:
            request.offset = incoming.received
            parts = self._receive(self._lifecycle.DownloadArtifact, request, attempts.remaining(), self._timeout)
            try:
                with closing(parts):
                    for part in parts:
                        incoming.write(part.chunk)
                        if part.chunk:
                            attempts.progressed()
                        attempts.check_patience()
                incoming.finish()
            except ModelwardError as error:
                time.sleep(attempts.pause_before_next(error))

    def load(
        self,
        version: AnyVersion,
        *,
        trusted: Sequence[str] = (),
        allow_pickle: bool = False,
        timeout: float | None = None,
    ) -> Predictor:
        """Download a version, verify it, and load its model.

        Args:
            version: the version, such as `"spx-trend/3"`.
            trusted: names of further types that a skops file may contain, such as `my_package.MyTransformer`.
            allow_pickle: also load `model.pkl`. A pickle runs its author's code in this process: only allow it for
                authors whom you would let use this machine.
            timeout: seconds for the download, as for `download`.

        Returns:
            The same object for every format: `predict` and, where there are some, `predict_proba` take a table of any
            kind and find its columns by name; `signature`, `classes`, and `raw`, the object of the model's own library.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            ArtifactDeleted: its files were deleted.
            ModelFailed: its files contain no model of their format.
            FormatNotExecutable: loading this format would run its author's code, or the format is unknown, or the file
                contains types that are not trusted; the message names them.

        Examples:
            >>> model = mw.load("spx-trend/1")
            >>> model.predict([[0.5, -1.0]]).shape
            (1,)
        """
        resolved = version if isinstance(version, ModelVersion) else self.get_version(version)
        with TemporaryDirectory() as folder:
            self.download(resolved, folder, timeout=timeout)
            return model_files.load(resolved, Path(folder), trusted, allow_pickle)


def _stages(stages: Sequence[Stage | str]) -> list[common_pb2.Stage.ValueType]:
    return [stage_to_proto(as_stage(stage)) for stage in stages]


def _mask(description: str | None, tags: Mapping[str, str] | None, others: Sequence[str]) -> FieldMask:
    given = {"description": description, "tags": tags}
    return FieldMask(paths=[*(name for name, value in given.items() if value is not None), *others])
