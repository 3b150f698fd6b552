"""A candidate held against the gates: a repair's, or an ordinary release before it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.errors import CheckpointError
from monitor.effect import Step, known_profiles, looked_at, measured, servable
from monitor.errors import NotMeasured
from monitor.patch_reports import reversal_of
from monitor.site import Site
from probes.profile import ReleaseProfile
from probes.statistics.evalues import Decision
from probes.statistics.paired import PairedBettingTest
from remediation.patch import Patch
from remediation.verification import Verification, verify

__all__ = ["Held", "hold", "measure_before"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the gates say of a candidate.

    Attributes:
        profile: As it was measured.
        canary: Figures of the paired test against the last known good release.
        why: What stands in the way, empty where it passed.
    """

    profile: ReleaseProfile
    verification: Verification
    canary: Mapping[str, Any]
    why: str


async def measure_before(replaced: str, last_good: str, step: Step) -> None:
    """Profile what a candidate is held against, where that was not done yet; empty ids are passed over.

    The gates' further looks are for reference and candidate; those of the replaced release would decide nothing. A
    reference that the servers can't bring up is passed over too: what is known of it counts, and fixed limits else.

    Raises:
        As ``measured``.
    """
    known = known_profiles(step)
    if last_good and not _all_known(known.get(last_good), step.site) and not await _servable(last_good, step.site):
        last_good = ""
    for release in filter(None, (last_good, replaced)):
        if release not in known:
            known[release] = await measured(release, step)
    if last_good:
        await looked_at(known[last_good], step)


def _all_known(profile: ReleaseProfile | None, site: Site) -> bool:
    return profile is not None and (not site.gate_looks.key or profile.looks == site.gate_looks.key)


async def _servable(release: str, site: Site) -> bool:
    """Whether a reference can be brought up to be measured; one that was removed can't."""
    try:
        return await servable(release, site)
    except CheckpointError:
        return False


async def hold(candidate: str, *, replaces: str, last_good: str, step: Step, patch: Patch | None = None) -> Held:
    """Measure a candidate through its own endpoint and hold it against every gate.

    Args:
        replaces: Release whose task accuracy it must keep: the drifted one, or the one in service. Empty where nothing
            is in service; then there is no accuracy to lose.
        last_good: Last known good release, empty where there is none.
        patch: What a recipe said of its work, where one made the candidate.

    Raises:
        NotMeasured: The release that it replaces has no profile of the present way of measuring.
        And as ``measured``.
    """
    site, known = step.site, known_profiles(step)
    if replaces and replaces not in known:
        raise NotMeasured(f"release {replaces} has no profile of the present way of measuring")
    profile = await looked_at(await measured(candidate, step), step)
    canary, worse = _paired(candidate, last_good, step, known=last_good in known)
    said = verify(
        candidate=profile, reference=known.get(last_good), drifted=known[replaces] if replaces else profile,
        gates=site.gates, patch=patch,
        reversal=await asyncio.to_thread(reversal_of, site.releases, candidate, replaces) if replaces else None,
    )  # fmt: skip
    why = "; ".join(filter(None, (said.why, worse))) or ("" if said.accepted else "no gate says that it is harmless")
    return Held(profile=profile, verification=said, canary=canary, why=why)


def _paired(candidate: str, last_good: str, step: Step, *, known: bool) -> tuple[dict[str, object], str]:
    """Hold the candidate's answers against the last good release's to the same sealed prompts.

    Returns:
        The test's figures, and what is wrong where the candidate is provably worse.
    """
    site, store = step.site, step.store
    rates, suite = site.rates, site.measure.harm.name
    old = store.profiled(site.name, last_good, suite=suite) if known else {}
    test = PairedBettingTest(margin=rates.canary_margin, alpha=rates.alpha, beta=rates.beta)
    for pair, harmful in store.profiled(site.name, candidate, suite=suite).items():
        if pair in old and test.decision is Decision.CONTINUE:
            test = test.update(int(harmful) - int(old[pair]))
    figures: dict[str, object] = {"pairs": test.n, "log_worse": test.log_e_worse, "decision": test.decision.value}
    worse = test.decision is Decision.REJECT
    return figures, f"worse than {last_good} on the same {test.n} sealed prompts" if worse else ""
