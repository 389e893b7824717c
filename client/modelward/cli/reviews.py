"""Commands for reviews of models."""

from datetime import date
from itertools import islice
from typing import TYPE_CHECKING

import click

from modelward.cli.completion import complete_models
from modelward.cli.options import Day, about, limit
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.reviews import ReviewOutcome

if TYPE_CHECKING:
    from modelward import Client


@click.group()
def reviews() -> None:
    """Record and list reviews of models, and show which are due."""


@reviews.command("list")
@about(required=False)
@limit(20)
@remote
def list_reviews(client: "Client", out: Output, about: tuple[str, int], limit: int) -> None:
    """List the reviews of a model, one of its versions, or all models, the newest first."""
    model, version = about
    out.rows(
        list(islice(client.list_reviews(model, version=version), limit)),
        ["id", "of", "outcome", "by", "at (UTC)", "next", "comment", "conditions"],
        lambda one: [
            one.review_id,
            one.about,
            one.outcome,
            one.reviewed_by,
            one.reviewed_at,
            one.next_review or "",
            one.comment,
            "; ".join(one.conditions),
        ],
        none="there is no review",
    )


@reviews.command()
@click.argument("model", default="", shell_complete=complete_models)
@limit(100)
@remote
def due(client: "Client", out: Output, model: str, limit: int) -> None:
    """List the models in production whose review is due, or only MODEL, with the reasons."""
    out.rows(
        list(islice(client.list_due_reviews(model), limit)),
        ["model", "version", "last review (UTC)", "due since (UTC)", "reasons"],
        lambda one: [
            one.model,
            one.version,
            one.last_reviewed_at,
            one.reasons[0].since if one.reasons else None,
            "; ".join(reason.summary for reason in one.reasons),
        ],
        none="no review is due",
    )


@reviews.command()
@about(required=True)
@click.option("--outcome", required=True, type=click.Choice([one.value for one in ReviewOutcome]), help="Its result.")
@click.option("--comment", required=True, metavar="TEXT", help="Why.")
@click.option("--condition", "conditions", multiple=True, metavar="TEXT", help="What must hold; may be repeated.")
@click.option("--evidence", multiple=True, metavar="ID", help="Comparison, report or A/B test; may be repeated.")
@click.option("--next", "next_review", type=Day(), metavar="DATE", help="The day of the next review.")
@remote
def record(
    client: "Client",
    out: Output,
    about: tuple[str, int],
    outcome: str,
    comment: str,
    conditions: tuple[str, ...],
    evidence: tuple[str, ...],
    next_review: date | None,
) -> None:
    """Record a review of a model or one of its versions."""
    model, version = about
    made = client.record_review(
        model,
        outcome=outcome,
        comment=comment,
        version=version,
        conditions=conditions,
        evidence=evidence,
        next_review=next_review,
    )
    out.say(made, f"{made.review_id} of {made.about} is recorded: {made.outcome}")
