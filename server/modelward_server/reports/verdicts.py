"""How drawings show verdicts."""

from modelward.comparison import Verdict

TONES = {
    Verdict.SUPERIOR: "better",
    Verdict.NON_INFERIOR: "better",
    Verdict.INFERIOR: "worse",
    Verdict.INCONCLUSIVE: "unsure",
}
"""The class of the text, which is its colour."""
HEADLINES = {
    Verdict.SUPERIOR: "{} is better than {}",
    Verdict.NON_INFERIOR: "{} is non-inferior to {}",
    Verdict.INFERIOR: "{} is worse than {}",
    Verdict.INCONCLUSIVE: "{} compared with {}: inconclusive",
}
"""What a report is headed by, with the names of the two."""
