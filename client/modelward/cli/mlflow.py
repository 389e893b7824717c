"""Commands for MLflow."""

from typing import TYPE_CHECKING

import click

from modelward import AdoptedVersion
from modelward.cli.completion import complete_models
from modelward.cli.output import Output
from modelward.cli.remote import remote

if TYPE_CHECKING:
    from modelward import Client


@click.command()
@click.argument("model", default="", shell_complete=complete_models)
@click.option("--dry-run", is_flag=True, help="Only report the differences.")
@remote
def reconcile(client: "Client", out: Output, model: str, dry_run: bool) -> None:
    """Repair differences between MLflow and the registry."""
    reconciliation = client.reconcile_mlflow(model, dry_run=dry_run)
    out.rows(
        reconciliation.differences,
        ["version", "repaired"],
        lambda d: [str(d.version), d.mended],
        prose=("difference", lambda d: d.problem),
        none=f"MLflow shows all {reconciliation.versions} versions correctly",
    )


@click.command("import")
@click.argument("model", default="", shell_complete=complete_models)
@click.option("--dry-run", is_flag=True, help="Only report what would be adopted.")
@remote
def import_(client: "Client", out: Output, model: str, dry_run: bool) -> None:
    """Import versions from MLflow's registry, of MODEL or of all."""
    out.rows(
        client.import_mlflow(model, dry_run=dry_run),
        ["model", "in MLflow", "here", "stage"],
        lambda a: [
            a.model,
            a.mlflow_version,
            a.version or ("not adopted" if a.problem else "would be adopted"),
            a.stage,
        ],
        prose=("problem", lambda a: a.problem or _incomplete(a)),
        none="MLflow's registry has no versions that are not known here",
    )


def _incomplete(adopted: AdoptedVersion) -> str:
    left_out = f"without {', '.join(adopted.left_out)}" if adopted.left_out else ""
    not_tried = f"not tried: {adopted.not_tried}" if adopted.not_tried else ""
    return "; ".join(part for part in (left_out, not_tried) if part)
