"""Commands for the audit log."""

from dataclasses import fields
from typing import TYPE_CHECKING

import click
from rich.text import Text

from modelward import AuditRecord, AuditVerification
from modelward.cli.csv_output import print_csv
from modelward.cli.output import Output, as_json, make_table
from modelward.cli.remote import connected, remote

if TYPE_CHECKING:
    from modelward import Client


@click.group()
def audit() -> None:
    """Verify or export the audit log."""


@audit.command()
@click.option(
    "--expect",
    "expected_hash",
    default="",
    metavar="HASH",
    help="The hash of a record, obtained earlier and stored elsewhere.",
)
@remote
def verify(client: "Client", out: Output, expected_hash: str) -> None:
    """Verify that no record was changed, removed or moved, and that all rows match the records.

    The exit code is 1 if the log is not intact.
    """
    verification = client.verify_audit_log(expected_hash=expected_hash)
    facts = {
        "records": verification.records,
        "rows": verification.rows,
        "head": f"{verification.head_sequence} {verification.head_hash}",
    }
    if expected_hash:
        facts["expected"] = (
            f"record {verification.expected_sequence}" if verification.expected_sequence else "not in the log"
        )
    facts["verdict"] = _verdict(verification)
    defects = [[defect.sequence, defect.problem] for defect in verification.defects]
    tables = [make_table(["record", "problem"], defects)] if defects else []
    out.record(verification.to_dict() | {"intact": verification.intact}, facts, *tables)
    if not verification.intact:
        raise click.exceptions.Exit(1)


def _verdict(verification: AuditVerification) -> Text:
    return Text("intact", "bold green") if verification.intact else Text("not intact", "bold red")


@audit.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "csv"]),
    default="json",
    help="Lines of JSON, or CSV.  [default: json]",
)
@connected
def export(client: "Client", form: str) -> None:
    """Export every record: as a line of JSON, or with --format csv as a row, with the same fields."""
    records = client.export_audit_log()
    if form == "csv":
        names = [field.name for field in fields(AuditRecord)]
        print_csv(names, ([getattr(record, name) for name in names] for record in records))
        return
    for record in records:
        click.echo(as_json(record))
