"""Tests of evidence packs and proofs."""
