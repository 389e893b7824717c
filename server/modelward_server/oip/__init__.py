"""The Open Inference Protocol: its messages, and their conversion into tables and from predictions."""
