"""Commands for a server's machine; the `modelward` command finds them by their entry points."""
