"""Sandbox for processes in which models run: access restrictions enforced by the kernel, and resource limits."""
