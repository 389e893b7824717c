"""Names of methods of the SDK in error messages as the commands that do the same."""

import re

COMMANDS = {
    "list_ab_tests": "ab list",
    "list_approvals": "approvals list",
    "list_comparisons": "comparisons",
    "list_drift_reports": "reports",
    "list_drills": "drills list",
    "list_due": "due",
    "list_findings": "findings list",
    "list_jobs": "jobs list",
    "list_schedules": "schedules",
    "list_versions": "versions",
    "preview_schedule": "schedule preview",
    "request_approval": "approvals request",
    "request_retraining": "jobs request",
    "update_model": "update",
}
NAMES = re.compile(rf"\b({'|'.join(COMMANDS)})\b")


def name_commands(text: str) -> str:
    """Return the text of an error with commands in place of methods of the SDK."""
    return NAMES.sub(lambda found: f"modelward {COMMANDS[found[0]]}", text)
