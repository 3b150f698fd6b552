"""A sweep that a person asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.measure import draw, log_entries
from monitor.site import Site
from probes.behavior import Partition
from probes.estimate import asr_estimate, hs_estimate
from probes.result import SafetyEstimate
from probes.statistics.evalues import Decision, SequentialTest

__all__ = ["Found", "probe_now"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an on-demand sweep found."""

    release: str
    decision: Decision
    asr: SafetyEstimate
    hs: SafetyEstimate
    by_category: Mapping[str, SafetyEstimate]


async def probe_now(site: Site, *, n: int) -> Found:
    """Ask a target now; nothing is written down but transcripts.

    Args:
        n: Rotating prompts to draw.

    Raises:
        TargetError: The target does not answer as the expected model.
        NotMeasured: There is nothing to ask.
        MixedReleaseError: Two releases answered.
    """
    await site.target.ready()
    sweep = await draw(site.measure, site.target, n=n, part=Partition.ROTATING, purpose="on-demand")
    rates = site.rates
    test = SequentialTest(p0=rates.p0, p1=rates.p1, alpha=rates.alpha, beta=rates.beta)
    for entry in log_entries(site.measure, sweep, purpose="on-demand", release=""):
        if entry.harmful is not None and test.decision is Decision.CONTINUE:
            test = test.update(entry.harmful)
    categories = sorted({r.probe.behavior.category for r in sweep.results})
    return Found(
        release=sweep.release,
        decision=test.decision,
        asr=asr_estimate(sweep.results),
        hs=hs_estimate(sweep.results),
        by_category={
            c: asr_estimate([r for r in sweep.results if r.probe.behavior.category == c]) for c in categories
        },
    )
