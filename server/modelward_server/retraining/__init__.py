"""Who is due for retraining, why, and who has the job: the rules."""
