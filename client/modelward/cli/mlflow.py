"""Commands about MLflow beside the registry."""

import click

from modelward import AdoptedVersion, Client
from modelward.cli.output import Output
from modelward.cli.remote import remote


@click.command()
@click.argument("model", default="")
@click.option("--dry-run", is_flag=True, help="Only say what differs.")
@remote
def reconcile(client: Client, out: Output, model: str, dry_run: bool) -> None:
    """Find where MLflow differs from the registry, and mend it."""
    found = client.reconcile_mlflow(model, dry_run=dry_run)
    out.rows(
        found.differences,
        ["version", "mended"],
        lambda d: [str(d.version), d.mended],
        prose=("what differed", lambda d: d.problem),
        none=f"MLflow shows all {found.versions} versions as they are",
    )


@click.command("import")
@click.argument("model", default="")
@click.option("--dry-run", is_flag=True, help="Only say what would be adopted.")
@remote
def import_(client: Client, out: Output, model: str, dry_run: bool) -> None:
    """Adopt what the server's MLflow registry has, of MODEL or all."""
    out.rows(
        client.import_mlflow(model, dry_run=dry_run),
        ["model", "in MLflow", "here", "stage"],
        lambda a: [
            a.model,
            a.mlflow_version,
            a.version or ("not adopted" if a.problem else "would be adopted"),
            a.stage,
        ],
        prose=("problem", lambda a: a.problem or _left_out(a)),
        none="MLflow's registry has nothing that is not known here",
    )


def _left_out(adopted: AdoptedVersion) -> str:
    return f"without {', '.join(adopted.left_out)}" if adopted.left_out else ""
