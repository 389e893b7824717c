"""Names of RPCs in the errors of the server as the methods of the SDK that call them."""

import re
from dataclasses import replace

from modelward.errors import FieldViolation, GatesFailed, InvalidField, ModelwardError

METHODS = {
    "CompleteJob": "complete_job",
    "DetectDriftStream": "detect_drift",
    "LeaseJob": "lease_job",
    "ListAbTests": "list_ab_tests",
    "ListApprovals": "list_approvals",
    "ListComparisons": "list_comparisons",
    "ListDriftReports": "list_drift_reports",
    "ListDrills": "list_drills",
    "ListDueModels": "list_due",
    "ListFindings": "list_findings",
    "ListJobs": "list_jobs",
    "ListModelVersions": "list_versions",
    "ListSchedules": "list_schedules",
    "PreviewSchedule": "preview_schedule",
    "RecordOutcomes": "record_outcomes",
    "RequestApproval": "request_approval",
    "RequestRetraining": "request_retraining",
    "ScoreStream": "score_stream",
    "SetReference": "set_reference",
    "UpdateModel": "update_model",
    "UpdateSchedule": "update_schedule",
    "UploadBlobs": "register",
    "WatchModels": "watch",
}
"""The methods for the RPCs that the errors of the server name."""
NAMES = re.compile(rf"(?<![/.\w])({'|'.join(METHODS)})\b")


def name_methods(error: ModelwardError) -> ModelwardError:
    """Let an error of the server name methods of the SDK in place of RPCs.

    Args:
        error: which is changed, and returned.
    """
    error.message = _named(error.message)
    error.args = (error.message,)
    if isinstance(error, InvalidField):
        error.violations = tuple(FieldViolation(one.field, _named(one.description)) for one in error.violations)
    if isinstance(error, GatesFailed):
        error.gates = tuple(replace(gate, evidence=_named(gate.evidence)) for gate in error.gates)
    return error


def _named(text: str) -> str:
    return NAMES.sub(lambda found: METHODS[found[0]], text)
