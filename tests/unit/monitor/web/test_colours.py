"""Contrast of every text with what is behind it, from the style sheet's own colours (WCAG 2.2, 1.4.3 and 1.4.11)."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CSS = (files("monitor.web") / "static" / "app.css").read_text(encoding="utf-8")
TEXT_MIN, SHAPE_MIN = 4.5, 3.0
TONES = ("bad", "warn", "good", "busy", "calm")
TEXTS = [
    *((ink, back) for ink in ("ink", "muted", "link", "bad") for back in ("paper", "surface")),
    ("ink", "raised"), ("paper", "ink"), ("warn", "surface"), ("on-button", "button"), ("on-button", "danger"),
    *((tone, f"{tone}-back") for tone in TONES),
]  # fmt: skip
SHAPES = [*(("edge", b) for b in ("surface", "paper")), *((t, "surface") for t in ("link", "bad", "warn", "good"))]


def _colours(scheme: str) -> dict[str, str]:
    found = {}
    for name, value in re.findall(r"--([\w-]+):\s*([^;]+);", CSS):
        pair = re.fullmatch(r"light-dark\((#\w{6}), (#\w{6})\)", value)
        found[name] = (pair[1] if scheme == "light" else pair[2]) if pair else value
    return found


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_the_published_one() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(scheme: str) -> None:
    colours = _colours(scheme)
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in TEXTS}
    assert {pair: f"{c:.2f}" for pair, c in low.items() if c < TEXT_MIN} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_shapes_that_mean_something_can_be_seen(scheme: str) -> None:
    colours = _colours(scheme)
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in SHAPES}
    assert {pair: f"{c:.2f}" for pair, c in low.items() if c < SHAPE_MIN} == {}


def test_every_colour_is_one_of_those_that_are_checked() -> None:
    rules = re.sub(r":root \{.*?\n\}", "", CSS, count=1, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[;\s)])", rules) == []
    known = {name for pair in (*TEXTS, *SHAPES) for name in pair} | {"line"}
    assert set(re.findall(r"var\(--([\w-]+)\)", rules)) - known <= {"mono"}
