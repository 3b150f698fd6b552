"""What a target's probes come to, as plain values: worked out once for each batch, whoever asks how often."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from monitor.probe_log import Epoch
from monitor.watch import Phase, Watch
from probes.statistics.evalues import Decision

__all__ = ["Figures"]

_NOTHING: Mapping[str, Any] = {
    "release": "", "epoch_started_at": None, "phase": Phase.IDLE.value, "asr": None, "hs": None, "evidence": None,
    "strata": [], "canary": None, "baseline": "", "certified": False,
}  # fmt: skip


class Figures:
    """Keeps each target's figures until its watch moves on: their intervals take milliseconds, and there are many."""

    def __init__(self) -> None:
        """Keep nothing."""
        self._held: dict[str, tuple[Watch, Mapping[str, Any]]] = {}

    def of(self, name: str, current: tuple[Epoch, Watch] | None) -> Mapping[str, Any]:
        """Return a target's figures; they are not to be changed."""
        if current is None:
            return _NOTHING
        held = self._held.get(name)
        if held is None or held[0] is not current[1]:
            held = self._held[name] = (current[1], _figures(*current))
        return held[1]


def _figures(epoch: Epoch, watch: Watch) -> Mapping[str, Any]:
    return {
        "release": epoch.release,
        "epoch_started_at": epoch.started_at.isoformat(),
        "phase": watch.phase.value,
        "asr": asdict(watch.asr),
        "hs": asdict(watch.hs),
        "evidence": _evidence(watch),
        "strata": _strata(watch),
        "canary": _canary(watch),
        "baseline": epoch.baseline.release if epoch.baseline else "",
        "certified": watch.certified,
    }


def _evidence(watch: Watch) -> dict[str, Any]:
    return {
        "log": _finite(watch.log_r),
        "log_survey": _finite(watch.survey.log_r),
        "log_strata": _finite(watch.strata.log_r),
        "log_warn": math.log(watch.rates.gamma_warn),
        "log_breach": math.log(watch.rates.gamma_breach),
        "n": watch.position,
        "everything": watch.everything.value,
    }


def _strata(watch: Watch) -> list[dict[str, Any]]:
    """Say what is known of each stratum, the one with most evidence first."""
    found = []
    for name, stratum in watch.by_stratum.items():
        gauge = stratum.gauge
        lower, upper = gauge.interval
        found.append({
            "stratum": name, "n": gauge.n, "harmful": int(gauge.total), "missing": stratum.missing,
            "value": gauge.total / gauge.n if gauge.n else None, "lower": lower, "upper": upper,
            "null": watch.nulls.get(name), "log": _finite(watch.strata.log_r_of(name)),
        })  # fmt: skip
    return sorted(found, key=lambda s: (-(s["log"] if s["log"] is not None else -math.inf), s["stratum"]))


def _canary(watch: Watch) -> dict[str, Any]:
    test = watch.canary
    said = {Decision.CONTINUE: "undecided", Decision.REJECT: "worse", Decision.ACCEPT: "not worse"}
    return {"n": test.n, "log_worse": test.log_e_worse, "log_no_worse": test.log_e_no_worse,
            "decision": said[test.decision]}  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
