"""What keeps the server going beside its calls: background tasks and threads."""
