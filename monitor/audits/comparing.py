"""Hold one audit against another, or against a release's profile. Pure.

Figures of one way of measuring are compared prompt by prompt; of others it is said why they can't be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from monitor.audits.figures import SCALES, Figure
from probes.profile import ReleaseProfile
from probes.result import SafetyEstimate
from probes.statistics.differences import independent_difference, matched_difference, mean_difference

__all__ = ["Change", "against_audit", "against_profile", "reasons"]

_WORDS = {
    "suite_sha256": "the suite holds other prompts", "prompts": "another number of prompts was asked",
    "site": "the site's key changed, and with it which prompts are sealed", "judge": "another judge",
    "judge_sha256": "the judge's template changed", "attacks": "other attacks, templates or weights",
    "max_tokens": "another max_tokens", "temperature": "another temperature", "top_p": "another top_p",
}  # fmt: skip
"""Why two sections can't be compared, by what differs."""
_WORSE_UP = frozenset({"asr", "hs", "share_5", "over_refusal"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of one figure: after less before.

    Attributes:
        pairs: Prompts with an outcome on both sides; 0 where two samples were compared.
        gained: Pairs that came to be harmful (refused, solved); ``None`` for scores and marks.
        lost: Pairs that ceased to be.
    """

    measure: str
    suite: str
    group: str
    name: str
    before: float
    after: float
    value: float
    lower: float
    upper: float
    pairs: int = 0
    gained: int | None = None
    lost: int | None = None

    @property
    def word(self) -> str:
        """Say ``worse``, ``better`` or ``no proof of change``."""
        if self.lower <= 0 <= self.upper:
            return "no proof of change"
        return "worse" if (self.value > 0) == (self.measure in _WORSE_UP) else "better"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "word": self.word}


def reasons(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """Say why two sections can't be compared; nothing where they can."""
    return tuple(words for key, words in _WORDS.items() if before.get(key) != after.get(key))


def against_audit(
    before: tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]],
    after: tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Compare two audits, each with its outcomes.

    Returns:
        Plain values: what was compared, the changes, and for each suite why it could not be.
    """
    (first, earlier), (second, later) = before, after
    ways = {s["suite"]: s for s in first["sections"]}
    refused = {
        s["suite"]: reasons(ways[s["suite"]], s) if s["suite"] in ways else ("the earlier audit did not ask it",)
        for s in second["sections"]
    }
    if not earlier:
        refused = {suite: why or ("the earlier audit's outcomes.json is not there",) for suite, why in refused.items()}
    known = {(r["prompt"], r["attack"]): r for r in earlier}
    pairs = [
        (known[r["prompt"], r["attack"]], r)
        for r in later
        if not refused.get(r["suite"]) and (r["prompt"], r["attack"]) in known
    ]
    part = any(refused[s["suite"]] for s in second["sections"] if s["kind"] == "benign")
    figures = [Figure.from_json(f) for f in second["figures"]]
    changes = [c for f in figures if (f.suite or not part) and (c := _paired(f, pairs))]
    return _result(f"audit {first['id']}", first["release"]["id"], "same prompts", changes, refused)


def against_profile(
    profile: ReleaseProfile, document: Mapping[str, Any], *, same_way: bool
) -> dict[str, Any]:
    """Compare an audit with what a release's profile found, as two samples.

    Args:
        same_way: Whether the profile was measured as the target is now.
    """
    why = () if same_way else ("the profile was measured with another judge, suite, attack or sampling",)
    refused = {s["suite"]: why for s in document["sections"]}
    known: dict[tuple[str, str, str], SafetyEstimate | None] = {
        ("asr", "all", ""): profile.asr, ("hs", "all", ""): profile.hs,
        ("share_5", "all", ""): profile.share_scoring_5, ("over_refusal", "all", ""): profile.over_refusal,
        ("accuracy", "all", ""): profile.utility,
        **{("asr", "category", c): e for c, e in profile.asr_by_category.items()},
        **{("over_refusal", "form", f): e for f, e in profile.over_refusal_by_form.items()},
    }  # fmt: skip
    figures = [Figure.from_json(f) for f in document["figures"]]
    together = {f.measure for f in figures if not f.suite}
    changes = [
        change for f in figures
        if same_way and (not f.suite or f.measure not in together)
        and (change := _apart(f, known.get((f.measure, f.group, f.name))))
    ]  # fmt: skip
    return _result(f"profile of {profile.release}", profile.release, "two samples", changes, refused)


def _result(
    what: str, release: str, how: str, changes: Iterable[Change], refused: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    return {
        "before": what, "release": release, "how": how, "changes": [c.to_json() for c in changes],
        "not_compared": [{"suite": s, "why": list(why)} for s, why in refused.items() if why],
    }  # fmt: skip


def _paired(figure: Figure, pairs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Change | None:
    found = [
        (b["values"][figure.measure], a["values"][figure.measure])
        for b, a in pairs
        if figure.measure in a["values"] and _in_group(figure, a)
    ]
    both = [(b, a) for b, a in found if b is not None and a is not None]
    if not both:
        return None
    n = len(both)
    before, after = math.fsum(b for b, _ in both) / n, math.fsum(a for _, a in both) / n
    binary = all({b, a} <= {0.0, 1.0} for b, a in both)
    gained, lost = (sum(a > b for b, a in both), sum(a < b for b, a in both)) if binary else (None, None)
    low, high = SCALES[figure.measure]
    if gained is not None and lost is not None:
        lower, upper = matched_difference(gained, lost, n)
    else:
        lower, upper = mean_difference([a - b for b, a in both], high - low)
    return Change(
        measure=figure.measure, suite=figure.suite, group=figure.group, name=figure.name, before=before, after=after,
        value=after - before, lower=lower, upper=upper, pairs=n, gained=gained, lost=lost,
    )  # fmt: skip


def _in_group(figure: Figure, outcome: Mapping[str, Any]) -> bool:
    mine = not figure.suite or outcome["suite"] == figure.suite
    return mine and (figure.group == "all" or outcome[figure.group] == figure.name)


def _apart(figure: Figure, before: SafetyEstimate | None) -> Change | None:
    sides = [(e.value, e.lower, e.upper) for e in (before, figure.estimate) if e]
    known = [(v, low, high) for v, low, high in sides if v is not None and low is not None and high is not None]
    if len(known) < 2:
        return None
    first, second = known
    lower, upper = independent_difference(first, second)
    return Change(
        measure=figure.measure, suite=figure.suite, group=figure.group, name=figure.name, before=first[0],
        after=second[0], value=second[0] - first[0], lower=lower, upper=upper,
    )  # fmt: skip
