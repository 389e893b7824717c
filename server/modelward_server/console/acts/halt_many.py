"""The halt of many models at once: all that match, or none."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from starlette.requests import Request

from modelward import AsyncClient, Caller
from modelward.caller import Role
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import HaltResult
from modelward_server.console.acts.act import Form
from modelward_server.console.guard import why_refused

TEMPLATE = "halt_many"
TRIED = "dry run"
"""The reason of a dry run, which must have one."""


@dataclass(frozen=True)
class Selection:
    """Which models are meant; every condition must be met."""

    prefix: str
    tags: Mapping[str, str]
    all_models: bool

    @property
    def given(self) -> bool:
        """Whether there is a condition."""
        return bool(self.prefix or self.tags or self.all_models)

    @property
    def fields(self) -> dict[str, str]:
        """The same as fields of a form."""
        return {"prefix": self.prefix, "tags": self.tags_text, "all": "on" if self.all_models else ""}

    @property
    def tags_text(self) -> str:
        """The tags as they are typed."""
        return ", ".join(f"{key}={value}" for key, value in self.tags.items())

    @property
    def command(self) -> str:
        """The same by command."""
        tags = [f"--tag {shlex.quote(f'{key}={value}')}" for key, value in self.tags.items()]
        prefix = [f"--prefix {shlex.quote(self.prefix)}"] if self.prefix else []
        every = ["--all"] if self.all_models else []
        return " ".join(["modelward halt", *prefix, *tags, *every, "--reason …"])


@dataclass(frozen=True)
class View:
    """The page that asks which models to halt, and shows those that would be."""

    selection: Selection
    result: HaltResult | None
    """What a halt would do; None where nothing is selected yet, or the user may not halt."""
    refusal: str
    """Why the user may not; empty if he may."""
    request_id: str = field(default_factory=lambda: str(uuid4()))


async def ask(client: AsyncClient, request: Request, caller: Caller) -> View:
    """Return the page; `prefix`, `tags` and `all` in its query select models.

    Raises:
        InvalidField: the prefix cannot begin a name, a tag is not of the form KEY=VALUE, or a condition is given
            together with `all`.
    """
    selection = _selection(request.query_params)
    if refusal := why_refused(caller, Role.OPERATOR):
        return View(selection, None, refusal)
    return View(selection, await _halt(client, selection, TRIED, dry_run=True) if selection.given else None, "")


async def make(client: AsyncClient, form: Form) -> str:
    """Halt the models that a form selects, and return the address of the page that shows what is halted.

    Raises:
        ModelwardError: the server refuses it: the reason is blank, the role is too low.
    """
    await _halt(client, _selection(form), form.get("reason", ""), request_id=form.get("request_id", ""))
    return "/"


async def _halt(
    client: AsyncClient, selection: Selection, reason: str, *, dry_run: bool = False, request_id: str = ""
) -> HaltResult:
    return await client.halt_many(
        prefix=selection.prefix,
        tags=selection.tags,
        all_models=selection.all_models,
        reason=reason,
        dry_run=dry_run,
        request_id=request_id,
    )


def _selection(form: Form) -> Selection:
    pairs = [text.strip().partition("=") for text in form.get("tags", "").split(",") if text.strip()]
    if any(not key or not equals for key, equals, _ in pairs):
        raise InvalidField(FieldViolation("tags", "is not of the form KEY=VALUE, KEY=VALUE"))
    return Selection(form.get("prefix", "").strip(), {key: value for key, _, value in pairs}, bool(form.get("all")))
