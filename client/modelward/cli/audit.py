"""Commands about the audit log."""

import click
from rich.text import Text

from modelward import AuditVerification, Client
from modelward.cli.output import Output, as_json, make_table, plain
from modelward.cli.remote import connected, remote


@click.group()
def audit() -> None:
    """Verify or export the record of every change."""


@audit.command()
@remote
def verify(client: Client, out: Output) -> None:
    """Check that no record was changed, removed or moved; the exit code is 1 when one was."""
    found = client.verify_audit_log()
    facts = {"records": found.records, "head": found.head_hash, "verdict": _verdict(found)}
    defects = [[defect.sequence, defect.problem] for defect in found.defects]
    tables = [make_table(["record", "problem"], defects)] if defects else []
    out.record(plain(found) | {"intact": found.intact}, facts, *tables)
    if not found.intact:
        raise click.exceptions.Exit(1)


def _verdict(found: AuditVerification) -> Text:
    return Text("intact", "bold green") if found.intact else Text("not intact", "bold red")


@audit.command()
@connected
def export(client: Client) -> None:
    """Write every record as a line of JSON."""
    for record in client.export_audit_log():
        click.echo(as_json(record))
