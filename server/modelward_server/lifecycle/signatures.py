"""Signatures of versions, checked against their references and completed by them."""

from collections.abc import Sequence
from dataclasses import replace

from modelward.drift import FeatureKind, FeatureProfile
from modelward.formats import formats
from modelward.lifecycle import TrialResult
from modelward.shared.json_values import to_json
from modelward.shared.signature_check import check_columns
from modelward.signature import ColumnKind, Signature
from modelward_server.lifecycle.repository import signature_of
from modelward_server.storage.tables import VersionRow

TRUTHS = {"true", "false"}
"""The categories of a column of booleans."""
BY_REFERENCE = "by_reference"
"""Where a stored signature says what of its inputs is the reference's, because the model does not know it."""
NOTHING, NAMES, INPUTS = "nothing", "names", "inputs"


def take_reference(row: VersionRow, features: Sequence[FeatureProfile], field: str) -> None:
    """Check that a version's new default reference has the columns of its model, and complete the signature.

    The version is tried again, with the rows of the reference.

    Args:
        row: the version.
        features: of the reference, in its order.
        field: the name of the data in the error.

    Raises:
        InvalidField: a column is missing, or there are more or fewer than a model without names takes.
    """
    own = _own_signature(row)
    names = [feature.name for feature in features]
    check_columns(own, names, field)
    known = Signature.of(names, kinds=[_kind_of(feature) for feature in features])
    by_reference = NOTHING if own.names else NAMES if own.inputs else INPUTS
    row.signature = to_json(own.completed(known)) | {BY_REFERENCE: by_reference}
    if row.trial_result and row.format in formats():
        row.trial_result, row.trial_claimed_until = TrialResult.PENDING, None


def _kind_of(feature: FeatureProfile) -> ColumnKind:
    if feature.kind is FeatureKind.NUMBER:
        return ColumnKind.NUMBER
    return ColumnKind.BOOLEAN if feature.categories and TRUTHS.issuperset(feature.categories) else ColumnKind.CATEGORY


def _own_signature(row: VersionRow) -> Signature:
    """Return a version's signature without what is known by its former reference."""
    signature, by_reference = signature_of(row) or Signature(), (row.signature or {}).get(BY_REFERENCE, NOTHING)
    if by_reference == INPUTS:
        return replace(signature, inputs=())
    return signature.without_names() if by_reference == NAMES else signature
