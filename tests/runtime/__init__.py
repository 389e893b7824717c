"""Tests of what the server runs work on."""
