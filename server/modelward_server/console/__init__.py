"""The console: the registry in a browser, as a client of the contract with the user's own credential."""
