"""Who is independent of a model's development, and may close findings about it and review it."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import NotIndependent
from modelward_server.storage.tables import VersionRow


def check_not_developer(session: Session, model: str, version: int, person: str, act: str) -> None:
    """Refuse what a person does about a version that they registered; about a model, if they registered any version.

    Args:
        session: the transaction.
        model: the model's name.
        version: the version's number; 0 for the model.
        person: who acts.
        act: what they would do, such as "close finding-1".

    Raises:
        NotIndependent: they are not independent.
    """
    own = select(VersionRow.version).where(VersionRow.model == model, VersionRow.created_by == person)
    if version:
        own = own.where(VersionRow.version == version)
    registered = session.scalar(own.order_by(VersionRow.version.desc()).limit(1))
    if registered is not None:
        message = f"{person} registered {model}/{registered}, and cannot {act}; another person must"
        raise NotIndependent(message, model=model)
