"""Drift reports drawn through the front door: pages and pictures, from data and from whatever users may write."""

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from modelward import AsyncClient, DriftReport, FeatureDrift, VersionRef, errors
from modelward.drift import Histogram, JointDrift
from modelward_server.actor_context import ActorContext
from modelward_server.drift.reports import keep_report
from tests.support.drift_reports import FEATURES, categories, crisis, numbers, quarters
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Draws pictures.

VOID = {"meta", "br", "hr", "img", "input", "link", "col"}
NASTY = "<script>alert('$x$')</script>\"&日本"
MESSAGE_BYTES = 4 << 20


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(content.decode())
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self._open, f"<{tag}/> closes itself only in SVG"
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def count(self, tag: str, **attributes: str) -> int:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return sum(
            name == tag and all(given.get(key) == value for key, value in wanted.items())
            for name, given in self.elements
        )


class Kept:
    """Keeps made-up reports in the ledger, as if a comparison had found them."""

    def __init__(self, server: RunningServer) -> None:
        self._ledger = server.app.ledger

    def keep(self, reports: Sequence[DriftReport]) -> str:
        """Return the id of the last."""
        with self._ledger.writing() as session:
            for report in reports:
                keep_report(session, report, ActorContext(report.created_by, report.created_at))
        return reports[-1].report_id


@pytest.fixture
def kept(server: RunningServer) -> Kept:
    return Kept(server)


@pytest.fixture
async def version(client: AsyncClient, name: str, tmp_path: Path) -> VersionRef:
    (tmp_path / "model.bin").write_bytes(b"model")
    registered = await client.register(name, tmp_path / "model.bin")
    return VersionRef(registered.model, registered.version)


def of(version: VersionRef, features: Sequence[FeatureDrift], **changes: Any) -> DriftReport:
    return replace(crisis(version, features), **changes)


async def test_page_tells_the_finding_its_evidence_and_its_limits(
    client: AsyncClient, version: VersionRef, kept: Kept
) -> None:
    reports = quarters(version)
    page = Page(await client.render_drift_report(kept.keep(reports)))
    report = reports[-1]
    for description in (
        report.summary,
        *report.drivers,
        *report.caveats,
        "Drift in 2008Q4",
        "2026-11-23 15:07",
        "UTC, by ada",
    ):
        assert description in page.text
    assert "crisis nearest no drift 0.118" in page.text
    assert "AUC 0.913 threshold 0.750" in page.text
    assert "12.5%" in page.text
    assert page.count("svg", class_="histogram") + page.count("div", class_="histogram bars") == 6
    assert page.count("path", class_="reference") == 5


async def test_table_has_every_figure_of_every_feature_in_the_order_of_the_report(
    client: AsyncClient, version: VersionRef, kept: Kept
) -> None:
    report = of(version, FEATURES)
    page = Page(await client.render_drift_report(kept.keep([report])))
    table = page.text.partition("All figures")[2]
    places = [table.index(f" {feature.name} ") for feature in report.features]
    assert places == sorted(places)
    beta = next(feature for feature in report.features if feature.name == "beta_252d")
    row = table.partition(" beta_252d ")[2].split()
    figures = (beta.score, beta.ks, 0.2, beta.kl, 0.2, beta.kl_reverse, beta.js, beta.psi, beta.wasserstein)
    assert row[:10] == ["no", *(f"{figure:.3f}" for figure in figures)]


async def test_scores_over_time_are_those_of_the_same_version_and_reference_until_the_report(
    client: AsyncClient, version: VersionRef, kept: Kept
) -> None:
    reports = quarters(version)
    other = replace(reports[0], report_id=str(uuid4()), reference="calm", label="elsewhere")
    kept.keep([other, *reports])
    page = Page(await client.render_drift_report(reports[4].report_id))
    assert [label for label in page.texts if label in {report.label for report in reports}] == [
        report.label for report in reports[:5]
    ]
    assert "elsewhere" not in page.text
    assert (page.count("path", class_="yes"), page.count("circle", class_="no")) == (1, 4)
    assert "Drift score of 5 reports, drift detected in 1." in str(page.elements)


async def test_page_is_whole_by_itself_and_follows_the_reader(
    client: AsyncClient, version: VersionRef, kept: Kept
) -> None:
    content = (await client.render_drift_report(kept.keep(quarters(version)))).decode()
    page = Page(content.encode())
    assert not re.search(r"https?:|//\w|@import|url\(", content)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    references = [given.get("src") or given.get("href") for _, given in page.elements]
    assert {reference for reference in references if reference} == {"#caveats"}
    assert "@media screen and (prefers-color-scheme: dark)" in content
    assert "@media print" in content
    assert page.count("meta", name="viewport") == 1


async def test_text_and_lines_stand_out_from_the_paper_in_light_and_dark(
    client: AsyncClient, version: VersionRef, kept: Kept
) -> None:
    content = (await client.render_drift_report(kept.keep([of(version, FEATURES[:1])]))).decode()
    light, dark = content.partition("@media screen and (prefers-color-scheme: dark)")[::2]
    for style in (light, dark):
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", style))
        for behind in ("paper", "panel"):
            for text in ("ink", "soft", "live", "drift"):
                assert contrast(colours[text], colours[behind]) >= 4.5  # WCAG 2.2, AA: text
            for line in ("ground", "reference-edge"):
                assert contrast(colours[line], colours[behind]) >= 3  # and what is no text


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it, from 1 to 21."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    shares = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


async def test_what_is_drawn_is_told_to_those_who_do_not_see_it(
    client: AsyncClient, version: VersionRef, kept: Kept
) -> None:
    page = Page(await client.render_drift_report(kept.keep(quarters(version))))
    pictures = [given for tag, given in page.elements if tag == "svg" or given.get("role") == "img"]
    outer = [given for given in pictures if "class" in given and "gauge" not in str(given["class"])]
    assert len(outer) == 7
    assert all(given.get("role") == "img" and len(str(given.get("aria-label"))) > 40 for given in outer)
    assert page.count("html", lang="en") == 1
    assert page.count("div", class_="scroll", tabindex="0", role="region") == 1
    identifiers = [given["id"] for _, given in page.elements if "id" in given]
    assert len(identifiers) == len(set(identifiers))
    named = {given["aria-labelledby"] for _, given in page.elements if "aria-labelledby" in given}
    assert named <= set(identifiers)


async def test_what_users_write_is_text_and_never_markup(client: AsyncClient, version: VersionRef, kept: Kept) -> None:
    features = (
        replace(numbers(NASTY, 1, 2, 1), vanished_categories=(NASTY,)),
        categories(f"b{NASTY}", {NASTY: (0.5, 0.1), "calm": (0.5, 0.3), f"new{NASTY}": (0.0, 0.6)}),
    )
    report = of(version, features, label=NASTY, created_by=NASTY, summary=NASTY, caveats=(NASTY,))
    report = replace(report, references=tuple(replace(one, name=NASTY) for one in report.references))
    report_id = kept.keep([report])
    page = Page(await client.render_drift_report(report_id))
    assert page.count("script") == 0
    assert page.text.count(NASTY) > 8
    assert NASTY in str(next(given["aria-label"] for _, given in page.elements if given.get("role") == "img"))
    assert _picture(await client.render_drift_report(report_id, "png")).format == "PNG"


async def test_picture_has_the_expected_size(client: AsyncClient, version: VersionRef, kept: Kept) -> None:
    report_id = kept.keep(quarters(version))
    whole = _picture(await client.render_drift_report(report_id, format="png"))
    assert (whole.format, whole.size) == ("PNG", (2400, 1870))
    colours = {colour for _, colour in whole.convert("RGB").getcolors(whole.width * whole.height) or []}
    assert {(0x15, 0x59, 0xB0), (0xCC, 0xD3, 0xDB), (0xB3, 0x26, 0x1E)} <= colours
    one = of(version, FEATURES[:1])
    assert _picture(await client.render_drift_report(kept.keep([one]), format="png")).size == (2400, 1410)


async def test_joint_test_without_a_classifier_says_so(client: AsyncClient, version: VersionRef, kept: Kept) -> None:
    calm = JointDrift(auc_threshold=0.75, mmd=0.01, p_value=0.4, rows=63)
    page = Page(await client.render_drift_report(kept.keep([of(version, FEATURES[:1], joint=calm)])))
    assert "AUC not measured the discrepancy is not significant" in page.text
    assert "threshold 0.750" not in page.text


async def test_report_without_distributions_or_other_references_says_so(
    client: AsyncClient, version: VersionRef, kept: Kept
) -> None:
    bare = tuple(replace(feature, histogram=Histogram()) for feature in FEATURES[:2])
    report_id = kept.keep([of(version, bare, references=(), joint=JointDrift(), label="")])
    page = Page(await client.render_drift_report(report_id))
    assert page.text.count("no distribution stored") == 2
    assert "Drift in the live data" in page.text
    assert "contains no distances to other references" in page.text
    assert "Not tested" in page.text
    assert f"This is the first report of {version}" in page.text
    assert _picture(await client.render_drift_report(report_id, "png")).format == "PNG"


@pytest.mark.parametrize(
    "histogram",
    [
        Histogram((), (), (1.0,), (1.0,)),
        Histogram((0.5,), (), (0.0, 0.0), (0.3, 0.7)),
        Histogram((-1e300, 0.0, 1e300), (), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)),
        Histogram((), ("a",), (0.0,), (0.0,)),
        Histogram((), tuple("abcdefghijk"), (1 / 11,) * 11, (1 / 11,) * 11),
    ],
    ids=["one bin", "nothing live", "enormous", "nothing at all", "many categories"],
)
async def test_distribution_of_any_shape_can_be_drawn(
    client: AsyncClient, version: VersionRef, kept: Kept, histogram: Histogram
) -> None:
    feature = replace(FEATURES[0], histogram=histogram, psi=1e300, ks_threshold=0.0)
    report_id = kept.keep([of(version, [feature])])
    assert " 1e+300 " in Page(await client.render_drift_report(report_id)).text
    assert _picture(await client.render_drift_report(report_id, "png")).width == 2400


@pytest.mark.system
@pytest.mark.weekly
async def test_thousand_features_fit_a_message(client: AsyncClient, version: VersionRef, kept: Kept) -> None:
    features = [replace(FEATURES[i % len(FEATURES)], name=f"factor_{i:04}_{'x' * 40}") for i in range(1000)]
    content = await client.render_drift_report(kept.keep([of(version, features)]))
    page = Page(content)
    assert len(content) < MESSAGE_BYTES / 4
    assert all(feature.name in page.text for feature in features)
    assert page.count("path", class_="reference") <= 6
    assert "The table is truncated" not in page.text


@pytest.mark.system
@pytest.mark.weekly
async def test_table_that_a_message_cannot_hold_is_cut_and_says_so(
    client: AsyncClient, version: VersionRef, kept: Kept
) -> None:
    named = tuple(f"{'c' * 40}{i}" for i in range(3))
    features = [
        replace(FEATURES[0], name=f"{i:05}{'&' * 55}", new_categories=named, vanished_categories=named)
        for i in range(5000)
    ]
    content = await client.render_drift_report(kept.keep([of(version, features)]))
    assert len(content) < MESSAGE_BYTES
    [shown] = re.findall(r"to the ([\d,]+) of 5,000 features", Page(content).text)
    assert Page(content).count("tr", class_="yes") == int(shown.replace(",", "")) > 1000


async def test_report_of_a_real_comparison_is_drawn(client: AsyncClient, name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    data = {"ret": random.normal(size=500), "side": random.choice(["buy", "sell"], 500)}
    (tmp_path / "model.bin").write_bytes(b"model")
    registered = await client.register(name, tmp_path / "model.bin", reference=data)
    report = await client.detect_drift(registered, data | {"ret": data["ret"] * 4}, label="wild")
    page = Page(await client.render_drift_report(report.report_id))
    assert report.summary in page.text
    assert f"{datetime.now(UTC):%Y-%m-}" in page.text
    assert _picture(await client.render_drift_report(report.report_id, "png")).width == 2400


async def test_unknown_report_and_unknown_format_are_refused(client: AsyncClient) -> None:
    for known in ("html", "png"):
        with pytest.raises(errors.ReportNotFound, match="there is no report 'absent'"):
            await client.render_drift_report("absent", known)
    with pytest.raises(errors.InvalidField, match="'pdf' is not one of html, png"):
        await client.render_drift_report("absent", "pdf")  # type: ignore[arg-type]


def _picture(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture
