"""Runtime support: supervised background tasks, bounded executors, event broadcasting, waiters and shutdown."""
