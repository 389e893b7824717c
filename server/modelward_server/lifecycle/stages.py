"""The stage machine: which moves are legal."""

from modelward.errors import IllegalTransition
from modelward.lifecycle import Stage, VersionRef

LEGAL_MOVES: dict[Stage, tuple[Stage, ...]] = {
    Stage.TRAINING: (Stage.STAGING, Stage.ARCHIVED),
    Stage.STAGING: (Stage.PRODUCTION, Stage.TRAINING, Stage.ARCHIVED),
    Stage.PRODUCTION: (Stage.ARCHIVED,),
    Stage.ARCHIVED: (Stage.STAGING,),
}
"""From each stage, the stages that a version may be moved to."""


def check_move(version: VersionRef, current: Stage, to: Stage) -> None:
    """Refuse a move that the stage machine does not know.

    Raises:
        IllegalTransition: with the legal stages in its metadata.
    """
    legal = LEGAL_MOVES[current]
    if to not in legal:
        open_ways = " or ".join(legal)
        raise IllegalTransition(
            f"{version} is in {current} and cannot be moved to {to}; from {current} it can go to {open_ways}",
            **{"from": current, "to": to, "legal": ",".join(legal)},
        )
