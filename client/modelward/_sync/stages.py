# Derived from modelward/_async/stages.py by client/unasync.py: change that one.
"""Client methods for stages: transitions, halts, policies, history and resolution."""

import math
import time
from collections.abc import Iterator, Mapping
from datetime import datetime

from modelward._argument_types import SequenceNumber
from modelward._coerce import AnyVersion, as_ref, as_stage, check_one_selector
from modelward._sync.connection import Connection
from modelward.errors import Unavailable
from modelward.lifecycle import (
    AuditRecord,
    AuditVerification,
    HaltResult,
    Model,
    ModelVersion,
    ProductionVersion,
    PromotionPolicy,
    Resolved,
    RollbackResult,
    Stage,
    Transition,
    TransitionResult,
)
from modelward.paging import Pager
from modelward.shared.convert.common import ref_to_proto, stage_to_proto, time_to_proto
from modelward.shared.convert.events import production_version_from_proto
from modelward.shared.convert.lifecycle import (
    halt_result_from_proto,
    model_from_proto,
    rollback_result_from_proto,
    transition_from_proto,
    transition_result_from_proto,
    version_from_proto,
)
from modelward.shared.convert.policy import (
    audit_record_from_proto,
    policy_from_proto,
    policy_to_proto,
    verification_from_proto,
)
from modelward.shared.retry import Attempts
from modelward.v1 import lifecycle_pb2 as pb

PAGE_SIZE = 200
MAX_SEQUENCE = 2**63 - 1


class Stages(Connection):
    """Stage transitions, their history, and the resolution of versions."""

    def promote(
        self,
        version: AnyVersion,
        *,
        to: Stage | str,
        reason: str = "",
        etag: str = "",
        model_etag: str = "",
        dry_run: bool = False,
        request_id: str = "",
    ) -> TransitionResult:
        """Move a version to another stage; on promotion to production, the version there is archived atomically.

        Args:
            version: the version, such as `"spx-trend/3"`.
            to: the stage, such as `"staging"`.
            reason: the reason, for the audit log.
            etag: the version's expected etag; empty accepts any.
            model_etag: the model's expected etag, so that no other version leaves production than the one that was
                read; empty accepts any.
            dry_run: change nothing, and only return or raise what the transition would.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The version in its new stage, the version that left production for it, and the gates that were evaluated.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            IllegalTransition: the stage machine does not allow the transition.
            GatesFailed: the promotion policy rejects it; `gates` has each failed gate with its evidence.
            EtagMismatch: it, or the model, changed since its etag was read.
            InvalidField: there is no stage with this name.

        Examples:
            >>> moved = mw.promote("spx-trend/2", to="production", reason="better on the last quarter")
            >>> print(moved.version.stage, moved.archived)
            production spx-trend/1
        """
        request = pb.TransitionModelVersionRequest(
            version=ref_to_proto(as_ref(version)),
            to=stage_to_proto(as_stage(to)),
            reason=reason,
            etag=etag,
            model_etag=model_etag,
            dry_run=dry_run,
            request_id=request_id,
        )
        return transition_result_from_proto(self._call(self._lifecycle.TransitionModelVersion, request))

    def rollback(
        self, model: str, *, reason: str = "", etag: str = "", dry_run: bool = False, request_id: str = ""
    ) -> RollbackResult:
        """Roll back to the previous production version, and archive the current one.

        Repeated rollbacks go back further and further. Promotion gates are not evaluated.

        Args:
            model: the model's name.
            reason: the reason, for the audit log.
            etag: the model's expected etag; empty accepts any.
            dry_run: change nothing, and only return or raise what the rollback would.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The version that is in production again, and the version that left it.

        Raises:
            ModelNotFound: there is no such model.
            NoPredecessor: there is no earlier production version.
            EtagMismatch: the model changed since `etag` was read.
        """
        request = pb.RollbackModelRequest(model=model, reason=reason, etag=etag, dry_run=dry_run, request_id=request_id)
        return rollback_result_from_proto(self._call(self._lifecycle.RollbackModel, request))

    def halt(self, model: str, *, reason: str, request_id: str = "") -> Model:
        """Halt a model immediately: it no longer resolves until it is resumed.

        Args:
            model: the model's name.
            reason: the reason, for the audit log and for everybody who resolves the model.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The model with its halt.

        Raises:
            ModelNotFound: there is no such model.
            InvalidField: the reason is blank.
        """
        request = pb.HaltModelRequest(model=model, reason=reason, request_id=request_id)
        return model_from_proto((self._call(self._lifecycle.HaltModel, request)).model)

    def halt_many(
        self,
        *,
        prefix: str = "",
        tags: Mapping[str, str] | None = None,
        all_models: bool = False,
        reason: str,
        dry_run: bool = False,
        request_id: str = "",
    ) -> HaltResult:
        """Halt many models at once, all of them or none: those that meet every condition.

        A client that is limited to some models halts only those that it may reach. A model that is halted already is
        left as it is, with its own reason.

        Args:
            prefix: only models whose name begins with this.
            tags: only models with all of these tags.
            all_models: halt every model, instead of giving conditions.
            reason: the reason, for the audit log and for everybody who resolves one of the models.
            dry_run: change nothing, and only return what would be halted.
            request_id: as for `halt`.

        Returns:
            The models that were halted now, none if none matches, and those that were halted before.

        Raises:
            InvalidField: no condition is given, or one together with `all_models`; or the reason is blank, or the
                prefix cannot begin a name.

        Examples:
            >>> result = mw.halt_many(prefix="spx-trend", reason="exchange outage", dry_run=True)
            >>> [model.name for model in result.halted]
            ['spx-trend']
        """
        request = pb.HaltModelsRequest(
            name_prefix=prefix, tags=tags or {}, all=all_models, reason=reason, dry_run=dry_run, request_id=request_id
        )
        return halt_result_from_proto(self._call(self._lifecycle.HaltModels, request))

    def resume(self, model: str, *, reason: str = "", etag: str = "", request_id: str = "") -> Model:
        """End a halt.

        Args:
            model: the model's name.
            reason: the reason, for the audit log.
            etag: the model's expected etag, so that no later halt ends than the one that was read; empty accepts any.
            request_id: as for `halt`.

        Returns:
            The model without the halt.

        Raises:
            ModelNotFound: there is no such model.
            EtagMismatch: the model changed since `etag` was read, such as by another halt.
        """
        request = pb.ResumeModelRequest(model=model, reason=reason, etag=etag, request_id=request_id)
        return model_from_proto((self._call(self._lifecycle.ResumeModel, request)).model)

    def delete_artifact(self, version: AnyVersion, *, reason: str, etag: str = "") -> ModelVersion:
        """Delete the files of an archived version to free their space; its record and digests remain.

        Args:
            version: the version, such as `"spx-trend/3"`.
            reason: the reason, for the audit log.
            etag: the version's expected etag; empty accepts any.

        Returns:
            The version with the record of the deletion.

        Raises:
            ModelNotFound, VersionNotFound: the version does not exist.
            IllegalTransition: it is not archived.
            EtagMismatch: it changed since `etag` was read.
            InvalidField: the reason is blank.
        """
        request = pb.DeleteArtifactRequest(version=ref_to_proto(as_ref(version)), reason=reason, etag=etag)
        return version_from_proto((self._call(self._lifecycle.DeleteArtifact, request)).version)

    def get_promotion_policy(self, model: str) -> PromotionPolicy:
        """Return a model's promotion policy.

        Args:
            model: the model's name.

        Returns:
            The policy; one without conditions when none was set.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.GetPromotionPolicyRequest(model=model)
        return policy_from_proto((self._call(self._lifecycle.GetPromotionPolicy, request)).policy)

    def set_promotion_policy(self, policy: PromotionPolicy) -> PromotionPolicy:
        """Replace a model's promotion policy: the conditions for going into production.

        Args:
            policy: the whole policy; an empty `etag` replaces whatever is there.

        Returns:
            The policy, with its new etag.

        Raises:
            ModelNotFound: there is no such model.
            EtagMismatch: the policy changed since its etag was read.
            InvalidField: a bound is not finite, or a range or freeze is empty.

        Examples:
            >>> accurate = (MetricRange("accuracy", at_least=0.55),)
            >>> policy = mw.set_promotion_policy(PromotionPolicy("spx-trend", metrics=accurate))
            >>> moved = mw.promote("spx-trend/2", to="production", dry_run=True, reason="it passed its tests")
            >>> print(moved.gates[-1].evidence)
            accuracy 0.58 is in range
        """
        request = pb.SetPromotionPolicyRequest(policy=policy_to_proto(policy))
        return policy_from_proto((self._call(self._lifecycle.SetPromotionPolicy, request)).policy)

    def resolve(
        self,
        model: str,
        *,
        stage: Stage | str | None = None,
        version: int | None = None,
        alias: str | None = None,
        as_of: datetime | None = None,
    ) -> Resolved:
        """Resolve a model to a version: the one in production, or that of a stage, a number or an alias.

        Args:
            model: the model's name.
            stage: the stage whose version is returned; production by default.
            version: the version's number; at most one of `stage`, `version` and `alias` is given.
            alias: `"production"`, `"staging"`, or `"latest"` for the highest number.
            as_of: a past time to answer for, with its time zone; now by default.

        Returns:
            The version, and the position in the order of changes at which this holds.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            NothingResolved: no version holds that stage or alias.
            ModelHalted: the model is halted.
            InvalidField: more than one of `stage`, `version` and `alias` is given.

        Examples:
            >>> print((mw.resolve("spx-trend")).version)
            spx-trend/1
        """
        check_one_selector(stage, version, alias)
        request = pb.ResolveModelRequest(model=model, as_of=time_to_proto(as_of))
        if version is not None:
            request.version = version
        if alias is not None:
            request.alias = alias
        if stage is not None:
            request.stage = stage_to_proto(as_stage(stage))
        answer = self._call(self._lifecycle.ResolveModel, request)
        return Resolved(version_from_proto(answer.version), answer.sequence)

    def list_transitions(
        self,
        model: str = "",
        *,
        version: int = 0,
        moved_after: datetime | None = None,
        moved_before: datetime | None = None,
    ) -> Pager[Transition]:
        """List stage transitions, the newest first: the version, the actor and the reason.

        Args:
            model: only transitions of this model; of all models when empty.
            version: only transitions of the model's version with this number; of all when 0.
            moved_after: only transitions at this time or later.
            moved_before: only transitions before this time.

        Returns:
            The transitions; their pages are fetched as they are needed.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
        """
        request = pb.ListTransitionsRequest(
            model=model,
            version=version,
            moved_after=time_to_proto(moved_after),
            moved_before=time_to_proto(moved_before),
            page_size=PAGE_SIZE,
        )
        return self._list(self._lifecycle.ListTransitions, request, "transitions", transition_from_proto)

    def list_production_versions(
        self, *, as_of: datetime | None = None, name_prefix: str = ""
    ) -> Pager[ProductionVersion]:
        """List what was in production of each model at a time, by the models' names.

        Args:
            as_of: the time; now when None.
            name_prefix: only models whose names have this prefix; all when empty.

        Returns:
            An item for each model that existed then; their pages are fetched as they are needed.

        Raises:
            InvalidField: the prefix is too long, or the time is in the future.

        Examples:
            >>> for one in mw.list_production_versions(name_prefix="spx-trend"):
            ...     print(one.model, one.promotion.version.version if one.promotion else "nothing")
            spx-trend 1
        """
        request = pb.ListProductionVersionsRequest(
            as_of=time_to_proto(as_of), name_prefix=name_prefix, page_size=PAGE_SIZE
        )
        method = self._lifecycle.ListProductionVersions
        return self._list(method, request, "production_versions", production_version_from_proto)

    def verify_audit_log(
        self, *, from_sequence: SequenceNumber = 0, to_sequence: SequenceNumber = 0, expected_hash: str = ""
    ) -> AuditVerification:
        """Verify that no record of the audit log was changed, removed or moved, and that all rows match the log.

        Models, stages, files, policies, halts, schedules, jobs, A/B tests and grants are compared with the records when
        the whole log is verified.

        Args:
            from_sequence: the first record to verify; 0 for the beginning.
            to_sequence: the last one; 0 for the end.
            expected_hash: the hash of a record, obtained earlier and stored elsewhere, that must be among them; this
                detects truncation of the log.

        Returns:
            What is wrong, and the last record's number and hash, to be stored elsewhere.

        Raises:
            InvalidField: the range is empty, or the hash is not 64 hexadecimal digits.

        Examples:
            >>> log = mw.verify_audit_log()
            >>> (mw.verify_audit_log(expected_hash=log.head_hash)).intact
            True
        """
        request = pb.VerifyAuditLogRequest(
            from_sequence=from_sequence, to_sequence=to_sequence, expected_hash=expected_hash
        )
        return verification_from_proto(self._call(self._lifecycle.VerifyAuditLog, request))

    def export_audit_log(
        self, *, from_sequence: SequenceNumber = 0, to_sequence: SequenceNumber = 0
    ) -> Iterator[AuditRecord]:
        """Iterate over the records of the audit log, in order.

        Args:
            from_sequence: the first record; 0 for the beginning.
            to_sequence: the last one; 0 for the end.

        Returns:
            An iteration over the records, received as it proceeds; after an interruption it continues.
        """
        request = pb.ExportAuditLogRequest(from_sequence=from_sequence, to_sequence=to_sequence)
        attempts = Attempts(math.inf, patience=self._timeout)
        while True:
            parts = self._receive(self._lifecycle.ExportAuditLog, request, math.inf, self._timeout)
            try:
                for part in parts:
                    for record in part.records:
                        request.from_sequence = min(record.sequence + 1, MAX_SEQUENCE)
                        yield audit_record_from_proto(record)
                        attempts.progressed()
                    attempts.check_patience()
                return
            except Unavailable as error:
                time.sleep(attempts.pause_before_next(error))
