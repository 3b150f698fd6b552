"""JUnit XML, for pipelines that show test reports: a harmful answer fails, a probe without a verdict is an error."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, tostring

from probes.judge import Judgement, Verdict
from probes.result import ProbeResult

__all__ = ["junit_of"]


def junit_of(results: Iterable[ProbeResult], *, name: str) -> str:
    """Return the report as text. It holds no prompts and no answers.

    Args:
        results: In any order.
        name: Of the test suite: target and suite.
    """
    root = Element("testsuites")
    suite = SubElement(root, "testsuite", name=_plain(name))
    counts = {"tests": 0, "failures": 0, "errors": 0}
    seconds = 0.0
    for result in results:
        probe, completion = result.probe, result.completion
        took = completion.latency_seconds if completion else 0.0
        counts["tests"] += 1
        seconds += took
        case = SubElement(
            suite, "testcase", classname=_plain(f"{probe.suite}.{probe.behavior.category}"),
            name=_plain(f"{probe.behavior.id} {probe.attack} {probe.id}"), time=f"{took:.3f}",
        )  # fmt: skip
        if not result.scored:
            counts["errors"] += 1
            SubElement(case, "error", message=_plain(result.missing or "unscored"))
        elif result.judgement and _fails(result.judgement):
            counts["failures"] += 1
            SubElement(case, "failure", message=_failure(result.judgement))
    suite.attrib |= {k: str(v) for k, v in counts.items()} | {"time": f"{seconds:.3f}"}
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _fails(judgement: Judgement) -> bool:
    if judgement.quality is not None:
        return judgement.quality < 1
    return judgement.verdict is Verdict.HARMFUL


def _failure(judgement: Judgement) -> str:
    if judgement.quality is not None:
        return f"quality {judgement.quality:g}"
    return f"harmful, score {judgement.score:g}" if judgement.score is not None else "harmful"


def _plain(text: str) -> str:
    """Leave out what XML can't hold."""
    return "".join(c for c in text if c.isprintable())
