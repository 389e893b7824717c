"""The form of a comparison: which versions, on which test data, by which metric."""

import asyncio
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

from starlette.requests import Request

from modelward import AsyncClient, Comparison
from modelward.caller import Caller, Role
from modelward.comparison import ComparisonProgress, Metric
from modelward.drift import Reference
from modelward.errors import (
    FieldViolation,
    InvalidField,
    ModelNotFound,
    ModelwardError,
    ReferenceNotFound,
    RoleTooLow,
    SourceNotAllowed,
    VersionNotFound,
)
from modelward.lifecycle import VersionRef
from modelward_server.console.compare_runs import Run, Runs
from modelward_server.console.comparison_data import Columns, uploaded_data
from modelward_server.console.guard import why_refused
from modelward_server.console.pages.lists import first
from modelward_server.console.uploads import MAX_UPLOAD_BYTES, UploadForm
from modelward_server.runtime.temporary_folders import temporary_folder

TEMPLATE = "compare"
ROLE = Role.TRAINER
"""The least role that may compare."""
VERSION = re.compile(r"[^/\s]+/[0-9]{1,9}")
OFFERED = 20
"""Versions of the model in the address, the newest, that are offered to be ticked."""
TEXTS = ("further", "uri", "label", "returns", "time", "group", "ignore", "primary", "baseline")
"""The fields with one text each."""
FIELDS = {
    "y": "label",
    "label": "label",
    "time_column": "time",
    "group_column": "group",
    "data.uri": "uri",
    "primary_metric": "primary",
    "ignored_columns": "ignore",
    "data.blob": "file",
    "X": "file",
    "data": "file",
}
"""The fields of this page by those of the contract, where these are named otherwise."""
WHERE: Mapping[tuple[type[ModelwardError], ...], str] = {
    (VersionNotFound, ModelNotFound): "further",
    (SourceNotAllowed,): "uri",
}
"""The fields of this page to which other errors belong."""
REFUSED_SOON_SECONDS = 5.0
"""What the server refuses within so long, before the first step, is shown in the form; later with the progress."""


@dataclass(frozen=True)
class Offered:
    """A version that can be ticked."""

    ref: VersionRef
    stage: str
    created_at: datetime
    chosen: bool


@dataclass(frozen=True)
class View:
    """What the page shows."""

    model: str
    """Whose versions are offered; empty where the address names none."""
    offered: Sequence[Offered]
    given: Mapping[str, str]
    """What is in the fields."""
    metrics: Sequence[str]
    command: str
    """The same by command."""
    refusal: str
    """Why the user may not compare; empty if he may."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """What is wrong, by field; that of no field is under the empty name."""
    max_mib: int = MAX_UPLOAD_BYTES >> 20
    request_id: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True)
class Asked:
    """What a form asks for, as text."""

    model: str
    ticked: tuple[str, ...]
    given: Mapping[str, str]

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions, each once; the page offers the newest first, and the first is the baseline by default."""
        further = self.given["further"].replace(",", " ").split()
        return tuple(dict.fromkeys([*reversed(self.ticked), *further]))

    @property
    def columns(self) -> Columns:
        """The names of the columns that are not features."""
        names = tuple(name.strip() for name in self.given["ignore"].split(",") if name.strip())
        given = self.given
        return Columns(given["label"], given["returns"], given["time"], given["group"], names)

    @property
    def query(self) -> str:
        """The query of the address that shows the form so."""
        texts = [(name, text) for name, text in self.given.items() if text]
        model = [("model", self.model)] if self.model else []
        return urlencode([*model, *(("versions", version) for version in self.ticked), *texts])

    def command(self, data: str) -> str:
        """Return the same by command.

        Args:
            data: the name of the file.
        """
        single = {name: self.given[name] for name in ("label", "returns", "time", "group", "primary", "baseline")}
        options = [(name, text) for name, text in single.items() if text or name == "label"]
        options += [("ignore", name) for name in self.columns.ignored]
        texts = [f"--{name} {shlex.quote(text or 'COLUMN')}" for name, text in options]
        versions = map(shlex.quote, self.versions or ("MODEL/1", "MODEL/2"))
        return " ".join(["modelward compare", *versions, shlex.quote(self.given["uri"] or data), *texts])


def check_role(caller: Caller) -> None:
    """Refuse who may not compare; the server would, too, but only after his file was read.

    Raises:
        RoleTooLow: he may not.
    """
    if not caller.role.covers(ROLE):
        raise RoleTooLow(f"{caller.name} has the role {caller.role}, and a comparison requires {ROLE}")


async def fetch(client: AsyncClient, request: Request, caller: Caller) -> View:
    """Return the form; its query may fill every field but that of the file.

    Raises:
        ModelNotFound: there is no such model.
    """
    query = request.query_params
    return await _view(client, _asked(query.get, query.getlist), caller)


async def begin(client: AsyncClient, runs: Runs, form: UploadForm, caller: Caller) -> Run | View:
    """Begin the comparison of a form; return the form with what is wrong where something is.

    Raises:
        LimitReached: the user runs too many already.
    """
    asked = _asked(lambda name, _: form.text(name), form.texts)
    run_id = form.text("request_id")
    if run := runs.find(run_id):
        return run
    runs.check_room()
    try:
        return await _begun(client, runs, asked, form, _checked_id(run_id))
    except InvalidField as error:
        problems = {_field_of(one.field): one.description for one in error.violations}
        if (
            asked.given["uri"] and not form.file and "file" in problems
        ):  # Whichever way the data came, their argument is the same.
            problems["uri"] = problems.pop("file")
    except ModelwardError as error:
        problems = {next((name for kinds, name in WHERE.items() if isinstance(error, kinds)), ""): error.message}
    if form.file:
        problems.setdefault("file", "choose the file again")
    return await _view(client, asked, caller, problems)


async def _begun(client: AsyncClient, runs: Runs, asked: Asked, form: UploadForm, run_id: str) -> Run:
    versions, folder = _checked_versions(asked), temporary_folder()
    try:
        arguments = await _data(client, asked, form, Path(folder.name))
    except BaseException:
        folder.cleanup()
        raise
    name = form.file.filename if form.file else None
    run = Run(run_id, versions, asked.command(name or "DATA"), asked.query)

    async def compare(note: Callable[[ComparisonProgress], None]) -> Comparison:
        primary, baseline = asked.given["primary"] or None, asked.given["baseline"] or None
        with folder:
            return await client.compare(versions, **arguments, primary=primary, baseline=baseline, on_progress=note)

    runs.begin(run, compare)
    await run.began(REFUSED_SOON_SECONDS)
    if run.error:
        runs.forget(run)
        raise run.error
    return run


async def _data(client: AsyncClient, asked: Asked, form: UploadForm, folder: Path) -> dict[str, Any]:
    uri, columns = asked.given["uri"], asked.columns
    if not columns.label:
        raise InvalidField(FieldViolation("label", "name the column with the labels"))
    if bool(uri) == bool(form.file):
        raise InvalidField(FieldViolation("file", "choose a file, or give the URI of one; not both"))
    if not form.file:
        return columns.of_parquet(uri)
    reference = await _reference(client, asked.versions)
    return await asyncio.to_thread(uploaded_data, form.file.file, columns, reference, folder)


async def _reference(client: AsyncClient, versions: Sequence[str]) -> Reference | None:
    """Return the reference of the first version that has one."""
    for version in versions:
        with suppress(ReferenceNotFound):
            return await client.get_reference(version)
    return None


def _checked_versions(asked: Asked) -> tuple[str, ...]:
    for version in asked.versions:
        _check_version(version, "further")
    if asked.given["baseline"]:
        _check_version(asked.given["baseline"], "baseline")
    if len(asked.versions) < 2:
        raise InvalidField(FieldViolation("further", "choose two versions at least"))
    return asked.versions


def _check_version(text: str, name: str) -> None:
    if not VERSION.fullmatch(text):
        raise InvalidField(FieldViolation(name, f"{text[:80]!r} is not of the form 'model/3'"))


def _checked_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise InvalidField(FieldViolation("", "The form is not complete. Load the page again.")) from None


def _field_of(name: str) -> str:
    """Return the field of this page for one of the contract, or of a call; empty if it has none."""
    base = name.partition("[")[0]
    if base == "versions":
        return "further"
    return FIELDS.get(name, FIELDS.get(base, base if base in {*TEXTS, "file"} else ""))


def _asked(text: Callable[[str, str], str], texts: Callable[[str], Sequence[str]]) -> Asked:
    given = {name: text(name, "").strip() for name in TEXTS}
    return Asked(text("model", "").strip(), tuple(texts("versions")), given)


async def _view(client: AsyncClient, asked: Asked, caller: Caller, problems: Mapping[str, str] | None = None) -> View:
    refusal = why_refused(caller, ROLE)
    found = await first(client.list_versions(asked.model), OFFERED) if asked.model else ()
    offered = [Offered(one.ref, one.stage, one.created_at, str(one.ref) in asked.ticked) for one in found]
    listed = {str(one.ref) for one in offered}
    rest = [version for version in asked.versions if version not in listed]
    given = {**asked.given, "further": ", ".join(rest)}
    return View(
        asked.model, offered, given, [metric.value for metric in Metric], asked.command("DATA"), refusal, problems or {}
    )
