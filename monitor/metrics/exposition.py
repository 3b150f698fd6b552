"""Writes samples in Prometheus' text format 0.0.4 or in OpenMetrics 1.0.

A fleet of hundreds of targets has tens of thousands of samples, and a scrape is to take a fifth of a second at most:
samples are written straight to text, and the text of a set of labels is made once.
"""

from __future__ import annotations

from collections.abc import Iterable

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
    """Write every sample, each metric's together and in the order of ``metrics``.

    Raises:
        KeyError: A sample is of no known metric.
    """
    openmetrics = content_type == OPENMETRICS
    lines: dict[str, list[str]] = {name: [] for name in metrics}
    for labels, values, exemplars in found:
        text = None
        for metric, value in values.items():
            if value is not None:
                text = text or _text(zip(metrics[metric][1], labels, strict=True))
                tail = _exemplar(exemplars[metric]) if openmetrics and metric in exemplars else ""
                lines[metric].append(f"{metric}{text} {_number(value)}{tail}")
    written = []
    for name, (about, _) in metrics.items():
        if lines[name]:
            kind = "counter" if name.endswith("_total") else "gauge"
            family = name.removesuffix("_total") if openmetrics else name
            written.append(f"# HELP {family} {about.translate(_ESCAPED if openmetrics else _ESCAPED_HELP)}")
            written.append(f"# TYPE {family} {kind}")
            written += lines[name]
    return ("\n".join([*written, "# EOF"] if openmetrics else written) + "\n").encode()


def _text(labels: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels)
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    text = repr(value)
    if text[0] in "inTF" or text == "-inf":
        return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN", "True": "1", "False": "0"}[text]
    return text


def _exemplar(exemplar: Exemplar) -> str:
    return f" # {_text(exemplar.labels)} 1.0 {exemplar.at:.3f}"
