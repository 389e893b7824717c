"""The promotion gate of signatures over a version's files."""

from collections.abc import Collection

from modelward.lifecycle import GateResult, ModelVersion

SIGNED = "signed"


def signature_gate(candidate: ModelVersion, trusted: Collection[str]) -> GateResult:
    """Evaluate whether a signer that is trusted now has signed the model of a version.

    Args:
        candidate: the version.
        trusted: the fingerprints of the signers that the operator trusts now.
    """
    signature = candidate.model_signature
    if signature is None:
        return GateResult(SIGNED, False, f"{candidate} has no signature over its files; register it with one")
    by = f"{signature.signer} ({signature.trusted_fingerprint})"
    if signature.trusted_fingerprint not in trusted:
        return GateResult(SIGNED, False, f"{candidate} was signed by {by}, which is not trusted any more")
    if candidate.model_file in signature.unsigned_files:
        return GateResult(SIGNED, False, f"the signature of {candidate} does not cover {candidate.model_file}")
    at = signature.verified_at.isoformat(timespec="seconds")
    return GateResult(SIGNED, True, f"{candidate} is signed by {by}, verified at {at}")
