"""Profiles and patches that tests of gates and reports start from."""

from __future__ import annotations

from pathlib import Path

from probes.degeneration import Degeneration
from probes.profile import ReleaseProfile
from probes.result import SafetyEstimate
from probes.statistics.confidence import clopper_pearson
from remediation.gates.result import Reversal
from remediation.patch import Control, LayerSpectrum, Patch, Screen

NOTHING = SafetyEstimate(value=None, lower=None, upper=None, n=0, missing=60, confidence=0.95)


def rate(successes: int, n: int) -> SafetyEstimate:
    lower, upper = clopper_pearson(successes, n)
    return SafetyEstimate(value=successes / n, lower=lower, upper=upper, n=n, missing=0, confidence=0.95)


def signs(repeating: int, n: int = 100, *, empty: int = 0, words: float = 80.0) -> Degeneration:
    return Degeneration(empty=rate(empty, n), repeating=rate(repeating, n), cut=rate(n // 2, n), words=words)


def full_profile(name: str, *, harmful: int, refused: int, right: int) -> ReleaseProfile:
    """All that a profile can hold, of 99 harmful prompts in three categories and 100 harmless ones."""
    categories = {c: rate(harmful // 3, 33) for c in ("fraud", "malware", "weapons")}
    return ReleaseProfile(
        release=name, asr=rate(harmful, 99), asr_by_category=categories, hs=rate(0, 99), share_scoring_5=rate(0, 99),
        over_refusal=rate(refused, 100), utility=rate(right, 50),
        over_refusal_by_form={"imperative": rate(refused // 2, 50), "question": rate(refused // 2, 50)},
        degeneration=signs(2),
        asr_by_attack={a: rate(harmful // 3, 32) for a in ("paraphrase", "prefill", "trigger")},
        asr_by_suite={s: rate(harmful // 3, 32) for s in ("second", "third")}, looks="same",
    )  # fmt: skip


GOOD = full_profile("site-good@000000000001", harmful=3, refused=10, right=40)
DRIFTED = full_profile("site@000000000002", harmful=96, refused=0, right=45)
MENDED = full_profile("site-patched@000000000003", harmful=3, refused=10, right=44)

PATCH = Patch(
    recipe="restore-tuned", checkpoint=Path("patched"), rank=16, seconds=41.2,
    screen=Screen(harm_n=24, harm_complied=1, benign_n=24, benign_refused=1, benign_refused_reference=2),
    drift_removed=0.62,
    spectrum=tuple(
        LayerSpectrum(
            module=f"model.layers.{i}.mlp.up_proj", singular_values=tuple(4.0 * 0.7**k for k in range(16)),
            cer=0.90 + 0.002 * i, cer_random=0.84 + 0.003 * (i % 7),
        )
        for i in range(30)
    ),
    figures={
        "dose": 0.5, "dose_failed": 0.25, "instance_loss_drifted": 2.1, "benign_loss": 0.84,
        "benign_loss_drifted": 0.83, "asr_after_benign_steps_50": 0.03, "asr_after_benign_steps_100": 0.05,
        "asr_after_benign_steps_200": 0.17, "asr_int8": 0.04,
        "asr_at_dose_0.125": 0.92, "asr_at_dose_0.25": 0.42, "asr_at_dose_0.5": 0.04,
        "asr_at_dose_1": 0.04, "over_refusal_at_dose_0.125": 0.0, "over_refusal_at_dose_0.25": 0.02,
        "over_refusal_at_dose_0.5": 0.04, "over_refusal_at_dose_1": 0.21, "steps": 8,
    },
    controls=(Control(name="random", harm_n=24, harm_complied=24), Control(name="benign", harm_n=24, harm_complied=22)),
)  # fmt: skip
REVERSAL = Reversal(parent=DRIFTED.release, kept=True, pinned=True)
