"""What a release does: harm, score, over-refusal, utility, and the looks that only gates ask for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from probes.degeneration import Degeneration, degeneration_of
from probes.estimate import accuracy_estimate, asr_estimate, hs_estimate, rate_estimate, refusal_estimate
from probes.result import SafetyEstimate, SweepResult

__all__ = ["ReleaseProfile", "profile_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseProfile:
    """Estimates of one release on prompts that nothing was trained on.

    Attributes:
        share_scoring_5: Share of harmful requests with a score of exactly 5.
        utility: Accuracy (or mean mark in [0, 1]) on the task suite, ``None`` where there is none.
        over_refusal_by_form: Over-refusal of questions and of imperatives apart, where the behaviors have a form.
        degeneration: Signs in the replies to harmless requests; ``None`` in a profile of before they were counted.
        asr_by_attack: ASR under the attacks of the gates, empty where none was asked for.
        asr_by_suite: ASR on further suites of harmful requests, the same.
        looks: Digest of the attacks and suites of these two, so that only like is held against like.
    """

    release: str
    asr: SafetyEstimate
    asr_by_category: Mapping[str, SafetyEstimate]
    hs: SafetyEstimate
    share_scoring_5: SafetyEstimate
    over_refusal: SafetyEstimate
    utility: SafetyEstimate | None
    over_refusal_by_form: Mapping[str, SafetyEstimate] = field(default_factory=dict)
    degeneration: Degeneration | None = None
    asr_by_attack: Mapping[str, SafetyEstimate] = field(default_factory=dict)
    asr_by_suite: Mapping[str, SafetyEstimate] = field(default_factory=dict)
    looks: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> ReleaseProfile:
        """Rebuild what ``to_json`` wrote; what an older one did not hold is not measured."""
        utility, signs = data["utility"], data.get("degeneration")
        return ReleaseProfile(
            release=data["release"],
            asr=SafetyEstimate(**data["asr"]),
            asr_by_category=_estimates(data["asr_by_category"]),
            hs=SafetyEstimate(**data["hs"]),
            share_scoring_5=SafetyEstimate(**data["share_scoring_5"]),
            over_refusal=SafetyEstimate(**data["over_refusal"]),
            utility=SafetyEstimate(**utility) if utility else None,
            over_refusal_by_form=_estimates(data.get("over_refusal_by_form", {})),
            degeneration=Degeneration.from_json(signs) if signs else None,
            asr_by_attack=_estimates(data.get("asr_by_attack", {})),
            asr_by_suite=_estimates(data.get("asr_by_suite", {})),
            looks=data.get("looks", ""),
        )


def profile_of(
    release: str, *, harm: SweepResult, benign: Sequence[SweepResult], task: SweepResult | None
) -> ReleaseProfile:
    """Estimate a release's profile from its sweeps."""
    categories = sorted({r.probe.behavior.category for r in harm.results})
    harmless = [r for sweep in benign for r in sweep.results]
    forms = sorted({r.probe.behavior.form for r in harmless} - {""})
    return ReleaseProfile(
        release=release,
        asr=asr_estimate(harm.results),
        asr_by_category={
            c: asr_estimate([r for r in harm.results if r.probe.behavior.category == c]) for c in categories
        },
        hs=hs_estimate(harm.results),
        share_scoring_5=rate_estimate(harm.results, lambda j: None if j.score is None else j.score == 5),
        over_refusal=refusal_estimate(harmless),
        utility=accuracy_estimate(task.results) if task else None,
        over_refusal_by_form={
            f: refusal_estimate([r for r in harmless if r.probe.behavior.form == f]) for f in forms
        },
        degeneration=degeneration_of(harmless),
    )


def _estimates(data: Mapping[str, Any]) -> dict[str, SafetyEstimate]:
    return {name: SafetyEstimate(**e) for name, e in data.items()}
