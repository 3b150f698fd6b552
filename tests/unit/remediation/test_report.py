"""Reports of patches: what they say, that they say it of failures too, and that no name gets markup into the page."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from remediation.patch import LayerSpectrum, Screen
from remediation.report import FORMAT, PatchReport, Provenance, page_of, plain_of, write_report
from remediation.report_svg import bar_of, series_of
from remediation.verification import Gates, verify
from tests.unit.remediation.gate_cases import DRIFTED, GOOD, MENDED, PATCH, REVERSAL, rate

FROM = Provenance(
    recipe="restore-tuned", options={"rank": 16, "strength": 20.0}, incident="prod-1", target="prod",
    drifted=DRIFTED.release, drifted_digest="ab" * 32, reference=GOOD.release, candidate=MENDED.release,
    candidate_digest="cd" * 32, made_with="alignd 0",
)  # fmt: skip
SAID = verify(candidate=MENDED, reference=GOOD, drifted=DRIFTED, gates=Gates(), patch=PATCH, reversal=REVERSAL)
REPORT = PatchReport(
    provenance=FROM, patch=PATCH, verification=SAID.to_json(),
    profiles={"reference": GOOD, "drifted": DRIFTED, "candidate": MENDED}, why="",
    written_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
)  # fmt: skip


def test_an_accepted_patch_has_every_gate_plot_and_digest_on_one_page() -> None:
    page = page_of(REPORT)
    for gate in SAID.gates:
        assert f"<td>{gate.name}" in page
    assert page.count('<svg class="plot"') == 3
    assert page.count('<svg class="bar"') == sum(g.measured is not None and g.limit is not None for g in SAID.gates)
    for text in ("accepted", "prod-1", "ab" * 32, "cd" * 32, "option strength", "random control"):
        assert text in page
    assert not re.search(r"https?:|src=|url\(|@import", page), "no asset from elsewhere"
    assert "prefers-color-scheme: dark" in page


def test_a_failed_patch_says_so_and_why() -> None:
    weak = replace(MENDED, asr=rate(40, 99))
    said = verify(candidate=weak, reference=GOOD, drifted=DRIFTED, gates=Gates(), patch=None)
    report = replace(REPORT, patch=None, verification=said.to_json(), why=said.why)
    assert report.outcome == "no patch"
    report = replace(report, patch=replace(PATCH, controls=(), spectrum=(), figures={}))
    assert report.outcome == "rejected"
    page = page_of(report)
    assert '<span class="word rejected">rejected</span>: ASR 0.404' in page
    assert '<span class="failed">failed</span>' in page
    assert "no control patches" in page
    assert '<svg class="plot"' not in page


@pytest.mark.parametrize(("why", "outcome"), [("no gradient", "no patch"), ("", "no patch")])
def test_a_recipe_that_gave_nothing_has_a_report(why: str, outcome: str) -> None:
    report = PatchReport(
        provenance=Provenance(recipe="broken"), patch=None, verification=None, profiles={}, why=why,
        written_at=REPORT.written_at,
    )  # fmt: skip
    assert report.outcome == outcome
    assert why in page_of(report)


def test_a_patch_nobody_verified_is_not_accepted() -> None:
    assert replace(REPORT, verification=None).outcome == "not verified"
    hopeless = replace(REPORT, verification=None, why="hopeless")
    assert hopeless.outcome == "not staged"
    assert replace(REPORT, why="worse on the same prompts").outcome == "rejected"
    assert "checkpoint" not in plain_of(hopeless)["patch"], "it was removed"
    assert plain_of(REPORT)["patch"]["checkpoint"] == str(PATCH.checkpoint)


def test_what_was_not_asked_has_no_count() -> None:
    screen = Screen(harm_n=24, harm_complied=24, benign_n=0, benign_refused=0, benign_refused_reference=None)
    page = page_of(replace(REPORT, patch=replace(PATCH, screen=screen)))
    assert "not asked" in page
    assert "0 of 0" not in page


def test_names_and_texts_are_escaped_everywhere() -> None:
    bad = '<script>alert("x")</script>'
    spectrum = (LayerSpectrum(module=bad, singular_values=(1.0,), cer=0.9, cer_random=0.8),)
    figures = {f"{bad}_at_dose_1": 0.5, f"{bad}_after_benign_steps_5": 0.5, bad: 1.0}
    report = replace(
        REPORT, why=bad, provenance=replace(FROM, recipe=bad, options={bad: bad}, target=bad),
        patch=replace(PATCH, spectrum=spectrum, figures=figures),
        profiles={bad: replace(MENDED, release=bad, asr_by_category={bad: rate(1, 3)})},
    )  # fmt: skip
    page = page_of(report)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 8
    assert not re.search(r'="[^"]*<', page), "no markup inside an attribute"


def test_json_holds_the_same_and_no_figure_that_is_none(tmp_path: Path) -> None:
    report = replace(REPORT, patch=replace(PATCH, figures={"loss": math.nan, "dose": 0.5}))
    page, data = write_report(report, tmp_path / "reports" / "prod-1", "1-restore-tuned")
    found = json.loads(data.read_text(), parse_constant=pytest.fail)
    assert found == plain_of(report)
    assert (found["format"], found["outcome"]) == (FORMAT, "accepted")
    assert found["patch"]["figures"] == {"loss": None, "dose": 0.5}
    assert found["provenance"]["seed"] == 0
    assert page.read_text() == page_of(report)
    assert {p.name for p in page.parent.iterdir()} == {"1-restore-tuned.html", "1-restore-tuned.json"}


def test_bars_stand_where_the_figures_are() -> None:
    gate = {"measured": 0.3, "limit": 0.1, "lower": 0.2, "upper": 0.4, "control": {"drifted": 0.9, "words x": 80}}
    found = bar_of(gate)
    assert found is not None
    assert found["value"] == pytest.approx(30)
    assert found["allowed"] == pytest.approx((0, 10))
    assert found["interval"] == pytest.approx((20, 40))
    assert found["controls"] == pytest.approx([90])
    nats = bar_of({"measured": 2.0, "limit": 0.1, "least": True})
    assert nats is not None
    assert nats["end"] == pytest.approx(2.2)
    assert nats["allowed"][1] == 100
    assert bar_of({"measured": None, "limit": 0.1}) is None


def test_curves_are_read_from_the_figures_names() -> None:
    figures = {"asr_at_dose_1": 0.1, "asr_at_dose_0.5": 0.4, "dose": 1.0, "asr_at_dose_x": 1.0, "b_at_dose_2": None}
    assert series_of(figures, "_at_dose_") == {"asr": [(0.5, 0.4), (1.0, 0.1)]}
