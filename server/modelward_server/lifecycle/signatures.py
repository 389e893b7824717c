"""Signatures of versions, checked against their references and completed by them."""

from collections.abc import Sequence

from modelward.drift import FeatureKind, FeatureProfile
from modelward.formats import formats
from modelward.lifecycle import TrialResult
from modelward.shared.json_values import to_json
from modelward.shared.signature_check import check_columns
from modelward.signature import ColumnKind, Signature
from modelward_server.lifecycle.repository import signature_of
from modelward_server.storage.tables import VersionRow

KINDS = {FeatureKind.NUMBER: ColumnKind.NUMBER, FeatureKind.CATEGORY: ColumnKind.CATEGORY}
NAMED_BY_REFERENCE = "named_by_reference"
"""Marks a stored signature whose names are those of the reference, because the model does not know its own."""


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
    own = signature_of(row) or Signature()
    by_reference = bool(row.signature and row.signature.get(NAMED_BY_REFERENCE)) or not own.names
    names = [feature.name for feature in features]
    if by_reference:
        own = own.without_names()
    check_columns(own, names, field)
    known = Signature.of(names, kinds=[KINDS[feature.kind] for feature in features])
    row.signature = to_json(own.completed(known)) | {NAMED_BY_REFERENCE: by_reference}
    if row.trial_result and row.format in formats():
        row.trial_result, row.trial_claimed_until = TrialResult.PENDING, None
