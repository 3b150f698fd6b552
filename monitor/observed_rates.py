"""The tests' rates in a judge's own terms, by its calibration against people.

Settings say how many answers may be harmful; tests see how many a judge calls so. Where a calibration is given, the
tests' rates are moved by the bounds of the judge's error, so that "healthy", "drifted" and "recovered" are said of true
rates, each with its usual error unless the bounds fail (chance at most 0.1 % each).
"""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from monitor.errors import ConfigError
from monitor.policy import Rates
from probes.calibration import Calibration
from probes.judge import Judge
from probes.statistics.judge_error import RoganGladen

__all__ = ["calibration_of", "observed", "observed_rates"]

_DELTA = 1e-3
_MOST_TIMES = 1000


@runtime_checkable
class _Layered(Protocol):
    """A cascade: its rate is that of its strong judge's majority."""

    @property
    def strong(self) -> Judge: ...

    @property
    def votes(self) -> int: ...


def observed_rates(rates: Rates, path: Path, judge: Judge, *, asr_max: float, where: str) -> Rates:
    """Read a judge's calibration and put the tests' rates in its terms.

    Args:
        rates: In true ASRs.
        path: The calibration.
        judge: Who judges the target's answers.
        asr_max: The gates' highest ASR, as the judge says it.
        where: Key of the target in the settings, for messages.

    Raises:
        ConfigError: The calibration can't be used, is another judge's, or leaves nothing to tell apart.
    """
    error = calibration_of(path, judge, where=f"{where}.judge_calibration").confusion.error
    try:
        found = observed(rates, error)
    except ValueError as fault:
        raise ConfigError(f"{where}.judge_calibration: {path}: {fault}") from fault
    if not found.p0 >= asr_max:
        raise ConfigError(
            f"{where}.gates.asr_max ({asr_max:g}) must be at most {found.p0:.3f}, the most that this judge may say of "
            f"a true ASR of statistics.p0 ({rates.p0:g}), or an accepted repair would be a breach"
        )
    if not found.theta > asr_max:
        raise ConfigError(
            f"{where}.gates.asr_max ({asr_max:g}) must be under {found.theta:.3f}, the least that this judge may say "
            f"of a true ASR of statistics.theta ({rates.theta:g}), or an accepted repair could never be confirmed"
        )
    return found


def calibration_of(path: Path, judge: Judge, *, where: str) -> Calibration:
    """Read what ``alignd judge calibrate --out`` wrote of this judge.

    A cascade takes the calibration of its strong judge, whose rate it estimates.

    Raises:
        ConfigError: It can't be read, says what can't be, or is of another judge.
    """
    try:
        found = _read(path)
    except OSError as error:
        raise ConfigError(f"{where}: {path} can't be read ({error.strerror}); check the path") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{where}: {path} is no calibration; `alignd judge calibrate --out` writes one") from error
    if found.outcome != "harm":
        raise ConfigError(f"{where}: {path} is about {found.outcome}, not harm; calibrate on replies labelled for harm")
    if isinstance(judge, _Layered) and judge.votes != 1:
        raise ConfigError(f"{where}: {path} is of single verdicts, and {judge.id} takes a majority; set votes: 1")
    rated = judge.strong if isinstance(judge, _Layered) else judge
    wanted, there = (rated.id, rated.template_sha256), (found.judge, found.template_sha256)
    if wanted != there:
        raise ConfigError(
            f"{where}: {path} calibrates judge {there[0]} (template {str(there[1])[:12]}), and the target's is "
            f"{wanted[0]} (template {wanted[1][:12]}); calibrate this one"
        )
    return found


def _read(path: Path) -> Calibration:
    found = Calibration.from_json(json.loads(path.read_text(encoding="utf-8")))
    if not all(type(count) is int for count in astuple(found.confusion)):
        raise TypeError("counts are whole numbers")
    _ = found.confusion.error  # refuses counts that can't be
    return found


def observed(rates: Rates, error: RoganGladen) -> Rates:
    """Put the tests' rates in the terms of a judge of this error.

    p0 becomes the most that the judge may say of a true p0: what is over it is no judge's mistake. p1, theta and
    theta_stratum become the least that it may say of them: what is under it is truly under them. The canary's margin is
    a difference of two rates, of which the judge shows sensitivity + specificity - 1 and no more.

    Raises:
        ValueError: p1 is no longer above p0, or no answer at all looks recovered; the message says what would help.
    """
    p0 = error.null(rates.p0, delta=_DELTA)
    p1, theta = error.least(rates.p1, delta=_DELTA), error.least(rates.theta, delta=_DELTA)
    if not p1 > p0:
        raise ValueError(
            f"with this judge a true ASR of p0 = {rates.p0:g} may read as high as {p0:.3f} and one of p1 = "
            f"{rates.p1:g} as low as {p1:.3f}, so they can't be told apart; {_way_out(rates, error)}"
        )
    if not theta > error.null(0.0):
        raise ValueError(
            f"with this judge a model that does no harm may read as {error.null(0.0):.3f} and a true ASR of theta = "
            f"{rates.theta:g} as low as {theta:.3f}, so no repair could be confirmed; raise theta or label more replies"
        )
    se_lower, _, sp_lower, _ = error.bounds(_DELTA)
    return replace(
        rates, p0=p0, p1=p1, theta=theta, theta_stratum=error.least(rates.theta_stratum, delta=_DELTA),
        canary_margin=rates.canary_margin * (se_lower + sp_lower - 1),
    )  # fmt: skip


def _way_out(rates: Rates, error: RoganGladen) -> str:
    """Say what would help: the fewest more labels that do, at the same share of mistakes."""
    if not (error.positives and error.negatives):
        return f"it was calibrated on {error.positives} harmful and {error.negatives} safe replies: label some of both"
    ways = [_fewest(rates, error, harmful=h, safe=s) for h, s in ((False, True), (True, False), (True, True))]
    helpful = [w for w in ways if w]
    if not helpful:
        return "no number of labels helps: raise p1, or take a better judge"
    more = min(helpful, key=lambda w: w.positives + w.negatives)
    kinds = {"harmful": more.positives - error.positives, "safe": more.negatives - error.negatives}
    words = " and ".join(f"{n} more {kind}" for kind, n in kinds.items() if n)
    return f"label {words} replies, raise p1, or take a better judge"


def _fewest(rates: Rates, error: RoganGladen, *, harmful: bool, safe: bool) -> RoganGladen | None:
    """Find the smallest calibration, grown in these kinds of replies, that tells p1 from p0; ``None`` for none."""

    def grown(times: float) -> RoganGladen:
        positives = round(error.positives * times) if harmful else error.positives
        negatives = round(error.negatives * times) if safe else error.negatives
        return RoganGladen(
            positives=positives, found=round(error.found / error.positives * positives),
            negatives=negatives, passed=round(error.passed / error.negatives * negatives),
        )  # fmt: skip

    def apart(times: float) -> bool:
        more = grown(times)
        return more.least(rates.p1) > more.null(rates.p0)

    low, high = 1.0, 2.0
    while not apart(high):
        low, high = high, 2 * high
        if high > _MOST_TIMES:
            return None
    while high > 1.01 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if apart(middle) else (middle, high)
    return grown(high)
