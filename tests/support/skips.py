"""Which tests may be skipped, and why; with `MODELWARD_TEST_SKIPS=listed` any other skip is a failure."""

import os

import pytest

LISTED = {
    # Some pairs of their parameters mean nothing.
    "tests/client/test_kinds.py::test_typed_columns_of_a_message_hold_the_same",
    "tests/drift/test_kinds.py::test_what_is_no_feature_is_refused_by_its_name",
    "tests/sandbox/test_confinement.py::test_an_odd_answer_is_the_failure_of_its_version",
    # It needs PyTorch, which is too large for the usual environment.
    "tests/client/test_onnx_export.py::test_a_module_of_pytorch_predicts_the_same_as_onnx",
    # These need what a container may not have: Chromium, SoftHSM, a disk to mount, a kernel with Landlock, toolchains.
    "tests/console/test_browser.py",
    "tests/evidence/test_pkcs11.py",
    "tests/sandbox/test_confinement.py",
    "tests/sandbox/test_server_killed.py",
    "tests/storage/test_failing_disk.py",
    "tests/system/test_base_install.py",
    "tests/system/test_version_ranges.py",
    "tests/system/test_full_disk.py",
    "tests/system/test_languages.py",
    "tests/system/test_outages.py",
}
"""Tests, or whole files, by their names."""


def fail_unlisted(report: pytest.TestReport) -> None:
    """Turn the skip of a test that is not listed into a failure, where everything is installed."""
    skipped = report.skipped and not hasattr(report, "wasxfail")
    test = report.nodeid.partition("[")[0]
    if skipped and _only_listed() and LISTED.isdisjoint({test, test.partition("::")[0]}):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"not listed in tests/support/skips.py: {reason}"


def _only_listed() -> bool:
    return os.environ.get("MODELWARD_TEST_SKIPS") == "listed"
