"""Tests of the console, in this process."""
