"""Commands about models, versions and files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from modelward import Client, Model, ModelVersion, Stage
from modelward.cli.output import KeyValue, Measurement, Output, make_table, remote

Command = TypeVar("Command", bound=Callable[..., None])
STAGE = click.Choice([stage.value for stage in Stage])


def pairs(flag: str, name: str, text: str) -> Callable[[Command], Command]:
    """Make an option that may be given often, each time as KEY=VALUE."""
    return click.option(flag, name, type=KeyValue(), multiple=True, metavar="KEY=VALUE", help=text)


@click.command()
@click.option("--prefix", default="", help="Only names that start so.")
@click.option("--stage", "stages", type=STAGE, multiple=True, help="Only models with a version in this stage.")
@pairs("--tag", "tags", "Only models that carry this tag.")
@remote
def models(client: Client, out: Output, prefix: str, stages: tuple[str, ...], tags: Any) -> None:
    """List the models."""
    found = list(client.list_models(name_prefix=prefix, stages=stages, tags=dict(tags)))
    out.rows(
        found,
        ["model", "production", "latest", "halted", "tags", "updated (UTC)", "description"],
        lambda m: [
            m.name,
            m.production_version or "none",
            m.latest_version,
            m.halt.reason if m.halt else "",
            m.tags,
            m.updated_at,
            m.description,
        ],
    )


@click.command()
@click.argument("model")
@click.option("--stage", "stages", type=STAGE, multiple=True, help="Only versions in this stage.")
@pairs("--tag", "tags", "Only versions that carry this tag.")
@remote
def versions(client: Client, out: Output, model: str, stages: tuple[str, ...], tags: Any) -> None:
    """List the versions of MODEL, the newest first."""
    out.rows(
        list(client.list_versions(model, stages=stages, tags=dict(tags))),
        ["version", "stage", "since (UTC)", "metrics", "registered by", "description"],
        lambda v: [v.version, v.stage, v.stage_since, v.metrics, v.created_by, v.description],
    )


@click.command()
@click.argument("name", metavar="MODEL[/VERSION]")
@remote
def show(client: Client, out: Output, name: str) -> None:
    """Show everything about a model or a version."""
    if "/" in name:
        _show_version(out, client.get_version(name))
    else:
        _show_model(out, client.get_model(name))


def _show_model(out: Output, model: Model) -> None:
    facts = {
        "model": model.name,
        "description": model.description,
        "tags": model.tags,
        "production": model.production_version or "none",
        "latest": model.latest_version,
        "halted": f"by {model.halt.actor}: {model.halt.reason}" if model.halt else "",
        "created": model.created_at,
        "updated": model.updated_at,
    }
    out.record(model, facts)


def _show_version(out: Output, version: ModelVersion) -> None:
    facts = {
        "version": str(version),
        "stage": version.stage,
        "since": version.stage_since,
        "description": version.description,
        "metrics": version.metrics,
        "params": version.params,
        "tags": version.tags,
        "format": f"{version.format}, {version.framework}".rstrip(", "),
        "references": ", ".join(version.references),
        "registered": f"{version.created_at:%Y-%m-%d %H:%M:%S} by {version.created_by}",
        "digest": version.digest,
        "MLflow run": version.run_id,
    }
    files = make_table(["file", "bytes", "sha256"], ([f.path, f.size_bytes, f.sha256] for f in version.files))
    out.record(version, facts, files)


@click.command()
@click.argument("model")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--metric", "metrics", type=Measurement(), multiple=True, metavar="KEY=NUMBER", help="How good it is.")
@pairs("--param", "params", "How it was trained.")
@pairs("--tag", "tags", "A free label.")
@click.option("--description", default="", help="What is particular about it.")
@remote
def register(
    client: Client, out: Output, model: str, path: Path, metrics: Any, params: Any, tags: Any, description: str
) -> None:
    """Register the file or folder PATH as the next version of MODEL."""
    version = client.register(
        model, path, metrics=dict(metrics), params=dict(params), tags=dict(tags), description=description
    )
    out.say(version, f"registered [bold]{version}[/] in training")


@click.command()
@click.argument("version", metavar="MODEL/VERSION")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@remote
def download(client: Client, out: Output, version: str, folder: Path) -> None:
    """Write the files of a version into FOLDER and verify each."""
    found = client.get_version(version)
    client.download(found, folder)
    out.say(found, f"{len(found.files)} files of [bold]{found}[/] are in {folder}, verified")


COMMANDS = [models, versions, show, register, download]
