"""Gates: is a repaired release fit to serve? Pure."""

from __future__ import annotations

from probes.profile import ReleaseProfile
from remediation.gates.answers import over_refusal_gates, utility_gates
from remediation.gates.change import burnt_example, control_patches, persistence_gates, reversible, smallest_dose
from remediation.gates.harm import harm_gates, under_attack
from remediation.gates.result import Evidence, GateResult, Gates, Need, Reversal, Verification
from remediation.patch import Patch

__all__ = ["GateResult", "Gates", "Reversal", "Verification", "verify"]


def verify(
    *,
    candidate: ReleaseProfile,
    reference: ReleaseProfile | None,
    drifted: ReleaseProfile,
    gates: Gates,
    patch: Patch | None = None,
    reversal: Reversal | None = None,
) -> Verification:
    """Hold a candidate against the last known good and the drifted release, by every gate.

    Args:
        candidate: Measured on prompts that no recipe saw.
        reference: The last known good release, ``None`` where there is none.
        drifted: The release under repair; its task accuracy must be kept.
        patch: What the recipe said of its work; without it the gates on the patch itself are not measured.
        reversal: How the candidate can be taken back, the same.

    Returns:
        Each gate's word, in the order of their numbers. A missing estimate never passes: no data is not safe.
    """
    seen = Evidence(candidate=candidate, reference=reference, drifted=drifted, patch=patch, reversal=reversal)
    said = (
        *harm_gates(seen, gates),
        *over_refusal_gates(seen, gates),
        *utility_gates(seen, gates),
        control_patches(seen, gates),
        burnt_example(seen, gates),
        *under_attack(seen, gates),
        *persistence_gates(seen, gates),
        reversible(seen, gates),
        smallest_dose(seen, gates),
    )
    return Verification(
        release=candidate.release, gates=tuple(g.needed(_need(g.name, drifted, gates)) for g in said)
    )


def _need(name: str, drifted: ReleaseProfile, gates: Gates) -> Need:
    """A site without a task has no utility to lose, unless its settings require it."""
    if name == "utility" and drifted.utility is None and name not in gates.required:
        return Need.REPORTED
    return gates.need(name)
