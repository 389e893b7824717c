"""Commands for models, versions and files."""

from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click

from modelward import Inventory, Model, ModelSignature, ModelVersion, Origin, Trial, TrialResult
from modelward.cli.cells import Cell
from modelward.cli.completion import complete_models, complete_models_and_versions, complete_versions
from modelward.cli.inventory import BRIEF, inventory_facts, lineage_facts
from modelward.cli.options import GROUP, IGNORE, TIME, Duration, Measurement, pairs, stages
from modelward.cli.output import Output, make_table
from modelward.cli.remote import remote
from modelward.cli.tables import read_table
from modelward.cli.trials import TRIALS, read_trials
from modelward.shared.figures import metric
from modelward.signature import Signature

if TYPE_CHECKING:
    from modelward import Client

USABLE = {TrialResult.USABLE: "yes", TrialResult.UNUSABLE: "no", TrialResult.PENDING: "being tried"}
"""The words for what a trial found; others are their own word."""


@click.command()
@click.option("--prefix", default="", metavar="TEXT", help="Only names with this prefix.")
@stages("Only models with a version in this stage.")
@pairs("--tag", "tags", "Only models with this tag.")
@click.option("--owner", default="", metavar="TEXT", help="Only models of this owner.")
@click.option("--tier", type=click.IntRange(1, 4), help="Only models of this tier; 1 is the most material.")
@click.option("--desk", default="", metavar="TEXT", help="Only models whose scope has this desk.")
@remote
def models(client: "Client", out: Output, prefix: str, stages: tuple[str, ...], tags: Any, **stated: Any) -> None:
    """List the models.

    As CSV, with all that the inventory states of them.
    """
    shown = list(inventory_facts(Inventory())) if out.form == "csv" else BRIEF

    def row(model: Model) -> list[Any]:
        facts = inventory_facts(model.inventory)
        return [
            model.name,
            Cell(model.production_version, model.production_version or "none"),
            model.latest_version,
            model.halt.reason if model.halt else "",
            model.tags,
            *(facts[name] for name in shown),
            model.updated_at,
            model.description,
        ]

    out.rows(
        list(client.list_models(name_prefix=prefix, stages=stages, tags=dict(tags), **stated)),
        ["model", "production", "latest", "halted", "tags", *shown, "updated (UTC)", "description"],
        row,
        none="there is no such model" if any((prefix, stages, tags, *stated.values())) else "there is no model yet",
    )


@click.command()
@click.argument("model", shell_complete=complete_models)
@stages("Only versions in this stage.")
@pairs("--tag", "tags", "Only versions with this tag.")
@remote
def versions(client: "Client", out: Output, model: str, stages: tuple[str, ...], tags: Any) -> None:
    """List the versions of MODEL, the newest first."""
    out.rows(
        list(client.list_versions(model, stages=stages, tags=dict(tags))),
        ["version", "stage", "since (UTC)", "by", "origin", "usable", "metrics"],
        lambda v: [v.version, v.stage, v.stage_since, v.created_by, _origin(v), _usable(v.trial), v.metrics],
        none="there is no such version" if stages or tags else f"{model} has no version yet",
    )


@click.command()
@click.argument("name", metavar="MODEL[/VERSION]", shell_complete=complete_models_and_versions)
@remote
def show(client: "Client", out: Output, name: str) -> None:
    """Show the details of a model or a version."""
    if "/" in name:
        _show_version(out, client.get_version(name))
    else:
        _show_model(out, client.get_model(name))


def _show_model(out: Output, model: Model) -> None:
    facts = {
        "model": model.name,
        "description": model.description,
        "production": Cell(model.production_version, model.production_version or "none"),
        "latest": model.latest_version,
        "halted": f"by {model.halt.actor}: {model.halt.reason}" if model.halt else "",
        "created (UTC)": model.created_at,
        "updated (UTC)": model.updated_at,
        "tags": model.tags,
        **inventory_facts(model.inventory),
    }
    out.record(model, facts)


def _origin(version: ModelVersion) -> str:
    return str(version.origin.ref) if version.origin else ""


def _usable(trial: Trial | None) -> str:
    return USABLE.get(trial.result, str(trial.result)) if trial else ""


def _trial(trial: Trial) -> str:
    if trial.result is TrialResult.USABLE:
        return f"yes, predicted {trial.tried_with}"
    return f"{_usable(trial)}: {trial.reason}" if trial.reason else _usable(trial)


def _inputs(signature: Signature) -> str:
    if not signature.inputs:
        return "columns that are not known"
    return ", ".join(signature.names) or f"{len(signature.inputs)} columns in order"


def _folds(version: ModelVersion) -> str:
    """Return the metrics that every fold has, with their means and their worst and best values."""
    if not version.folds:
        return ""
    keys = sorted(set.intersection(*(set(fold.metrics) for fold in version.folds)))
    series = {key: [fold.metrics[key] for fold in version.folds] for key in keys}
    texts = (
        f"{key} {metric(fmean(all_))} ({metric(min(all_))} to {metric(max(all_))})" for key, all_ in series.items()
    )
    return f"{len(version.folds)}: " + ", ".join(texts)


def _signed(signature: ModelSignature) -> str:
    apart = f"; without {', '.join(signature.unsigned_files)}" if signature.unsigned_files else ""
    return f"by {signature.signer}, key {signature.fingerprint}{apart}"


def _imported(origin: Origin) -> str:
    by, at = ", ".join(origin.registrants), f"{origin.registered_at:%Y-%m-%d %H:%M:%S}"
    return f"{origin.ref}, registered by {by} at {at} UTC; pack {origin.pack_sha256}, signed by {origin.key_id}"


def _show_version(out: Output, version: ModelVersion) -> None:
    gone = version.artifact_deletion
    facts = {
        "version": str(version),
        "stage": version.stage,
        "since (UTC)": version.stage_since,
        "description": version.description,
        "created (UTC)": version.created_at,
        "by": version.created_by,
        "format": f"{version.format}, {version.framework}".rstrip(", "),
        "usable": _trial(version.trial) if version.trial else "",
        "takes": _inputs(version.signature) if version.signature else "",
        "classes": ", ".join(map(str, version.signature.classes)) if version.signature else "",
        "references": ", ".join(version.references),
        "backtest": version.overfitting.summary if version.overfitting else "",
        "folds": _folds(version),
        "trained on": version.training_window._describe() if version.training_window else "",
        "digest": version.digest,
        "signed": _signed(version.model_signature) if version.model_signature else "",
        "imported from": _imported(version.origin) if version.origin else "",
        "files deleted": f"by {gone.deleted_by}: {gone.reason}" if gone else "",
        "MLflow run": version.run_id,
        "metrics": version.metrics,
        "tags": version.tags,
        "params": version.params,
        "job": version.job_id,
        **lineage_facts(version.lineage),
    }
    files = make_table(["file", "bytes", "sha256"], ([f.path, f.size_bytes, f.sha256] for f in version.files))
    out.record(version, facts, files)


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--metric", "metrics", type=Measurement(), multiple=True, metavar="KEY=NUMBER", help="A metric of its quality."
)
@pairs("--param", "params", "A training parameter.")
@pairs("--tag", "tags", "A free label.")
@click.option("--description", default="", metavar="TEXT", help="What distinguishes this version.")
@click.option(
    "--reference",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="DATA",
    help="Its training data, a CSV, Parquet or Arrow file: drift is measured against them.",
)
@click.option(
    "--signature",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The bundle of an OpenSSF signature over its files, which the server verifies; by default its model.sig.",
)
@IGNORE
@TIME
@GROUP
@TRIALS
@click.option(
    "--trained-on",
    nargs=2,
    default=None,
    metavar="FIRST LAST",
    help="The times of its training data, such as 2015 2023-06-30: comparisons say when their data overlap.",
)
@click.option("--horizon", type=Duration(), metavar="DURATION", help="How long after a row its label is known.")
@click.option(
    "--no-lineage",
    is_flag=True,
    help="Do not tell the commit of this folder's git repository, the software and the digest of DATA.",
)
@remote
def register(
    client: "Client",
    out: Output,
    model: str,
    path: Path,
    metrics: Any,
    params: Any,
    tags: Any,
    description: str,
    reference: Path | None,
    signature: Path | None,
    ignore: tuple[str, ...],
    time: str | None,
    group: str | None,
    trials: str,
    trained_on: tuple[str, str] | None,
    horizon: timedelta | None,
    no_lineage: bool,
) -> None:
    """Register the file or folder PATH as a new version of MODEL."""
    version = client.register(
        model,
        path,
        metrics=dict(metrics),
        params=dict(params),
        tags=dict(tags),
        description=description,
        reference=None if reference is None else read_table(reference),
        ignore=ignore,
        time=time,
        group=group,
        model_signature=signature,
        trials=read_trials(trials),
        training_window=trained_on,
        horizon=horizon or timedelta(0),
        collect_lineage=not no_lineage,
    )
    out.say(version, f"{version} is registered, in training")


@click.command()
@click.argument("version", metavar="MODEL/VERSION", shell_complete=complete_versions)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@remote
def download(client: "Client", out: Output, version: str, folder: Path) -> None:
    """Download the files of a version to DIR and verify each."""
    resolved = client.get_version(version)
    folder.mkdir(parents=True, exist_ok=True)  # Fail before any download if the folder cannot be created.
    client.download(resolved, folder)
    files = "1 file" if len(resolved.files) == 1 else f"{len(resolved.files)} files"
    out.say(resolved, f"{files} of {resolved} in {folder}, verified")
