"""Webhooks: delivery of events over HTTP, such as alarms, jobs and promotions."""
