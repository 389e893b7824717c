"""A drift report as a PNG: the result, its strongest features and the scores over time, for a mail or a chat."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelward.drift import DriftReport, FeatureDrift
from modelward_server.drift.queries import ReportScore
from modelward_server.reports.canvas import (
    DRIFT,
    GROUND,
    INK,
    LEFT,
    LIVE,
    REFERENCE,
    RIGHT,
    SOFT,
    Canvas,
    align_ends,
    drawable,
    drawing,
    label,
    plain,
)
from modelward_server.reports.drift.charts import MAX_LABELS_WIDE, ceiling, fewer, labelled, ticked
from modelward_server.reports.wording import (
    against,
    count,
    figure,
    instant,
    middle_cut,
    percent,
    probability,
    score,
    short,
    ticks,
)

MAX_FEATURES_DRAWN, COLUMNS = 6, 3
HEAD, FEATURE, COURSE = 2.35, 2.3, 2.4
"""Heights of the parts of the picture, in inches."""

LEGEND = "grey: reference   ·   blue: live   ·   each statistic is followed by its threshold   ·   p is adjusted"


def draw_picture(report: DriftReport, scores: Sequence[ReportScore]) -> bytes:
    """Draw a report as a PNG 2400 pixels wide.

    Args:
        report: the report.
        scores: the scores of earlier reports and of this one, the oldest first.
    """
    drawn = report.features[:MAX_FEATURES_DRAWN]
    rows = -(-len(drawn) // COLUMNS)
    height = HEAD + rows * FEATURE + COURSE
    with drawing:
        canvas = Canvas(height)
        _draw_head(canvas, report)
        for number, feature in enumerate(drawn):
            top = height - HEAD - (number // COLUMNS) * FEATURE
            _draw_feature(_axes(canvas, number % COLUMNS, top), feature)
        _draw_course(canvas.axes(LEFT + 0.3, 0.75, RIGHT - LEFT - 0.3, 1.2), scores)
        return canvas.png()


def _axes(canvas: Canvas, column: int, top: float) -> Any:
    width = (RIGHT - LEFT - 0.8) / COLUMNS
    return canvas.axes(LEFT + column * (width + 0.4), top - 1.65, width, 1.3)


def _draw_head(canvas: Canvas, report: DriftReport) -> None:
    subject = short(report.label, 60) or "the live data"
    verdict = "▲ Drift" if report.drift_detected else "No drift"
    facts = (
        f"score {score(report.score)}",
        f"confidence {percent(report.confidence)}",
        f"{count(report.rows)} live rows, {count(report.reference_rows)} of the reference",
        f"nearest reference {report.nearest_reference}",
        f"{instant(report.created_at)} UTC" + (f", {short(report.created_by, 40)}" if report.created_by else ""),
    )
    eyebrow = f"Drift report  /  {report.version}  /  reference {report.reference}"
    canvas.head(eyebrow, f"{verdict} in {subject}", report.summary, facts, DRIFT if report.drift_detected else INK)
    canvas.write(1.92, LEGEND, color=SOFT, fontsize=8)


def _draw_feature(axes: Any, feature: FeatureDrift) -> None:
    plain(axes)
    name, colour = middle_cut(feature.name, 32), DRIFT if feature.drifted else SOFT
    verdict = "▲ drift" if feature.drifted else "no drift"
    label(axes, 0, 1.1, name, color=INK, fontsize=10, weight="bold")
    label(axes, 1, 1.1, verdict, color=colour, fontsize=9, ha="right")
    _draw_distribution(axes, feature)
    for line, figures in enumerate(_figures(feature)):
        label(axes, 0, -0.32 - 0.13 * line, "    ".join(figures), color=SOFT, fontsize=7.5)


def _figures(feature: FeatureDrift) -> tuple[list[str], list[str]]:
    """Return the statistics below a feature's distribution, in two lines."""
    distances = [("KS", feature.ks, feature.ks_threshold), ("KL", feature.kl, feature.kl_threshold)]
    if feature.wasserstein_threshold:
        distances.append(("W", feature.wasserstein, feature.wasserstein_threshold))
    first = [f"{name} {' / '.join(against(value, threshold))}" for name, value, threshold in distances]
    return first, [f"PSI {figure(feature.psi)}", f"p {probability(feature.adjusted_p_value)}"]


def _draw_distribution(axes: Any, feature: FeatureDrift) -> None:
    stored = feature.histogram
    if stored.edges:
        _draw_steps(axes, feature)
    elif stored.categories:
        _draw_bars(axes, feature)
    else:
        description = "all values are in one bin" if stored.reference else "no distribution stored"
        label(axes, 0.5, 0.5, description, color=SOFT, fontsize=9, ha="center")


def _draw_steps(axes: Any, feature: FeatureDrift) -> None:
    stored, bins = feature.histogram, np.arange(len(feature.histogram.reference) + 1)
    axes.stairs(stored.reference, bins, fill=True, color=REFERENCE)
    axes.stairs(stored.reference, bins, color=GROUND, linewidth=0.8)
    axes.stairs(stored.live, bins, color=LIVE, linewidth=1.5)
    axes.set_xlim(0, bins[-1])
    axes.set_ylim(0, ceiling(stored))
    places = ticked(len(stored.edges))
    axes.set_xticks([place + 1 for place in places], ticks([stored.edges[place] for place in places]))
    align_ends(axes.get_xticklabels())
    axes.spines["bottom"].set_visible(True)


def _draw_bars(axes: Any, feature: FeatureDrift) -> None:
    names, reference, live = zip(*fewer(feature.histogram), strict=True)
    places, beside = range(len(names)), axes.get_yaxis_transform()
    axes.barh(places, reference, height=0.8, color=REFERENCE, edgecolor=GROUND, linewidth=0.8)
    axes.barh(places, live, height=0.45, fill=False, edgecolor=LIVE, linewidth=1.5)
    for place, name, before, now in zip(places, names, reference, live, strict=True):
        label(axes, 0, place, short(name, 12), beside, color=INK, fontsize=8)
        shares = f"{percent(before)} → {percent(now)}"
        label(axes, 1, place, shares, beside, color=SOFT, fontsize=7.5, ha="right")
    longest = max(*reference, *live) or 1.0
    axes.set_xlim(-0.6 * longest, 1.6 * longest)  # Names on the left, shares on the right.
    axes.invert_yaxis()


def _draw_course(axes: Any, scores: Sequence[ReportScore]) -> None:
    plain(axes)
    places, heights = np.arange(len(scores)), np.array([score.score for score in scores])
    found = np.array([score.drift_detected for score in scores])
    axes.axhspan(0.5, 1, color=DRIFT, alpha=0.05, linewidth=0)
    axes.axhline(0.5, color=DRIFT, linewidth=1.2, linestyle=(0, (5, 4)))
    axes.plot(places, heights, color=LIVE, linewidth=1.4, clip_on=False)
    axes.plot(places[~found], heights[~found], "o", color=LIVE, markerfacecolor="white", clip_on=False)
    axes.plot(places[found], heights[found], "^", color=DRIFT, markersize=8, markeredgecolor="white", clip_on=False)
    axes.plot(places[-1:], heights[-1:], "o", color=INK, markersize=15, fillstyle="none", clip_on=False)
    axes.set(xlim=(-0.5, len(scores) - 0.5), ylim=(0, 1), yticks=[0, 0.5, 1], yticklabels=["0", "0.5", "1.0"])
    axes.spines["bottom"].set_visible(True)
    named = [place for place in range(len(scores)) if labelled(place, len(scores), MAX_LABELS_WIDE)]
    axes.set_xticks(named, [_named(scores[place]) for place in named], parse_math=False)
    title = "Drift over time   (dashed: threshold; ▲: drift; circled: this report)"
    label(axes, -0.028, 1.2, title, color=INK, fontsize=10, weight="bold")


def _named(score: ReportScore) -> str:
    return drawable(f"{short(score.label or 'unlabelled', 12)}\n{instant(score.created_at)[5:]}")
