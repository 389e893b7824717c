"""Names of methods and arguments of the SDK in errors as the commands and options that do the same."""

import re

from modelward.errors import FieldViolation

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
OPTIONS = {"X": "DATA", "data": "DATA", "y": "--label", "training_window": "--trained-on"}
"""Arguments of commands and options with other names than the arguments of methods."""
NAMES = re.compile(rf"\b({'|'.join(COMMANDS)})\b")


def name_commands(text: str) -> str:
    """Return the text of an error with commands in place of methods of the SDK."""
    return NAMES.sub(lambda found: f"modelward {COMMANDS[found[0]]}", text)


def name_option(violation: FieldViolation) -> str:
    """Return the text of a violation, with an option in place of an argument of the SDK."""
    name = re.split(r"[.\[]", violation.field, maxsplit=1)[0]
    return f"{OPTIONS.get(name, name)}{str(violation).removeprefix(name)}"
