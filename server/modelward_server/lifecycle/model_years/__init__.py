"""What is on record about models that were in production in a year, as it stood at the end of its last day."""
