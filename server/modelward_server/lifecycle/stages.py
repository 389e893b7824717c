"""The stage machine: the legal moves between stages."""

from modelward.errors import IllegalTransition
from modelward.lifecycle import Stage, VersionRef

LEGAL_MOVES: dict[Stage, tuple[Stage, ...]] = {
    Stage.TRAINING: (Stage.STAGING, Stage.ARCHIVED),
    Stage.STAGING: (Stage.PRODUCTION, Stage.TRAINING, Stage.ARCHIVED),
    Stage.PRODUCTION: (Stage.ARCHIVED,),
    Stage.ARCHIVED: (Stage.STAGING,),
}
"""For each stage, the stages to which a version may be moved from it."""


def check_move(version: VersionRef, current: Stage, to: Stage) -> None:
    """Check that the stage machine allows a move.

    Raises:
        IllegalTransition: it does not; the metadata contain the legal stages.
    """
    legal = LEGAL_MOVES[current]
    if to not in legal:
        targets = " or ".join(legal)
        raise IllegalTransition(
            f"{version} is in {current} and cannot be moved to {to}; from {current} it can go to {targets}",
            **{"from": current, "to": to, "legal": ",".join(legal)},
        )
