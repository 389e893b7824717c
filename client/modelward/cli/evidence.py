"""Commands for evidence packs and for the head of the audit log."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelward._record import counted
from modelward.cli.completion import complete_versions
from modelward.cli.options import Instant
from modelward.cli.output import Failure, Output
from modelward.cli.remote import formatted, remote
from modelward.evidence.layout import SERVER_SIGNATURE

if TYPE_CHECKING:
    from modelward import Client
    from modelward.evidence.verify import PackVerification


@click.group()
def evidence() -> None:
    """Export, verify and import what is on record about versions."""


@evidence.command()
@click.argument("version", default="", metavar="[MODEL/VERSION]", shell_complete=complete_versions)
@click.option("--all", "every", is_flag=True, help="Every version in production.")
@click.option("--as-of", type=Instant(), metavar="TIME", help="Only what was on record at this time.")
@click.option("--without-files", is_flag=True, help="Leave out the versions' own files.")
@click.option(
    "-o", "--output", "to", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The ZIP file."
)
@remote
def export(
    client: "Client",
    out: Output,
    version: str,
    every: bool,
    as_of: datetime | None,
    without_files: bool,
    to: Path,
) -> None:
    """Write everything on record about a version to a ZIP file, which `verify` checks without a server."""
    if bool(version) == every:
        raise click.UsageError("give either MODEL/VERSION or --all")
    client.export_evidence(version or None, to, as_of=as_of, without_files=without_files)
    out.say({"file": str(to), "size_bytes": to.stat().st_size}, f"the evidence is in {to}")


@evidence.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The server's public key, in PEM; without it signatures are not verified.",
)
@click.option(
    "--timestamp-roots",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates of trusted time-stamp authorities, in PEM; without them time stamps are not verified.",
)
@click.option(
    "--signer-key",
    "signer_keys",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Public key of one who may sign models, in PEM; repeatable. Without one their signatures are not verified.",
)
@formatted
def verify(
    out: Output, file: Path, key: Path | None, timestamp_roots: Path | None, signer_keys: tuple[Path, ...]
) -> None:
    """Verify FILE without a server; the exit code is 1 if something is wrong."""
    from modelward.errors import InvalidField
    from modelward.evidence.verify import verify_pack

    try:
        found = verify_pack(file, key, timestamp_roots=timestamp_roots, signer_keys=signer_keys)
    except InvalidField as error:
        raise Failure(error.message) from None
    out.say(found, "\n".join([*_found(found), *found.defects] if found.versions or found.intact else found.defects))
    if not found.intact:
        raise SystemExit(1)


def _found(found: "PackVerification") -> Iterator[str]:
    """Yield what a pack has, and what of it was verified."""
    signed = f"signed by {found.signed_by}" if found.signed_by else "its signature was not verified"
    counts = f"{counted(found.files, 'file')} and {counted(found.records, 'record')}"
    yield f"{', '.join(found.versions) or 'no version'}: {counts}, {signed}"
    for stamp in found.timestamps:
        verified = "verified" if stamp.verified else "not verified without --timestamp-roots"
        yield f"{stamp.of} existed at {stamp.time.isoformat()}: {stamp.file}, {verified}"
    for signature in found.signatures:
        option = "--key" if signature.file.endswith(SERVER_SIGNATURE) else "--signer-key"
        verified = f"verified, key {signature.fingerprint}" if signature.verified else f"not verified without {option}"
        without = f", without {', '.join(signature.unsigned_files)}" if signature.unsigned_files else ""
        yield f"{signature.file}: {verified}{without}"


@evidence.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--as-model", default="", metavar="NAME", help="The model that gets the version; by default, the same.")
@remote
def import_pack(client: "Client", out: Output, file: Path, as_model: str) -> None:
    """Register the version in FILE, a pack of another registry that the server trusts, as the next one of its model."""
    version = client.import_evidence(file, as_model=as_model)
    there = f"{version.origin.ref} of the pack" if version.origin else "the version"
    out.say(version, f"{there} is {version} here, without a reference and in the stage {version.stage}")


@evidence.command()
@click.argument("version", metavar="MODEL/VERSION", shell_complete=complete_versions)
@click.option(
    "-o", "--output", "to", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The ZIP file."
)
@remote
def origin(client: "Client", out: Output, version: str, to: Path) -> None:
    """Write the pack that a version was imported with to a ZIP file."""
    client.download_origin(version, to)
    out.say({"file": str(to), "size_bytes": to.stat().st_size}, f"the pack of {version} is in {to}")
