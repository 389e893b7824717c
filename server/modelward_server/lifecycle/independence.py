"""Who is independent of a model's development, and may close findings about it and review it."""

from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from modelward.errors import NotIndependent
from modelward_server.storage.documents import ORIGIN
from modelward_server.storage.tables import VersionRow


def check_not_developer(session: Session, model: str, version: int, person: str, act: str) -> None:
    """Refuse what a person does about a version that they registered; about a model, if they registered any version.

    Who registered a version in the registry that it was imported from has registered it.

    Args:
        session: the transaction.
        model: the model's name.
        version: the version's number; 0 for the model.
        person: who acts.
        act: what they would do, such as "close finding-1".

    Raises:
        NotIndependent: they are not independent.
    """
    rows = select(VersionRow.version, VersionRow.created_by, VersionRow.origin).where(VersionRow.model == model)
    rows = rows.where(or_(VersionRow.created_by == person, VersionRow.origin.is_not(None)))
    if version:
        rows = rows.where(VersionRow.version == version)
    newest_first = session.execute(rows.order_by(VersionRow.version.desc()))
    registered = next((row.version for row in newest_first if _has_registered(row, person)), None)
    if registered is not None:
        message = f"{person} registered {model}/{registered}, and cannot {act}; another person must"
        raise NotIndependent(message, model=model)


def _has_registered(row: Any, person: str) -> bool:
    return row.created_by == person or (row.origin is not None and person in ORIGIN.load(row.origin).registrants)
