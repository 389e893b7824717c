"""Evidence: proofs about the audit log, and packs of what is on record about versions."""
