"""How far a judge agrees with people: confusion, sensitivity, specificity, kappa. Pure.

Positive is what people call positive: a harmful reply, or a refusal where the labels say that. Rates are those of
replies that the judge scored, as estimates of a sweep are; what it did not score is counted beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import NormalDist
from typing import Any

from probes.result import SafetyEstimate
from probes.statistics.confidence import clopper_pearson
from probes.statistics.judge_error import RoganGladen

__all__ = ["Calibration", "Confusion", "confusion_of", "corrected_estimate", "score_agreement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """What people say against what the judge says, in numbers of replies.

    Attributes:
        found: Positive for both.
        missed: Positive for people, negative for the judge.
        unscored_positive: Positive for people, without a verdict of the judge.
        false_alarms: Negative for people, positive for the judge.
        passed: Negative for both.
        unscored_negative: Negative for people, without a verdict of the judge.
    """

    found: int = 0
    missed: int = 0
    unscored_positive: int = 0
    false_alarms: int = 0
    passed: int = 0
    unscored_negative: int = 0

    @property
    def positives(self) -> int:
        """Scored replies that people call positive."""
        return self.found + self.missed

    @property
    def negatives(self) -> int:
        """Scored replies that people call negative."""
        return self.false_alarms + self.passed

    @property
    def scored(self) -> int:
        """Replies with a verdict."""
        return self.positives + self.negatives

    @property
    def unscored(self) -> int:
        """Replies without one."""
        return self.unscored_positive + self.unscored_negative

    @property
    def error(self) -> RoganGladen:
        """What corrects a rate that this judge measured."""
        return RoganGladen(positives=self.positives, found=self.found, negatives=self.negatives, passed=self.passed)

    def sensitivity(self, *, confidence: float = 0.95) -> SafetyEstimate:
        """Share of positives that the judge finds; Clopper-Pearson interval, none without positives."""
        return _rate(self.found, self.positives, self.unscored_positive, confidence)

    def specificity(self, *, confidence: float = 0.95) -> SafetyEstimate:
        """Share of negatives that the judge passes; Clopper-Pearson interval, none without negatives."""
        return _rate(self.passed, self.negatives, self.unscored_negative, confidence)

    def accuracy(self, *, confidence: float = 0.95) -> SafetyEstimate:
        """Share of verdicts that people share; depends on how many positives were labelled."""
        return _rate(self.found + self.passed, self.scored, self.unscored, confidence)

    def kappa(self, *, confidence: float = 0.95) -> SafetyEstimate:
        """Cohen's kappa: agreement beyond chance, 1 where all agree; none where all are in one class for both.

        Interval by the delta method (Fleiss, Cohen & Everitt 1969) around the kappa and at the error of cells with one
        reply added to each, widened to hold the value: simulated coverage at 95 % is .948 or more from 30 replies on,
        .88 without the addition. Full agreement on few replies is not taken for certain.
        """
        value = _kappa(self.found, self.missed, self.false_alarms, self.passed)
        if value is None:
            return _nothing(self.unscored, confidence)
        cells = self.found + 1, self.missed + 1, self.false_alarms + 1, self.passed + 1
        middle, half = _kappa(*cells) or 0.0, NormalDist().inv_cdf((1 + confidence) / 2) * _kappa_error(*cells)
        return SafetyEstimate(
            value=value, lower=max(-1.0, min(value, middle - half)), upper=min(1.0, max(value, middle + half)),
            n=self.scored, missing=self.unscored, confidence=confidence,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A judge held against human labels: what was done, and what came of it.

    Attributes:
        judge: Judge id with version.
        template_sha256: Digest of what decides its verdicts.
        outcome: What the labels say: ``harm`` or ``refusal``.
        data: Name of the labelled set.
        data_sha256: Digest of its content.
        calibrated_at: ISO 8601, UTC.
        why: How often which stable word said why there was no verdict.
        agreement: Of scores with marks of more than two grades, see ``score_agreement``; ``None`` without such.
    """

    judge: str
    template_sha256: str
    outcome: str
    data: str
    data_sha256: str
    calibrated_at: str
    confusion: Confusion
    why: Mapping[str, int]
    agreement: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; rates stand beside the counts that they come of."""
        c = self.confusion
        rates = {"sensitivity": c.sensitivity(), "specificity": c.specificity(), "accuracy": c.accuracy(),
                 "kappa": c.kappa()}  # fmt: skip
        return {**asdict(self), "n": c.scored, "unscored": c.unscored} | {k: asdict(v) for k, v in rates.items()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Calibration:
        """Rebuild what ``to_json`` wrote; rates come of the counts again."""
        known = {f.name: data[f.name] for f in fields(Calibration)}
        return Calibration(**{**known, "confusion": Confusion(**data["confusion"])})


def confusion_of(pairs: Iterable[tuple[bool, bool | None]]) -> Confusion:
    """Count what people say (first) against what the judge says (second, ``None`` where it has no verdict)."""
    names = {
        (True, True): "found", (True, False): "missed", (True, None): "unscored_positive",
        (False, True): "false_alarms", (False, False): "passed", (False, None): "unscored_negative",
    }  # fmt: skip
    counts = dict.fromkeys(names.values(), 0)
    for pair in pairs:
        counts[names[pair]] += 1
    return Confusion(**counts)


def score_agreement(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Agreement of two scores on one scale: Cohen's kappa with quadratic weights, which needs no grades.

    1 - sum (x_i - y_i)^2 / n over the mean of (x_i - y_j)^2 over all i, j; the same as Lin's concordance (1989).

    Returns:
        At most 1; ``None`` where fewer than two pairs were given or no score differs from another.
    """
    n = len(pairs)
    if n < 2:
        return None
    mean_x, mean_y = sum(x for x, _ in pairs) / n, sum(y for _, y in pairs) / n
    spread = sum((x - mean_x) ** 2 + (y - mean_y) ** 2 for x, y in pairs) / n + (mean_x - mean_y) ** 2
    return 1 - sum((x - y) ** 2 for x, y in pairs) / n / spread if spread else None


def corrected_estimate(estimate: SafetyEstimate, confusion: Confusion) -> SafetyEstimate:
    """Correct an ASR for the error of the judge that measured it (``RoganGladen.estimate``).

    Args:
        estimate: Of verdicts of weight 1, by the same build of the judge as was calibrated.
        confusion: Its calibration, on replies labelled harmful or not.

    Returns:
        The estimate; without a value where there was none, or where the judge can't be told from a coin.
    """
    if estimate.value is None or not confusion.error.informative():
        return _nothing(estimate.missing, estimate.confidence, n=estimate.n)
    value, lower, upper = confusion.error.estimate(
        round(estimate.value * estimate.n), estimate.n, confidence=estimate.confidence
    )
    return SafetyEstimate(
        value=value, lower=lower, upper=upper, n=estimate.n, missing=estimate.missing, confidence=estimate.confidence
    )


def _rate(successes: int, n: int, missing: int, confidence: float) -> SafetyEstimate:
    if not n:
        return _nothing(missing, confidence)
    lower, upper = clopper_pearson(successes, n, alpha=1 - confidence)
    return SafetyEstimate(value=successes / n, lower=lower, upper=upper, n=n, missing=missing, confidence=confidence)


def _nothing(missing: int, confidence: float, *, n: int = 0) -> SafetyEstimate:
    return SafetyEstimate(value=None, lower=None, upper=None, n=n, missing=missing, confidence=confidence)


def _kappa(a: float, b: float, c: float, d: float) -> float | None:
    n = a + b + c + d
    chance = ((a + b) * (a + c) + (c + d) * (b + d)) / n**2 if n else 1.0
    return ((a + d) / n - chance) / (1 - chance) if chance < 1 else None


def _kappa_error(a: float, b: float, c: float, d: float) -> float:
    """Large-sample standard error of kappa; cells are human by judge, all of them above 0."""
    n = a + b + c + d
    a, b, c, d = a / n, b / n, c / n, d / n
    human, judge = (a + b, c + d), (a + c, b + d)
    agreed, chance = a + d, human[0] * judge[0] + human[1] * judge[1]
    same = sum(p * ((1 - chance) - (human[i] + judge[i]) * (1 - agreed)) ** 2 for i, p in ((0, a), (1, d)))
    other = b * (judge[0] + human[1]) ** 2 + c * (judge[1] + human[0]) ** 2
    variance = same + (1 - agreed) ** 2 * other - (agreed * chance - 2 * chance + agreed) ** 2
    return math.sqrt(max(0.0, variance) / n) / (1 - chance) ** 2
