"""Tests of versions on live traffic: who gets which, and what came of it."""
