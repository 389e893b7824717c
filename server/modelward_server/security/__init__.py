"""Who may reach the server."""
