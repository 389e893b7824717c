"""Dataclasses of the inventory: owners, purpose and scope of a model, and the lineage of a version."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from modelward._record import Record


@dataclass(frozen=True, repr=False)
class InventoryScope(Record):
    """What a model is approved for; an empty field states nothing."""

    regions: tuple[str, ...] = ()
    """Regions, such as `EU`."""
    asset_classes: tuple[str, ...] = ()
    """Classes of assets, such as `equity index futures`."""
    instruments: tuple[str, ...] = ()
    """Instruments, such as `ES`."""
    venues: tuple[str, ...] = ()
    """Venues, such as `XCME`."""
    desks: tuple[str, ...] = ()
    """Desks that may use it."""
    portfolios: tuple[str, ...] = ()
    """Portfolios that may use it, such as `overnight`."""


@dataclass(frozen=True, repr=False)
class Inventory(Record):
    """What the inventory states of a model; every field may be empty."""

    owners: tuple[str, ...] = ()
    """The people or teams that own it."""
    accountable_manager: str = ""
    """The manager who is accountable for it."""
    purpose: str = ""
    """What it is used for, in plain words."""
    tier: int | None = None
    """Its materiality, from 1, the most material, to 4; None if it was not assessed."""
    scope: InventoryScope = InventoryScope()
    """What it is approved for."""
    restrictions: tuple[str, ...] = ()
    """Uses that are forbidden or need consent, one in each text."""
    limits: tuple[str, ...] = ()
    """Limits within which it may be used, such as `gross exposure 5 million USD`."""
    assumptions: tuple[str, ...] = ()
    """Assumptions that it rests on."""
    weaknesses: tuple[str, ...] = ()
    """Its known weaknesses."""
    depends_on: tuple[str, ...] = ()
    """The names of the models whose results it uses; they exist, and none depends on itself through others."""
    next_review: date | None = None
    """The date of its next review; None if none is set."""


@dataclass(frozen=True, repr=False)
class SourceCode(Record):
    """A state of source code."""

    repository: str = ""
    """Where it is kept, such as `https://git.example.com/desk/spx.git`, without passwords and tokens."""
    commit: str = ""
    """The commit, as 7 to 64 lowercase hexadecimal digits."""
    dirty: bool | None = None
    """Whether files of the repository differed from the commit; None if that is not known."""


@dataclass(frozen=True, repr=False)
class TrainingData(Record):
    """Data that a version was trained on; the server does not read them."""

    uri: str = ""
    """Where they are, such as `s3://bucket/spx/2026q1.parquet`, without passwords and tokens."""
    sha256: str = ""
    """The SHA-256 of their content as 64 hexadecimal digits; empty if it is not known."""


@dataclass(frozen=True, repr=False)
class Environment(Record):
    """The software of a process."""

    python: str = ""
    """The release of Python, such as `3.11.9`."""
    platform: str = ""
    """The operating system and the machine."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """The releases of packages by their names, such as `{"scikit-learn": "1.7.2"}`."""


@dataclass(frozen=True, repr=False)
class Lineage(Record):
    """Where a version comes from, and what is known of it; every field may be empty.

    The version has more of it in fields of its own: `training_window` with the horizon of the labels, `overfitting`
    with the number of trials, and `job_id`.
    """

    code: SourceCode = SourceCode()
    """The source code that trained it."""
    data: tuple[TrainingData, ...] = ()
    """The data that it was trained on."""
    environment: Environment = field(default_factory=Environment)
    """The software that trained it."""
    parent_version: int = 0
    """The version of the same model that it was derived from, an earlier one; 0 if there is none."""
    restrictions: tuple[str, ...] = ()
    """Uses of this version that are forbidden or need consent, one in each text."""
    limits: tuple[str, ...] = ()
    """Limits within which this version may be used."""
    assumptions: tuple[str, ...] = ()
    """Assumptions that this version rests on."""
    weaknesses: tuple[str, ...] = ()
    """Known weaknesses of this version."""
