"""Client methods that register versions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from modelward._async.uploading import AsyncUploading
from modelward._backtest import INLINE_BYTES, trials_to_proto
from modelward._coerce import as_bundle, as_names, as_training_window
from modelward._lineage import collected_lineage
from modelward._reference import ReferenceArguments, checked_reference, inline_reference, save_reference
from modelward._transfers import MESSAGE_BYTES
from modelward.backtest import ValidationFold
from modelward.inventory import Lineage
from modelward.lifecycle import ModelFormat, ModelVersion, TrainingWindow
from modelward.retraining import Job
from modelward.shared import model_files
from modelward.shared.convert.backtest import fold_to_proto
from modelward.shared.convert.common import file_to_proto
from modelward.shared.convert.inventory import lineage_to_proto
from modelward.shared.convert.lifecycle import format_to_proto, training_to_proto, version_from_proto
from modelward.shared.convert.signature import signature_to_proto
from modelward.signature import Signature
from modelward.v1 import drift_pb2
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import ModelVersionRef


class AsyncRegistering(AsyncUploading):
    """Registration of versions: files, metadata and reference in one request."""

    async def register(
        self,
        name: str,
        model: object,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
        reference: Any = None,
        ignore: Collection[str] = (),
        time: Any = None,
        group: Any = None,
        signature: Signature | None = None,
        model_signature: Path | bytes | None = None,
        trials: Any = None,
        folds: Sequence[ValidationFold] = (),
        training_window: tuple[Any, Any] | TrainingWindow | None = None,
        horizon: timedelta = timedelta(0),
        lineage: Lineage | None = None,
        collect_lineage: bool = True,
        job: Job | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> ModelVersion:
        """Register the next version of a model, in the training stage.

        Args:
            name: the model's name; a model that does not exist is created.
            model: a scikit-learn estimator (saved by skops), an ONNX model, or a path to a file or folder.
            metrics: measures of its quality by name; finite values.
            params: its training parameters as text; an estimator's own by default.
            tags: free labels, as text.
            description: what distinguishes this version.
            reference: its training data of shape (rows, features), the reference for drift detection: a frame, a
                mapping of columns, an Arrow table or an array, or the URI of Parquet files that the server may read.
                None, NaN, NaT and NA are missing values. It is registered with the version or not at all; None stores
                no reference.
            ignore: columns of `reference` that are not features, such as "symbol", whatever their values.
            time: the time of each row of `reference`, a column's name or values, as for `set_reference`.
            group: the group of each row of `reference`, as for `set_reference`.
            signature: the columns that the model takes, what it predicts, and its classes; taken from the object by
                default, completed by the reference, and found by the server for files.
            model_signature: the bundle of an OpenSSF model signature over the files of `model`, or its file; the server
                verifies it, and refuses the version otherwise. By default the file `model.sig` of a folder, if the
                server trusts any signer.
            trials: the configurations that were tried before this one was chosen: their number, or their returns as a
                table of shape (periods, configurations) in the order of time, the URI of Parquet files, or a
                `BacktestTrials`. The version then has `overfitting`, and its Sharpe ratio counts as the best of so
                many.
            folds: the folds of its cross-validation.
            training_window: the first and the last time of its training data: dates (the last one is the whole day),
                datetimes (without a zone in UTC), ISO 8601 text, also of a month or a year such as `"2023"`, or
                integers. A comparison says when its test data begin before. By default those of `reference`, if it has
                times.
            horizon: how long after a row its label is known; with `training_window` of times.
            lineage: where it comes from, and what is known of it.
            collect_lineage: whether to find what `lineage` leaves empty: the commit of the working directory's git
                repository, its address without credentials and whether tracked files differ; the releases of Python
                and of the packages that the model needs, and the platform; the SHA-256 of `reference` as it is sent.
                What cannot be found is left out.
            job: the retraining job that produced the version, as returned by `lease_job`: only its holder may register
                it, and a job has one version.
            request_id: a UUID that you choose, with which the same call can be repeated after a crash: it returns
                the version of the first one. The model must then be the same files. A new one by default.
            timeout: seconds for each of the calls involved; those of the client by default.

        Returns:
            The version, whose files are stored durably.

        Raises:
            InvalidField: the name, a metric, the model or the reference is invalid, or the signature over the files is
                not verified.
            JobNotHeld: the job's lease has ended.
            JobHasVersion: a version was already registered for the job.
            RequestIdReused: `request_id` was used before with other content.

        Examples:
            >>> version = await mw.register("spx-trend", model, metrics={"accuracy": 0.58}, reference=X)
            >>> print(version, version.stage, version.references)
            spx-trend/3 training ('default',)
        """
        checked = checked_reference(reference, as_names(ignore, "ignore"), time, group)
        tried, trained = trials_to_proto(trials), _trained_on(training_window, horizon)
        with model_files.saved(model) as saved:
            await self._upload(saved, timeout)
            request = pb.RegisterModelVersionRequest(
                model=name,
                manifest=pb.ArtifactManifest(files=map(file_to_proto, saved.files)),
                format=format_to_proto(saved.format_name),
                format_name=saved.format_name,
                framework=saved.framework,
                description=description,
                tags=tags or {},
                params=saved.params if params is None else params,
                metrics=metrics or {},
                signature=signature_to_proto(signature or saved.signature),
                model_signature=as_bundle(model_signature),
                job_id=job.job_id if job else "",
                fence=job.fence if job else 0,
                trials=tried,
                folds=map(fold_to_proto, folds),
                training_window=trained,
                lineage=lineage_to_proto(lineage) if lineage else None,
                request_id=request_id,
            )
        return await self._register(request, checked, collect_lineage, timeout)

    async def register_files(
        self,
        name: str,
        model: object,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
        signature: Signature | None = None,
        model_signature: Path | bytes | None = None,
        trials: Any = None,
        folds: Sequence[ValidationFold] = (),
        training_window: tuple[Any, Any] | TrainingWindow | None = None,
        horizon: timedelta = timedelta(0),
        lineage: Lineage | None = None,
        collect_lineage: bool = True,
        job: Job | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> ModelVersion:
        """Register a version as `register` does, without reference data.

        Args:
            name: the model's name; a model that does not exist is created.
            model: a scikit-learn estimator, an ONNX model, or a path to a file or folder.
            metrics: measures of its quality by name; finite values.
            params: its training parameters as text; an estimator's own by default.
            tags: free labels, as text.
            description: what distinguishes this version.
            signature: the columns that it takes, what it predicts, and its classes; taken from the object by default.
            model_signature: the bundle of a signature over the files, as for `register`.
            trials: the configurations that were tried, as for `register`.
            folds: the folds of its cross-validation.
            training_window: the first and the last time of its training data, as for `register`.
            horizon: how long after a row its label is known, as for `register`.
            lineage: where it comes from, and what is known of it.
            collect_lineage: whether to find what `lineage` leaves empty, as for `register`.
            job: the retraining job that produced the version, as returned by `lease_job`.
            request_id: a UUID that you choose, as for `register`.
            timeout: seconds for each of the calls involved; those of the client by default.

        Returns:
            The version, whose files are stored durably.

        Raises:
            InvalidField: the name, a metric or the model is invalid.
            JobNotHeld: the job's lease has ended.
            JobHasVersion: a version was already registered for the job.
            RequestIdReused: `request_id` was used before with other content.
        """
        return await self.register(
            name,
            model,
            metrics=metrics,
            params=params,
            tags=tags,
            description=description,
            signature=signature,
            model_signature=model_signature,
            trials=trials,
            folds=folds,
            training_window=training_window,
            horizon=horizon,
            lineage=lineage,
            collect_lineage=collect_lineage,
            job=job,
            request_id=request_id,
            timeout=timeout,
        )

    async def register_uri(
        self,
        name: str,
        source_uri: str,
        *,
        format: ModelFormat | None = None,  # noqa: A002 - the contract's name
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
        reference: Any = None,
        ignore: Collection[str] = (),
        time: Any = None,
        group: Any = None,
        signature: Signature | None = None,
        model_signature: Path | bytes | None = None,
        trials: Any = None,
        folds: Sequence[ValidationFold] = (),
        training_window: tuple[Any, Any] | TrainingWindow | None = None,
        horizon: timedelta = timedelta(0),
        lineage: Lineage | None = None,
        collect_lineage: bool = True,
        job: Job | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> ModelVersion:
        """Register a version from files that the server itself reads.

        Args:
            name: the model's name; a model that does not exist is created.
            source_uri: `runs:/<id>/model` or `models:/<name>/<version>` of the server's MLflow, or a location that its
                operator allows, such as `file:///srv/models/spx` or `s3://bucket/models/spx`.
            format: the format of the model; None lets the server recognise it by the content of the files.
            metrics: measures of its quality by name; finite values.
            params: its training parameters, as text.
            tags: free labels, as text.
            description: what distinguishes this version.
            reference: its training data as for `register`: a table, or the URI of Parquet files.
            ignore: columns of `reference` that are not features, whatever their values.
            time: the time of each row of `reference`, a column's name or values, as for `set_reference`.
            group: the group of each row of `reference`, as for `set_reference`.
            signature: the columns that it takes, what it predicts, and its classes; found by the server by default.
            model_signature: the bundle of a signature over the files, as for `register`.
            trials: the configurations that were tried, as for `register`.
            folds: the folds of its cross-validation.
            training_window: the first and the last time of its training data, as for `register`.
            horizon: how long after a row its label is known, as for `register`.
            lineage: where it comes from, and what is known of it.
            collect_lineage: whether to find what `lineage` leaves empty, as for `register`.
            job: the retraining job that produced the version, as returned by `lease_job`.
            request_id: a UUID that you choose, as for `register`.
            timeout: seconds for each of the calls involved; those of the client by default.

        Returns:
            The version, whose files the server has copied.

        Raises:
            SourceNotAllowed: the operator does not allow the server to read there.
            InvalidField: there are no files, or another argument is invalid.
            JobNotHeld: the job's lease has ended.
            JobHasVersion: a version was already registered for the job.
            RequestIdReused: `request_id` was used before with other content.
        """
        checked = checked_reference(reference, as_names(ignore, "ignore"), time, group)
        request = pb.RegisterModelVersionRequest(
            model=name,
            source_uri=source_uri,
            format=format_to_proto(format),
            description=description,
            tags=tags or {},
            params=params or {},
            metrics=metrics or {},
            signature=signature_to_proto(signature),
            model_signature=as_bundle(model_signature),
            job_id=job.job_id if job else "",
            fence=job.fence if job else 0,
            trials=trials_to_proto(trials),
            folds=map(fold_to_proto, folds),
            training_window=_trained_on(training_window, horizon),
            lineage=lineage_to_proto(lineage) if lineage else None,
            request_id=request_id,
        )
        return await self._register(request, checked, collect_lineage, timeout)

    async def _register(
        self,
        request: pb.RegisterModelVersionRequest,
        reference: ReferenceArguments,
        collect_lineage: bool,
        timeout: float | None,
    ) -> ModelVersion:
        """Register a version together with its reference and its trials."""
        if request.trials.returns.ByteSize() > INLINE_BYTES:
            await self._upload_tables([request.trials.returns], timeout)
        await self._add_reference(request, reference, timeout)
        if collect_lineage:
            found = await asyncio.to_thread(collected_lineage, request.format_name, request.reference.data)
            request.collected_lineage.CopyFrom(lineage_to_proto(found))
        answer = await self._call(self._lifecycle.RegisterModelVersion, request, timeout)
        if request.HasField("reference") and not answer.version.references:
            return await self._set_reference_afterwards(answer.version, request.reference, timeout)
        return version_from_proto(answer.version)

    async def _add_reference(
        self,
        request: pb.RegisterModelVersionRequest,
        reference: ReferenceArguments,
        timeout: float | None,
    ) -> None:
        """Put the reference's data, or the digest under which they are uploaded, into the request."""
        columns = reference.data
        if columns is None:
            return
        request.reference.ignored_columns.extend(reference.ignored)
        request.reference.time_column, request.reference.group_column = reference.time, reference.group
        data = request.reference.data
        if isinstance(columns, str):
            data.uri = columns
        elif (inline := inline_reference(columns)) is None:
            with TemporaryDirectory() as folder:
                saved = await asyncio.to_thread(save_reference, columns, folder)
                await self._upload(saved, timeout)
            data.blob = saved.files[0].sha256
        else:
            data.CopyFrom(inline)
            if request.ByteSize() > MESSAGE_BYTES:
                await self._upload_tables([data], timeout)

    async def _set_reference_afterwards(
        self, version: pb.ModelVersion, reference: pb.ReferenceData, timeout: float | None
    ) -> ModelVersion:
        """Set the reference of a version at a server that is too old to take both together."""
        ref = ModelVersionRef(model=version.model, version=version.version)
        header = drift_pb2.ReferenceHeader(
            version=ref,
            data=reference.data,
            ignored_columns=reference.ignored_columns,
            time_column=reference.time_column,
            group_column=reference.group_column,
        )
        await self._send(self._drift.SetReference, lambda: [drift_pb2.SetReferenceRequest(header=header)], timeout)
        answer = await self._call(self._lifecycle.GetModelVersion, pb.GetModelVersionRequest(version=ref))
        return version_from_proto(answer.version)


def _trained_on(window: object, horizon: timedelta) -> pb.TrainingWindow | None:
    given = as_training_window(window, horizon)
    return training_to_proto(given) if given else None
