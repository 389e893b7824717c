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
@click.option(
    "--expect", "expected_hash", default="", metavar="HASH", help="A hash that was told before and kept elsewhere."
)
@remote
def verify(client: Client, out: Output, expected_hash: str) -> None:
    """Check that no record was changed, removed or moved, and that all stands as the records say.

    The exit code is 1 when something does not hold.
    """
    found = client.verify_audit_log(expected_hash=expected_hash)
    facts = {"records": found.records, "rows": found.rows, "head": f"{found.head_sequence} {found.head_hash}"}
    if expected_hash:
        facts["expected"] = f"record {found.expected_sequence}" if found.expected_sequence else "not in the log"
    facts["verdict"] = _verdict(found)
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
