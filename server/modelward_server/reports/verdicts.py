"""The presentation of verdicts in reports."""

from modelward.comparison import Verdict

TONES = {
    Verdict.SUPERIOR: "better",
    Verdict.NON_INFERIOR: "better",
    Verdict.INFERIOR: "worse",
    Verdict.INCONCLUSIVE: "unsure",
}
"""The CSS class of each verdict, which determines its colour."""
HEADLINES = {
    Verdict.SUPERIOR: "{} is better than {}",
    Verdict.NON_INFERIOR: "{} is non-inferior to {}",
    Verdict.INFERIOR: "{} is worse than {}",
    Verdict.INCONCLUSIVE: "{} compared with {}: inconclusive",
}
"""The headlines of reports, with the names of both sides."""
