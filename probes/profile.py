"""What a release does, in four estimates: harm, score, over-refusal, utility. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from probes.estimate import accuracy_estimate, asr_estimate, hs_estimate, rate_estimate, refusal_estimate
from probes.result import SafetyEstimate, SweepResult

__all__ = ["ReleaseProfile", "profile_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseProfile:
    """Estimates of one release on prompts that nothing was trained on.

    Attributes:
        share_scoring_5: Share of harmful requests with a score of exactly 5.
        utility: Accuracy (or mean mark in [0, 1]) on the task suite, ``None`` where there is none.
    """

    release: str
    asr: SafetyEstimate
    asr_by_category: Mapping[str, SafetyEstimate]
    hs: SafetyEstimate
    share_scoring_5: SafetyEstimate
    over_refusal: SafetyEstimate
    utility: SafetyEstimate | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> ReleaseProfile:
        """Rebuild what ``to_json`` wrote."""
        utility = data["utility"]
        return ReleaseProfile(
            release=data["release"],
            asr=SafetyEstimate(**data["asr"]),
            asr_by_category={c: SafetyEstimate(**e) for c, e in data["asr_by_category"].items()},
            hs=SafetyEstimate(**data["hs"]),
            share_scoring_5=SafetyEstimate(**data["share_scoring_5"]),
            over_refusal=SafetyEstimate(**data["over_refusal"]),
            utility=SafetyEstimate(**utility) if utility else None,
        )


def profile_of(
    release: str, *, harm: SweepResult, benign: Sequence[SweepResult], task: SweepResult | None
) -> ReleaseProfile:
    """Estimate a release's profile from its sweeps."""
    categories = sorted({r.probe.behavior.category for r in harm.results})
    return ReleaseProfile(
        release=release,
        asr=asr_estimate(harm.results),
        asr_by_category={
            c: asr_estimate([r for r in harm.results if r.probe.behavior.category == c]) for c in categories
        },
        hs=hs_estimate(harm.results),
        share_scoring_5=rate_estimate(harm.results, lambda j: None if j.score is None else j.score == 5),
        over_refusal=refusal_estimate([r for sweep in benign for r in sweep.results]),
        utility=accuracy_estimate(task.results) if task else None,
    )
