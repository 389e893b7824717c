"""The command that serves the console of a server that runs elsewhere."""

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from modelward.cli.output import NEEDS_SERVER, Failure
from modelward.cli.profile_selection import PROFILE_OF_COMMAND, selected_profile
from modelward.cli.remote import SERVER


@click.command()
@PROFILE_OF_COMMAND
@SERVER
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", show_default=True, help="The address to listen at.")
@click.option("--port", default=50062, metavar="NUMBER", show_default=True, help="The port to listen at; 0: any.")
@click.option("--read-only", is_flag=True, help="Offer no changes.")
@click.option("--cert", type=click.Path(exists=True), metavar="FILE", help="The console's certificate, for HTTPS.")
@click.option("--key", type=click.Path(exists=True), metavar="FILE", help="The certificate's key.")
def console(server: str, host: str, port: int, read_only: bool, cert: str | None, key: str | None) -> None:
    """Serve the console: the registry in a browser.

    Each user signs in with their own token, or without one where the server allows it.
    """
    try:
        from modelward_server.console.guard import LOOPBACK
        from modelward_server.console.serving import Console, console_of, tls_of
    except ModuleNotFoundError:
        raise Failure(NEEDS_SERVER) from None
    if host not in LOOPBACK and not cert:
        raise click.UsageError("tokens are sent over TLS only: give --cert and --key, or listen at 127.0.0.1")
    app = console_of(server, host, read_only=read_only, credentials=_credentials())
    try:
        tls = tls_of(cert, key)
    except OSError as error:
        raise Failure(f"the certificate {cert} and its key cannot be used: {error}") from None
    try:
        serving = Console(app, host, port, tls, embedded=False)
    except OSError as error:
        raise Failure(f"cannot listen on {host}:{port}: {error.strerror}") from None
    click.echo(f"The console is at {'https' if cert else 'http'}://{host}:{serving.port}")
    asyncio.run(serving.serve())


def _credentials() -> Any:
    """Return how the console verifies the server; a client certificate would give every user its own rights."""
    if not (authority := os.environ.get("MODELWARD_CA") or selected_profile().ca):
        return None
    import grpc

    return grpc.ssl_channel_credentials(Path(authority).read_bytes())
