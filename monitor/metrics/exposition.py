"""Writes samples in Prometheus' text format 0.0.4 or in OpenMetrics 1.0.

A fleet of hundreds of targets has tens of thousands of samples, and a scrape is to take a fifth of a second at most:
samples are written straight to text, and the text of a set of labels is made once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

from monitor.metrics.sample import Exemplar, Metrics, Samples

__all__ = ["OPENMETRICS", "TEXT", "expose", "wanted"]

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_ESCAPED_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


def wanted(accept: str) -> str:
    """Return the content type for an Accept header: OpenMetrics where it names that, for Prometheus prefers it."""
    named = {part.split(";")[0].strip() for part in accept.split(",")}
    return OPENMETRICS if "application/openmetrics-text" in named else TEXT


def expose(metrics: Metrics, found: Iterable[Samples], content_type: str) -> bytes:
    """Write every sample, each metric's together and in the order of ``metrics``; no value may be NaN.

    Raises:
        KeyError: A sample is of no known metric.
    """
    openmetrics = content_type == OPENMETRICS
    special = {1: "1", 0: "0", math.inf: "+Inf", -math.inf: "-Inf"}  # True is 1, False is 0
    lines: dict[str, list[str]] = {name: [] for name in metrics}
    for labels, values, exemplars in found:
        text = None
        for metric, value in values.items():
            if value is not None:
                if text is None:
                    text = _text(metrics[metric][1], labels)
                line = f"{metric}{text} {special.get(value) or value}"
                if exemplars and openmetrics and metric in exemplars:
                    line += _exemplar(exemplars[metric])
                lines[metric].append(line)
    written = []
    for name, (about, _) in metrics.items():
        if lines[name]:
            kind = "counter" if name.endswith("_total") else "gauge"
            family = name.removesuffix("_total") if openmetrics else name
            written.append(f"# HELP {family} {about.translate(_ESCAPED if openmetrics else _ESCAPED_HELP)}")
            written.append(f"# TYPE {family} {kind}")
            written += lines[name]
    return ("\n".join([*written, "# EOF"] if openmetrics else written) + "\n").encode()


@lru_cache(maxsize=2**15)
def _text(names: tuple[str, ...], labels: tuple[str, ...]) -> str:
    """Write labels; they seldom change from one scrape to the next."""
    inside = ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(names, labels, strict=True))
    return f"{{{inside}}}" if inside else ""


def _exemplar(exemplar: Exemplar) -> str:
    names, values = zip(*exemplar.labels, strict=True)
    return f" # {_text(names, values)} 1.0 {exemplar.at:.3f}"
