"""Models: create, read, list, update."""

from collections.abc import Collection, Mapping

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from modelward.errors import ModelExists
from modelward.lifecycle import Model, Page, Stage
from modelward_server.caller import Caller
from modelward_server.lifecycle.rows import check_etag, check_mask, etag, model_row, production_version, to_model
from modelward_server.store import audit
from modelward_server.store.audit import Kind
from modelward_server.store.paging import Key, fetch_page, starts_with
from modelward_server.store.tables import ModelRow, VersionRow


def create_model(session: Session, name: str, description: str, tags: Mapping[str, str], caller: Caller) -> Model:
    """Create a model without versions.

    Raises:
        ModelExists: the name is taken.
    """
    if session.get(ModelRow, name) is not None:
        raise ModelExists(f"the model {name!r} exists; change it with UpdateModel", model=name)
    created = to_model(add_model(session, name, caller, description, tags), 0)
    audit.append(session, Kind.MODEL, name, created, caller)
    return created


def add_model(
    session: Session, name: str, caller: Caller, description: str = "", tags: Mapping[str, str] | None = None
) -> ModelRow:
    row = ModelRow(
        name=name, description=description, tags=dict(tags or {}), created_at=caller.at, updated_at=caller.at
    )
    session.add(row)
    session.flush()
    return row


def get_model(session: Session, name: str) -> Model:
    """Return a model.

    Raises:
        ModelNotFound: there is none of that name.
    """
    return to_model(model_row(session, name), production_version(session, name))


def list_models(
    session: Session,
    name_prefix: str,
    stages: Collection[Stage],
    tags: Mapping[str, str],
    page_size: int,
    page_token: str,
) -> Page[Model]:
    """Return a page of the models that meet every condition, by name."""
    rows = select(ModelRow).where(starts_with(ModelRow.name, name_prefix))
    if stages:
        rows = rows.where(exists().where(VersionRow.model == ModelRow.name, VersionRow.stage.in_(stages)))
    for key, value in tags.items():
        rows = rows.where(ModelRow.tags[key].as_string() == value)
    conditions = ("models", name_prefix, sorted(stages), sorted(tags.items()))
    page = fetch_page(session, rows, [Key(ModelRow.name)], page_size, page_token, conditions)
    in_production = _production_versions(session, [row.name for row in page.items])
    return Page(tuple(to_model(row, in_production.get(row.name, 0)) for row in page.items), page.next_page_token)


def _production_versions(session: Session, models: list[str]) -> dict[str, int]:
    query = select(VersionRow.model, VersionRow.version).where(
        VersionRow.model.in_(models), VersionRow.stage == Stage.PRODUCTION
    )
    return dict(session.execute(query).all())


def update_model(
    session: Session,
    name: str,
    paths: Collection[str],
    description: str,
    tags: Mapping[str, str],
    expected_etag: str,
    caller: Caller,
) -> Model:
    """Replace those of a model's description and tags that `paths` names.

    Raises:
        InvalidField: `paths` is empty.
        ModelNotFound: there is none of that name.
        EtagMismatch: it changed since `expected_etag` was read.
    """
    check_mask(paths)
    row = model_row(session, name, lock=True)
    check_etag(expected_etag, etag(row))
    if "description" in paths:
        row.description = description
    if "tags" in paths:
        row.tags = dict(tags)
    touch_model(row, caller)
    _show_in_mlflow(session, row)
    changed = to_model(row, production_version(session, name))
    audit.append(session, Kind.MODEL, name, changed, caller)
    return changed


def touch_model(row: ModelRow, caller: Caller) -> None:
    """Note that the model, or the stage of one of its versions, changed."""
    row.revision += 1
    row.updated_at = max(row.updated_at, caller.at)


def _show_in_mlflow(session: Session, row: ModelRow) -> None:
    """Have MLflow show the model's facts, which it does with those of the latest version."""
    if row.latest_version:
        session.get_one(VersionRow, (row.name, row.latest_version)).mirror_wanted += 1
