"""Evidence packs: proofs about the audit log, and their verification without a server."""
