"""Retraining rules: schedules, the models that are due, jobs and their leases, and follow-ups."""
