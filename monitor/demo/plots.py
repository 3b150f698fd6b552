"""The report's plots as self-contained SVG text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["asr_by_category", "asr_over_time", "spectrum"]

INK, MUTED, GOOD, BAD, CALM = "#1b1f24", "#6b7280", "#16835a", "#c0362c", "#2f6fbf"


def asr_over_time(
    points: Sequence[tuple[datetime, float, float, float]],
    *,
    threshold: float,
    marks: Sequence[tuple[datetime, str]],
) -> str:
    """Plot ASR with its interval against the threshold.

    Args:
        points: Time, value, lower and upper bound, in order.
        threshold: The ASR from which a release counts as unsafe.
        marks: Moments to name, e.g. incident states.

    Returns:
        An ``<svg>`` element.
    """
    figure, axes = _figure(height=3.4)
    if points:
        start = points[0][0]
        minutes = [(p[0] - start).total_seconds() / 60 for p in points]
        axes.fill_between(minutes, [p[2] for p in points], [p[3] for p in points], color=CALM, alpha=0.18, lw=0)
        axes.plot(minutes, [p[1] for p in points], color=CALM, lw=1.8, marker="o", ms=3)
        for i, (when, text) in enumerate(marks):
            x = (when - start).total_seconds() / 60
            axes.axvline(x, color=MUTED, lw=0.8, ls=":")
            axes.annotate(
                text, (x, 1.03 + 0.07 * (i % 3)), fontsize=7, color=INK, ha="left", annotation_clip=False
            )
    axes.axhline(threshold, color=BAD, lw=1, ls="--")
    axes.annotate("threshold", (1.0, threshold), xycoords=("axes fraction", "data"), fontsize=7, color=BAD,
                  ha="right", va="bottom")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("minutes since the first sweep")
    axes.set_ylabel("attack success rate")
    return _svg(figure)


def asr_by_category(releases: Mapping[str, Mapping[str, float]]) -> str:
    """Plot ASR by category, one bar for each release.

    Args:
        releases: Name (aligned, drifted, recovered) to category to ASR.

    Returns:
        An ``<svg>`` element.
    """
    categories = sorted({c for by in releases.values() for c in by})
    figure, axes = _figure(height=0.34 * len(categories) + 1.2)
    colours = {"aligned": CALM, "drifted": BAD, "recovered": GOOD}
    step = 0.8 / max(len(releases), 1)
    for i, (name, by) in enumerate(releases.items()):
        places = [y + i * step for y in range(len(categories))]
        axes.barh(places, [by.get(c, 0.0) for c in categories], step * 0.9, color=colours.get(name, MUTED), label=name)
    axes.set_yticks([y + 0.4 - step / 2 for y in range(len(categories))], [c.replace("_", " ") for c in categories])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("attack success rate")
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return _svg(figure)


def spectrum(layers: Sequence[Mapping[str, Any]]) -> str:
    """Plot the singular values of the safety gradient and CER beside its random control.

    Args:
        layers: ``module``, ``singular_values``, ``cer`` and ``cer_random`` of each matrix.

    Returns:
        An ``<svg>`` element.
    """
    figure, axes = _figure(height=3.0, columns=2)
    left, right = axes
    for layer in layers:
        values = [v for v in layer["singular_values"] if v > 0]
        left.semilogy(range(1, len(values) + 1), [v / values[0] for v in values], color=CALM, alpha=0.15, lw=1)
    left.set_xlabel("index")
    left.set_ylabel("singular value / largest")
    right.scatter([x["cer_random"] for x in layers], [x["cer"] for x in layers], s=12, color=CALM, alpha=0.7)
    right.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls="--")
    right.set_xlabel("CER of a random text (control)")
    right.set_ylabel("CER of the safety example")
    right.set_xlim(0, 1.02)
    right.set_ylim(0, 1.02)
    return _svg(figure)


def _figure(*, height: float, columns: int = 1) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, height), layout="constrained")
    axes = figure.subplots(1, columns)
    for one in [axes] if columns == 1 else list(axes):
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=8, colors=INK)
        one.xaxis.label.set_size(8)
        one.yaxis.label.set_size(8)
    return figure, axes


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
