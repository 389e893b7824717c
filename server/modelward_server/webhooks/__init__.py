"""Tells others over HTTP what happened: alarms, jobs, promotions."""
