"""What a kind of change is: how it is tried and made, what its form has, and who may make it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote as shell

from modelward import AsyncClient
from modelward.caller import Role
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import GateResult, Model, ModelVersion

Form = Mapping[str, str]


@dataclass(frozen=True)
class Effect:
    """What a change does, or would do."""

    gates: Sequence[GateResult] = ()
    archived: ModelVersion | None = None
    version: ModelVersion | None = None
    """The version that moves, in its new stage."""
    lines: Sequence[str] = ()
    """What else it does, in words."""
    address: str = ""
    """The address that shows the result, where it is known only afterwards."""


@dataclass(frozen=True)
class Choice:
    """A field of the address that the page offers to change."""

    name: str
    label: str
    value: str
    options: Sequence[tuple[str, str]]
    """Values, each with its name."""


@dataclass(frozen=True)
class Input:
    """A field of the form, which the user fills in."""

    name: str
    label: str
    kind: str = "text"
    """`text`, `lines`, `date`, `datetime-local`, or `choice` with options."""
    required: bool = False
    value: str = ""
    """What is in it at first."""
    options: Sequence[tuple[str, str]] = ()
    """Values, each with its name."""
    longest: int = 2000
    """The most characters."""


def about(model: Model, form: Form) -> str:
    """Return the model, or the version of it that the form names, as commands take it."""
    return shell(f"{model.name}/{form['version']}" if form.get("version") else model.name)


async def no_inputs(client: AsyncClient, model: Model, form: Form) -> Sequence[Input]:
    """Offer nothing to fill in besides the reason."""
    return ()


async def no_choices(client: AsyncClient, form: Form) -> Sequence[Choice]:
    """Offer nothing to choose."""
    return ()


async def model_etag(client: AsyncClient, model: Model, form: Form) -> str:
    """Return the etag of the model that is shown."""
    return model.etag


@dataclass(frozen=True)
class Act:
    """A kind of change of a model, or of something that belongs to it."""

    title: str
    """With the names of `fields` in braces."""
    run: Callable[[AsyncClient, Model, Form, bool], Awaitable[Effect]]
    """Makes the change; with True only tries it."""
    command: Callable[[Model, Form], str]
    """The same by command."""
    after: str
    """The address that shows the result, with the names of `model` and of `fields` in braces."""
    role: Role = Role.OPERATOR
    """The least role that may make it."""
    etag: Callable[[AsyncClient, Model, Form], Awaitable[str]] = model_etag
    reason_taken: bool = True
    reason_required: bool = False
    moves: bool = False
    """Whether engines follow: it changes what is in production, or halts it."""
    fields: tuple[str, ...] = ()
    """What the address names besides the model."""
    options: tuple[str, ...] = ()
    """What it may name."""
    choices: Callable[[AsyncClient, Form], Awaitable[Sequence[Choice]]] = no_choices
    inputs: Callable[[AsyncClient, Model, Form], Awaitable[Sequence[Input]]] = no_inputs
    """What the form has; after a refusal the page is shown again with what was filled in."""
    danger: bool = False
    """Whether the button warns."""


def field(form: Form, name: str) -> str:
    """Return a field that must be there.

    Raises:
        InvalidField: it is not.
    """
    if name not in form:
        raise InvalidField(FieldViolation(name, "is missing"))
    return form[name]


def lines_of(form: Form, name: str) -> list[str]:
    """Return the lines of a field that are not blank."""
    return [line.strip() for line in form.get(name, "").splitlines() if line.strip()]


def request_id(form: Form, dry_run: bool) -> str:
    """Return the request id that was made with the form; a dry run has none."""
    return "" if dry_run else form.get("request_id", "")
