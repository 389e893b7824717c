"""What keeps the server going beside its calls: background tasks, threads and their bounds, and the end."""
